"""`openjepa controls`."""

import argparse

from openjepa.cli.options import Commands, add_data, add_json, add_run, add_seed, command, whole
from openjepa.cli.results import show_table


def add(commands: Commands) -> None:
    text = "check a world model's latent z: capacity, leak, cycle, codebook"
    parser = command(commands, "controls", run, text)
    add_run(parser, "a run of latent-action, of mixture, or with --condition latent")
    add_data(parser, "episodes (default: those of the run)")
    add_seed(parser, "seed of steps, draws and fits")
    parser.add_argument(
        "--updates",
        type=whole(1, 10**8),
        default=1000,
        help="training steps of each predictor that is fitted to compare with",
    )
    add_json(parser, "print the table as JSON")


def run(args: argparse.Namespace) -> None:
    from openjepa.common.progress import Waiting
    from openjepa.evals.world_models.latent_controls import latent_controls
    from openjepa.training import load

    model, known = load(args.run_dir), {"seed": args.seed, "updates": args.updates}
    with Waiting() as waiting:
        table = latent_controls(model, args.data or "", name=args.run_dir, progress=waiting, **known)
    show_table(args, table)
