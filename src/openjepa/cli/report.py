"""`openjepa report`."""

import argparse
from pathlib import Path

from openjepa.cli.options import Commands, add_data, add_json, add_run, command
from openjepa.cli.results import show


def add(commands: Commands) -> None:
    parser = command(commands, "report", run, "write a run's report.html: one file that opens offline")
    add_run(parser)
    add_data(parser, "samples to look at (default: the test split of the run's data)")
    add_json(parser)


def run(args: argparse.Namespace) -> None:
    from openjepa.common.progress import Waiting
    from openjepa.report import write_report

    with Waiting() as waiting:
        path = write_report(Path(args.run_dir), data=args.data, progress=waiting)
    show(args, {"report": str(path)})
