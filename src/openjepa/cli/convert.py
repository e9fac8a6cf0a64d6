"""`openjepa convert`."""

import argparse

from openjepa.cli.options import Commands, add_json, command
from openjepa.cli.results import show

EXAMPLES = """\
  openjepa convert IN1K-vit.h.14-300e.pth.tar -o vith14
  openjepa embed vith14 --data photos -o features.npy

The pickle is opened in a process that can open no file and reach no network; only tensors are taken from it. Models
of the Hugging Face Hub need no conversion: name them as hub:owner/name.
"""


def add(commands: Commands) -> None:
    text = "convert a pickled checkpoint of Meta's into a model of this library"
    parser = command(commands, "convert", run, text, examples=EXAMPLES)
    parser.add_argument("file", help="a .pth.tar or .pt file of I-JEPA, V-JEPA 2 or V-JEPA 2.1")
    parser.add_argument("-o", "--output", required=True, help="the folder")
    add_json(parser)


def run(args: argparse.Namespace) -> None:
    from openjepa.hub import licences
    from openjepa.hub.pickled import convert
    from openjepa.hub.store import require_vacant, save_model

    require_vacant(args.output)
    model, licence = convert(args.file)
    licences.tell(args.file, licence)
    save_model(model, args.output, {licences.CARD: licences.stated(licence)} if licence else None)
    show(
        args,
        {"folder": args.output, "recipe": model.config.recipe, "licence": licence or "see where it is from"},
    )
