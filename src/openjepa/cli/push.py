"""`openjepa push`."""

import argparse
import tempfile
from pathlib import Path

from openjepa.cli.options import Commands, add_json, add_run, command
from openjepa.cli.results import show

EXAMPLES = """\
  openjepa push runs/photos me/photos --licence apache-2.0 --dry-run photos-hub    # look at it first
  openjepa push runs/photos me/photos --licence apache-2.0

Published are the model, its config without the folders of this machine, and a model card: recipe, choices, data,
scores with their intervals, verdict, licence. `hf auth login` logs in. Anyone has it back by
openjepa.load("hub:me/photos").
"""


def add(commands: Commands) -> None:
    text = "publish a model on the Hugging Face Hub, with a model card"
    parser = command(commands, "push", run, text, examples=EXAMPLES)
    add_run(parser, "a run or an exported model")
    parser.add_argument("name", metavar="OWNER/NAME", help="its name on the Hub")
    parser.add_argument("--licence", "--license", metavar="ID", help="e.g. apache-2.0 or cc-by-nc-4.0")
    parser.add_argument("--private", action="store_true", help="for yourself alone")
    parser.add_argument(
        "--dry-run", metavar="FOLDER", help="write what would be published there, and send nothing"
    )
    add_json(parser)


def run(args: argparse.Namespace) -> None:
    from openjepa.hub.push import upload
    from openjepa.report.publishing import prepare

    if args.dry_run:
        files = prepare(args.run_dir, args.name, Path(args.dry_run), args.licence)
        show(args, {"folder": args.dry_run, "files": ", ".join(files)})
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "model"
        prepare(args.run_dir, args.name, folder, args.licence)
        show(args, {"model": upload(folder, args.name, private=args.private), "load": f"hub:{args.name}"})
