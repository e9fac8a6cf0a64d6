"""`openjepa embed`."""

import argparse
from pathlib import Path

from openjepa.cli.options import Commands, add_data, add_json, add_labels, add_run, command, labels_of
from openjepa.cli.results import show


def add(commands: Commands) -> None:
    parser = command(commands, "embed", run, "write one feature vector per sample, in bounded memory")
    add_run(parser)
    add_data(parser, "samples (default: the data of the run)")
    add_labels(parser)
    parser.add_argument(
        "--split",
        choices=["train", "test"],
        help="where the data have splits (default: train); of a world model, episodes that were trained on or held out "
        "(default: all)",
    )
    parser.add_argument("-o", "--output", required=True, help="a .npy, .csv or .parquet file")
    add_json(parser)


def run(args: argparse.Namespace) -> None:
    from openjepa.common.progress import Waiting
    from openjepa.evals.embed import embed_to_file, opened
    from openjepa.evals.tables import table_beside

    model, samples = opened(args.run_dir, args.data, args.split, labels_of(args))
    with Waiting() as waiting:
        embed_to_file(model, samples, args.output, name=args.run_dir, progress=waiting)
    if hasattr(samples, "tell"):
        samples.tell()
    skipped = len(getattr(samples, "skipped", ()))
    beside = {"table": str(table_beside(Path(args.output)))} if args.output.endswith(".npy") else {}
    show(args, {"features": args.output, **beside, samples.noun: len(samples), "skipped": skipped})
