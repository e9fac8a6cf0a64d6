"""`openjepa predict`."""

import argparse

from openjepa.cli.options import Commands, add_json, add_labels, add_run, command, labels_of
from openjepa.cli.results import show

EXAMPLES = """\
  openjepa probe runs/scans --data scans --labels people.csv --label diagnosis --group patient --save
  openjepa predict runs/scans next-week -o predictions.csv

A row a sample: its file, the label and its probability (of numbers: the value), and whether it is unlike all that the
probe was fitted on: of samples like those, a share of --false-alarms is called unlike them.
"""


def add(commands: Commands) -> None:
    text = "labels or numbers for new samples, by a run's saved probe, or by a fine-tuned run"
    parser = command(commands, "predict", run, text, examples=EXAMPLES)
    add_run(parser, "one with a probe that `openjepa probe --save` has kept in it, or a fine-tuned one")
    parser.add_argument(
        "new", metavar="NEW", help="samples, as --data of other commands: a folder, a file, shards"
    )
    parser.add_argument("-o", "--output", required=True, help="a .csv or .parquet file")
    parser.add_argument("--split", default="train", help="train or test, where the data has splits")
    parser.add_argument("--false-alarms", type=float, default=0.05, metavar="SHARE", help="default: 0.05")
    parser.add_argument("--probabilities", action="store_true", help="a column for each class too")
    add_labels(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> None:
    from pathlib import Path

    from openjepa.common.progress import Waiting
    from openjepa.evals import predict
    from openjepa.evals.tables import writer_of

    writer_of(Path(args.output))  # before anything is computed
    with Waiting() as waiting:
        found = predict(
            args.run_dir,
            args.new,
            split=args.split,
            labels=labels_of(args),
            false_alarms=args.false_alarms,
            probabilities=args.probabilities,
            progress=waiting,
        )
    found.save(args.output)
    told = {"predictions": args.output, found.noun: len(found)}
    if found.false_alarms is not None:
        told |= {"unlike": found.unlike, "false alarms": found.false_alarms}
    show(args, told | ({found.metric: found.score} if found.score is not None else {}))
