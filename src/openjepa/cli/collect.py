"""`openjepa collect`."""

import argparse

from openjepa.cli.options import Commands, add_json, add_seed, command
from openjepa.cli.results import show
from openjepa.errors import UserError

EXAMPLES = """\
Every option of a world is set by its name; MuJoCo, PushT, OGBench and MiniGrid come with openjepa[environments]:

  openjepa collect maze --episodes 1000 --max-steps 300 --out episodes
  openjepa collect gym:Reacher-v5 --policy random-walk --out reacher
  openjepa collect gym:my_robot:Reach-v0 --measured "[0, 1]" --tolerance 0.05 --out reach
"""


def add(commands: Commands) -> None:
    text = "record episodes of a world, to train a world model on; goes on where it was interrupted"
    parser = command(commands, "collect", run, text, examples=EXAMPLES, dotted=True)
    parser.add_argument("world", help="e.g. two-rooms, maze or cart-pole; gym:ID for a Gymnasium environment")
    parser.add_argument("--episodes", type=int, default=1000, help="how many the folder is to hold")
    parser.add_argument(
        "--policy",
        default="random-walk",
        help="random, random-walk, leg-walk, wall-seeking-walk, scripted or perturbed-expert",
    )
    parser.add_argument("--steps", type=int, help="environment steps of an episode (default: the world's)")
    parser.add_argument("--size", type=int, default=64, help="side of a frame in pixels")
    parser.add_argument(
        "--difficulty", default="{}", help="of the goals that the policy seeks, e.g. '{target: [0, 0]}'"
    )
    add_seed(parser)
    parser.add_argument("--out", required=True, help="the folder")
    add_json(parser)


def run(args: argparse.Namespace) -> None:
    from openjepa.common.progress import Waiting
    from openjepa.config import read_value
    from openjepa.worlds import open_world
    from openjepa.worlds.collect import collect
    from openjepa.worlds.opening import option_types

    difficulty = read_value("difficulty", args.difficulty, dict)
    if not isinstance(difficulty, dict):
        raise UserError(
            f"--difficulty takes names with values, such as '{{name: value}}', not {difficulty!r}"
        )
    types = option_types(args.world)
    options = {name: read_value(name, text, types.get(name)) for name, text in args.changes.items()}
    world = open_world(args.world, size=args.size, **options)
    try:
        with Waiting() as waiting:
            found = collect(
                world,
                args.policy,
                args.episodes,
                args.seed,
                args.out,
                progress=waiting,
                steps=args.steps,
                difficulty=difficulty,
            )
    except KeyboardInterrupt:
        kept = f"interrupted; what was collected stays in {args.out}, and the same command goes on"
        raise KeyboardInterrupt(kept) from None
    show(args, {"episodes": len(found), "steps": int(found.lengths.sum()), "folder": args.out})
