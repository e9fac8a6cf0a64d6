"""`openjepa train`."""

import argparse
from typing import TYPE_CHECKING

from openjepa.cli.options import (
    Commands,
    Parser,
    add_data,
    add_json,
    add_own,
    add_steps,
    add_training_seed,
    command,
)
from openjepa.cli.results import show_run
from openjepa.errors import UserError

if TYPE_CHECKING:
    from openjepa.recipes import Recipe

EXAMPLES = """\
`openjepa recipes` says what each recipe learns from: images, films, sound, electrodes, series, point clouds, or
episodes of frames and actions.
Every choice swaps from here, by its dotted name:

  openjepa train i-jepa --guard sigreg --target shared
  openjepa train lejepa --encoder timm --encoder.name resnet18
  openjepa train i-jepa --preset tiny --train.steps 500 --train.lr 2e-3
  openjepa train pldm --data episodes --hiding.rollout 4 --terms.inverse 2
  openjepa train i-jepa --encoder my_net.py:small_net      # a part of your own: docs/research.md

`openjepa train RECIPE --help` lists the recipe's options with their values; with --preset, those of that preset.
"""


def add(commands: Commands) -> None:
    parser = command(
        commands,
        "train",
        run,
        "train a recipe on images, films, sound, recordings, series, point clouds or episodes",
        examples=EXAMPLES,
        dotted=True,
        add_help=False,
    )
    parser.set_defaults(parser=parser)
    parser.add_argument(
        "recipe", nargs="?", help="see `openjepa recipes`; or one of your own, as FILE.py:CLASS"
    )
    parser.add_argument("-h", "--help", action="store_true", help="show this, or a recipe's options")
    parser.add_argument("--preset", help="a named size, e.g. tiny (two CPU cores, minutes) or vit-b16")
    add_data(
        parser,
        "a folder, tar shards, or a .npy file of what the recipe learns from; images: fashion-mnist is the default; a "
        "world model: a folder of episodes, as `openjepa collect` or LeRobot writes it, of films with tables, or .hdf5",
    )
    parser.add_argument("--out", help="the run's directory (default: runs/RECIPE-PRESET-SEED)")
    parser.add_argument("--config", help="a saved config.json or a YAML file, with options on top")
    parser.add_argument(
        "--resume",
        metavar="DIR",
        help="continue an interrupted run, bit for bit; --data where it has moved, --steps for another length in all",
    )
    parser.add_argument(
        "--init",
        metavar="SOURCE",
        help="start from trained weights: a run, an exported model, or hub:owner/name; without a recipe at its sizes",
    )
    parser.add_argument("--overwrite", action="store_true", help="lose the run that lies in --out")
    add_own(parser)
    add_steps(parser)
    add_training_seed(parser)
    parser.add_argument("--on-collapse", help="warn, stop or rollback; short for --train.on_collapse")
    parser.add_argument(
        "--log",
        action="append",
        metavar="NAME",
        help="also log to csv, tensorboard, wandb or trackio; several as csv,tensorboard; short for --train.log",
    )
    add_json(parser, "print the result as JSON and no progress")


def run(args: argparse.Namespace) -> None:
    if args.help:
        print(_help(args))
        return
    from openjepa.config import read_value
    from openjepa.recipes import Training
    from openjepa.training import resume, start
    from openjepa.training.progress import Console, Silent

    progress = Silent() if args.json else Console()
    if args.resume:
        named = (
            args.recipe,
            args.preset,
            args.out,
            args.config,
            args.init,
            args.overwrite or None,
            args.seed,
            args.on_collapse,
            args.log,
        )
        if args.changes or any(value is not None for value in named):
            raise UserError(
                "--resume continues a run as it was configured: give nothing but --data and --steps beside it"
            )
        steps = (
            None
            if args.steps is None
            else Training.parse({"steps": read_value("steps", args.steps, int)}).steps
        )
        run = resume(args.resume, data=args.data, steps=steps, progress=progress)
    else:
        config = configure(args)
        out = args.out or f"runs/{config.recipe}-{config.preset}-{config.train.seed}"
        adapt = "signal.channels" not in args.changes
        run = start(config, out, adapt=adapt, overwrite=args.overwrite, progress=progress, command=args.line)
    show_run(args, run)


def configure(args: argparse.Namespace) -> "Recipe":
    """The config that the options name.

    Raises:
        UserError: no recipe, an unknown name, values that do not fit.
    """
    from openjepa import recipes
    from openjepa.recipes import own
    from openjepa.training.initial import config_of
    from openjepa.training.run import read_config

    if args.config:
        base = read_config(args.config)
    else:
        base = config_of(args.init) if args.init and not (args.recipe or args.preset) else {}
    recipe = args.recipe or base.get("recipe")
    if args.recipe and own.is_file(args.recipe):
        recipe = own.enter(args.recipe)
    if recipe is None:
        raise UserError("name a recipe to train; `openjepa recipes` lists them")
    named = {
        "train.steps": args.steps,
        "train.seed": args.seed,
        "train.on_collapse": args.on_collapse,
        "train.log": f"[{','.join(args.log)}]" if args.log else None,
    }
    named |= {"data": args.data, "init": args.init}
    changes = {name: value for name, value in named.items() if value is not None}
    return recipes.configure(recipe, args.preset or (None if base else "tiny"), changes | args.changes, base)


def _help(args: argparse.Namespace) -> str:
    parser: Parser = args.parser
    text = parser.format_help()
    if not (args.recipe or args.config):
        return text
    from openjepa.config import describe
    from openjepa.recipes import find

    config = configure(args)
    cls = find(config.recipe)
    text += f"\nPresets of {config.recipe}: {', '.join(cls.presets)}\n"
    text += f"Options, with the values of preset {config.preset}:\n\n"
    return text + describe(cls, config.model_dump(mode="json"))
