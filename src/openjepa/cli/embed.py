"""`openjepa embed`."""

import argparse

from openjepa.cli.options import Commands, add_data, add_json, add_run, command
from openjepa.cli.results import show


def add(commands: Commands) -> None:
    parser = command(commands, "embed", run, "write one feature vector per image, in bounded memory")
    add_run(parser)
    add_data(parser, "images (default: the data of the run)")
    parser.add_argument("--split", default="train", help="train or test, where the data has splits")
    parser.add_argument("-o", "--output", required=True, help="a .npy or .parquet file")
    add_json(parser)


def run(args: argparse.Namespace) -> None:
    from openjepa.common.progress import Waiting
    from openjepa.evals import embed_to_file
    from openjepa.recipes.images import require_images
    from openjepa.training import load

    model = load(args.run_dir)
    config = require_images(args.run_dir, model.config)
    images = config.samples(args.data or config.data, args.split)
    with Waiting() as waiting:
        embed_to_file(model, images, args.output, name=args.run_dir, progress=waiting)
    images.tell()
    show(args, {"features": args.output, "images": len(images), "skipped": len(images.skipped)})
