"""`openjepa finetune`."""

import argparse
from pathlib import Path

from openjepa.cli.options import (
    Commands,
    add_data,
    add_json,
    add_labels,
    add_run,
    add_steps,
    add_training_seed,
    command,
    table_options,
)
from openjepa.cli.results import show_run

EXAMPLES = """\
  openjepa finetune runs/photos --data labelled
  openjepa finetune runs/photos --data scans --labels patients.csv --label age --group patient
  openjepa finetune runs/eeg --data recordings --classifier pre-local --frozen 1
  openjepa finetune runs/photos --data labelled --pretrained false      # the same from a random start, to compare

The result is a run like any other, and `openjepa predict` takes it.
`openjepa train finetune --help` lists the options with their values.
"""


def add(commands: Commands) -> None:
    text = "train a run's encoder further, on labels"
    parser = command(commands, "finetune", run, text, examples=EXAMPLES, dotted=True)
    add_run(parser, "the run, or an exported model, whose encoder it starts from")
    add_data(parser, "labelled samples (default: the data of the run)")
    add_labels(parser)
    parser.add_argument("--out", help="the new run's directory (default: RUN-finetuned)")
    add_steps(parser)
    add_training_seed(parser)
    add_json(parser, "print the result as JSON and no progress")


def run(args: argparse.Namespace) -> None:
    from openjepa import recipes
    from openjepa.common.hub import on_hub
    from openjepa.evals.saved import watch_tuned
    from openjepa.training import load, start
    from openjepa.training.progress import Console, Silent

    named = {"source": args.run_dir, "data": args.data, "train.steps": args.steps, "train.seed": args.seed}
    changes = {name: value for name, value in named.items() if value is not None}
    changes |= {f"labels.{name}": value for name, value in table_options(args).items()}
    config = recipes.configure("finetune", "tiny", changes | args.changes)
    source = args.run_dir.rstrip("/")
    out = args.out or (f"runs/{Path(source).name}-finetuned" if on_hub(source) else f"{source}-finetuned")
    tuned = start(config, out, progress=Silent() if args.json else Console(), command=args.line)
    if tuned.writes:
        watch_tuned(tuned.path, load(tuned.path))
    show_run(args, tuned)
