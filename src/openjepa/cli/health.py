"""`openjepa health`."""

import argparse

from openjepa.cli.options import Commands, add_json, add_run, command
from openjepa.cli.results import show


def add(commands: Commands) -> None:
    parser = command(commands, "health", run, "what is known of a run, with the numbers behind it")
    add_run(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> None:
    from openjepa.report.headline import headline
    from openjepa.report.record import read_record
    from openjepa.training.run import Run

    run = Run.open(args.run_dir)
    verdict, said, numbers = run.verdict(), headline(read_record(args.run_dir)), run.last("health")
    found = {"verdict": said.word, "reason": said.reason, "advice": said.advice, "training": verdict.word}
    show(args, {**found, **{name: value for name, value in numbers.items() if name != "kind"}})
