"""`openjepa sweep`."""

import argparse
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openjepa.cli import train
from openjepa.cli.options import (
    Commands,
    add_data,
    add_json,
    add_labels,
    add_own,
    add_steps,
    command,
    labels_of,
    whole,
)
from openjepa.errors import UserError, warn

if TYPE_CHECKING:
    from openjepa.recipes import Recipe

EXAMPLES = """\
  openjepa sweep i-jepa --data photos --over train.lr=1e-3,3e-3 --seeds 0 1 2
  openjepa sweep i-jepa --data photos --over guard=vicreg,sigreg --over target=ema,shared --jobs 4
  openjepa sweep my_idea.py:MyJEPA --data photos --score linear --labelled labelled --steps 2000

Every other option of `openjepa train` stands beside. The same command again trains what is missing and prints the
table; started several times, also on several machines with one file system, it shares the work.
"""


def add(commands: Commands) -> None:
    text = "train a recipe over a grid of options and seeds, and compare"
    parser = command(commands, "sweep", run, text, examples=EXAMPLES, dotted=True)
    parser.add_argument("recipe", help="see `openjepa recipes`; or one of your own, as FILE.py:CLASS")
    parser.add_argument(
        "--over",
        action="append",
        default=[],
        metavar="OPTION=VALUE,VALUE",
        help="an option and its values; of several all combinations are trained",
    )
    parser.add_argument("--seeds", nargs="+", type=whole(0, 2**63 - 1), default=[0], metavar="SEED")
    parser.add_argument("--out", help="the folder of its runs (default: sweeps/RECIPE-PRESET)")
    parser.add_argument("--jobs", type=whole(1, 512), default=1, metavar="N", help="runs at a time")
    parser.add_argument(
        "--score",
        default="label-free",
        help="what is compared: label-free (the gain on tasks without labels), or a probe: linear, knn, attentive",
    )
    parser.add_argument("--labelled", metavar="DATA", help="for a probe (default: the data of the runs)")
    parser.add_argument("--test", metavar="DATA", help="for a probe (default: the test split of those)")
    parser.add_argument("--preset", help="a named size, as of `openjepa train`")
    add_data(parser, "as of `openjepa train`")
    parser.add_argument("--config", help="a saved config.json or a YAML file, with options on top")
    parser.add_argument("--init", metavar="RUN", help="trained weights that all runs start from")
    add_steps(parser)
    parser.add_argument("--on-collapse", help="short for --train.on_collapse")
    parser.add_argument("--log", action="append", metavar="NAME", help="short for --train.log")
    add_labels(parser)
    add_own(parser)
    add_json(parser, "print the table as JSON and no progress")


def run(args: argparse.Namespace) -> None:
    from openjepa.evals import sweep
    from openjepa.training.progress import Console, Silent

    if args.score not in ("label-free", "linear", "knn", "attentive"):
        raise UserError(f"--score {args.score!r} is none of label-free, linear, knn, attentive")
    judged = sweep.Judged(args.score, args.labelled, args.test, labels_of(args))
    settings = sweep.grid(args.over)
    first, _ = _configured(args, settings[0], args.seeds[0])
    out = args.out or f"sweeps/{first.recipe}-{first.preset}"
    found = sweep.points(out, settings, args.seeds, lambda setting, seed: _configured(args, setting, seed))
    sweep.claim(out, _common(args, first))
    found = sweep.alike(out, found)

    def progress(what: str) -> Any:
        if args.json:
            return Silent()
        print(what, file=sys.stderr)
        return Console()

    with _others(args, out) as others:
        failures = sweep.work(found, judged, progress, args.line)
        failures |= _ends(others, out)
    table = sweep.table(found, judged, failures)
    sweep.write_table(out, table)
    print(json.dumps(table.to_dict()) if args.json else table)
    if table.failures:
        raise UserError(
            f"{len(table.failures)} of {len(found)} runs failed, see above; the same command tries them again"
        )


def _configured(args: argparse.Namespace, setting: Mapping[str, str], seed: int) -> tuple["Recipe", bool]:
    """The config of one run, and whether it adapts its channels to the data."""
    changes = {**args.changes, **setting}
    one = argparse.Namespace(**{**vars(args), "seed": str(seed), "changes": changes})
    return train.configure(one), "signal.channels" not in changes


def _common(args: argparse.Namespace, first: "Recipe") -> dict[str, Any]:
    """What all runs of the sweep's folder have in common."""
    named = {"train.steps": args.steps, "train.on_collapse": args.on_collapse, "init": args.init}
    options = {name: value for name, value in named.items() if value is not None} | args.changes
    return {"recipe": first.recipe, "preset": first.preset, "data": first.data, "options": options}


@contextmanager
def _others(args: argparse.Namespace, out: str) -> Generator[list[subprocess.Popen[str]]]:
    """The processes beside this one, with their share of the machine's cores; they save and end when it does."""
    if args.jobs == 1:
        yield []
        return
    words = shlex.split(args.line)[1:]
    threads = os.environ.get("OMP_NUM_THREADS") or str(max(1, (os.cpu_count() or 1) // args.jobs))
    if "OMP_NUM_THREADS" not in os.environ:
        import torch

        torch.set_num_threads(int(threads))
    found: list[subprocess.Popen[str]] = []
    try:
        for number in range(1, args.jobs):
            line = [sys.executable, "-m", "openjepa", *words, "--jobs", "1", "--json"]
            with (Path(out) / f"job-{number}.log").open("w") as log:
                other = subprocess.Popen(
                    line,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    text=True,
                    env=os.environ | {"OMP_NUM_THREADS": threads},
                    start_new_session=True,  # Ctrl-C reaches it through this process, once
                )
            found.append(other)
        yield found
    finally:
        for other in found:
            if other.poll() is None:
                other.terminate()
        for other in found:
            other.wait()


def _ends(others: Sequence[subprocess.Popen[str]], out: str) -> dict[str, str]:
    """What failed in other processes, once they have ended; a warning where one said nothing."""
    failures: dict[str, str] = {}
    for number, other in enumerate(others, 1):
        said, _ = other.communicate()
        try:
            failures |= json.loads(said)["failures"]
        except (ValueError, KeyError, TypeError):
            warn(f"process {number} of --jobs ended early: see {out}/job-{number}.log")
    return failures
