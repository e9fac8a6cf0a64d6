"""`openjepa openloop`."""

import argparse

from openjepa.cli.options import Commands, add_data, add_json, add_run, add_seed, command, whole
from openjepa.cli.results import result_file, show_result, write_result

EXAMPLES = """\
  openjepa openloop runs/robot --horizon 10
  openjepa openloop runs/robot --test other-logs --variables "right_*"

The result is kept in RUN/openloop.json, and `openjepa report RUN` shows it.
"""


def add(commands: Commands) -> None:
    text = "judge a world model on recorded episodes alone: predictions against what came, and which actions it prefers"
    parser = command(commands, "openloop", run, text, examples=EXAMPLES)
    add_run(parser, "a world model")
    add_data(
        parser, "the episodes that it was trained on, some of which were held out (default: those of the run)"
    )
    parser.add_argument("--test", help="other episodes to predict (default: those held out of --data)")
    parser.add_argument(
        "--horizon",
        type=whole(1, 1000),
        metavar="STEPS",
        help="steps ahead that the model predicts (default: as many as in training, 5 at least)",
    )
    parser.add_argument(
        "--variables",
        nargs="+",
        default=[],
        metavar="NAME",
        help="recorded variables to predict, or patterns such as 'right_*' (default: all)",
    )
    parser.add_argument(
        "--candidates",
        type=whole(2, 10_000),
        default=32,
        metavar="N",
        help="sequences of actions to choose among for a goal, the true one among them",
    )
    parser.add_argument(
        "--goals", type=whole(1, 100_000), default=200, metavar="N", help="goals to choose for"
    )
    parser.add_argument(
        "--windows",
        type=whole(16, 10**6),
        default=2000,
        metavar="N",
        help="windows that are predicted, at most",
    )
    add_seed(parser, "seed of the choice of windows, and of other episodes' actions")
    parser.add_argument(
        "--out", metavar="FILE", help="the result as JSON (default: openloop.json in the run)"
    )
    add_json(parser, "print the table as JSON")


def run(args: argparse.Namespace) -> None:
    from openjepa.common.progress import Waiting
    from openjepa.evals.planning.protocol import load_world_model
    from openjepa.evals.world_models.open_loop import open_loop

    args.runs = [args.run_dir]
    model = load_world_model(args.run_dir)
    with Waiting() as waiting:
        table = open_loop(
            model,
            args.data or "",
            test=args.test or "",
            horizon=args.horizon,
            variables=args.variables,
            goals=args.goals,
            candidates=args.candidates,
            windows=args.windows,
            seed=args.seed,
            name=args.run_dir,
            progress=waiting,
        )
    found = table.to_dict()
    show_result(args, found, str(table), write_result(result_file(args, "openloop.json"), found))
