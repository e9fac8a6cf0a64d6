"""`openjepa neighbours`."""

import argparse

from openjepa.cli.options import Commands, add_data, add_json, add_labels, add_run, command, labels_of, whole
from openjepa.cli.results import show

EXAMPLES = """\
  openjepa neighbours runs/photos --data photos --query found.jpg
  openjepa neighbours runs/photos --data photos --query cat/0001.jpg -o alike.png
"""


def add(commands: Commands) -> None:
    text = "which samples are most like one: a picture and a table"
    parser = command(commands, "neighbours", run, text, examples=EXAMPLES)
    add_run(parser)
    add_data(parser, "samples to look among (default: the data of the run)")
    parser.add_argument(
        "--query", required=True, metavar="FILE", help="a file, or the name of one of the samples"
    )
    parser.add_argument("--count", type=whole(1, 1000), default=8, help="how many (default: 8)")
    parser.add_argument("--split", default="train", help="train or test, where the data has splits")
    add_labels(parser)
    parser.add_argument(
        "-o",
        "--output",
        help=".html or .png, with a table beside it; or .csv, .parquet alone (default: RUN/neighbours.html)",
    )
    add_json(parser)


def run(args: argparse.Namespace) -> None:
    from openjepa.common.progress import Waiting
    from openjepa.report import neighbours

    path = args.output or f"{args.run_dir}/neighbours.html"
    with Waiting() as waiting:
        found = neighbours(
            args.run_dir,
            args.query,
            args.data,
            count=args.count,
            split=args.split,
            labels=labels_of(args),
            progress=waiting,
        )
        beside = found.save(path)
    first = found.columns["sample"][0]
    show(args, {"neighbours": path, "table": "" if beside is None else str(beside), "nearest": first})
