"""`openjepa compare`."""

import argparse

from openjepa.cli.options import Commands, add_json, add_runs, command
from openjepa.cli.results import show


def add(commands: Commands) -> None:
    text = (
        "write one page about several runs: scores, how their configs differ, their curves over one another"
    )
    parser = command(commands, "compare", run, text)
    add_runs(parser, "+", "two runs or more, ended or not")
    parser.add_argument("--out", default="compare.html", metavar="FILE", help="(default: compare.html)")
    add_json(parser)


def run(args: argparse.Namespace) -> None:
    from openjepa.report import write_comparison

    show(args, {"comparison": str(write_comparison(args.runs, args.out))})
