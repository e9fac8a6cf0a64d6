"""`openjepa export`."""

import argparse
from pathlib import Path

from openjepa.cli.options import Commands, add_json, add_run, command
from openjepa.cli.results import show
from openjepa.errors import UserError

EXAMPLES = """\
  openjepa export runs/photos --format onnx -o photos.onnx        # for onnxruntime: bytes in, features out
  openjepa export runs/photos --format torch -o photos.pt2        # torch.export.load("photos.pt2").module()
  openjepa export hub:facebook/ijepa_vith14_1k --format openjepa -o vith14    # a folder, as a run's model/ is one

Scaling and normalising are inside the file, and a fine-tuned model's probabilities beside its features.
"""


def add(commands: Commands) -> None:
    text = "write a model as one file that runs without this library"
    parser = command(commands, "export", run, text, examples=EXAMPLES)
    add_run(parser, "a run, an exported model, or hub:owner/name")
    parser.add_argument("--format", choices=("onnx", "torch", "openjepa"), default="onnx")
    parser.add_argument("-o", "--output", help="the file, or with openjepa the folder (default: in the run)")
    add_json(parser)


def run(args: argparse.Namespace) -> None:
    from openjepa.hub.export import SUFFIXES, export
    from openjepa.hub.store import require_vacant, save_model
    from openjepa.training import load

    folder = Path(args.run_dir)
    if args.output is None and (args.format == "openjepa" or not folder.is_dir()):
        raise UserError(f"where is {args.run_dir} to be written? Name it with -o")
    if args.format == "openjepa":
        require_vacant(args.output)
    model = load(args.run_dir)
    if args.format == "openjepa":
        save_model(model, args.output)
        show(args, {"folder": args.output})
        return
    found = export(model, args.output or folder / f"model{SUFFIXES[args.format]}", args.format)
    given = found["input"]
    shape = "[" + ", ".join(map(str, given["shape"])) + "]"
    if args.json:
        show(args, found)
        return
    said = {"file": found["file"], "input": f"{given['type']} {shape}: {given['meaning']}"}
    said |= {"outputs": ", ".join(found["outputs"])}
    checked = f"within {found['difference']:.2g} of the model" if "difference" in found else ""
    show(args, {**said, "checked": checked or "not: install onnxruntime"})
