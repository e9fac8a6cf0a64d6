"""Other people's environments for real: collect, train a tiny model and plan, on PushT and on MuJoCo's reacher.

    python -m benchmarks.third_party
    python -m benchmarks.third_party pusht --episodes 200 --train train.steps=900

It is to show that the way from an id to a success rate works, whatever the rate. Goals are what other random walks have
reached; success is by the distances in `openjepa.worlds.third_party.KNOWN`. Needs `openjepa[environments]`.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks import record
from openjepa.evals.planning import evaluate, protocol_for
from openjepa.recipes import configure
from openjepa.training import start
from openjepa.training.progress import Silent
from openjepa.worlds import open_world
from openjepa.worlds.collect import collect

ENVIRONMENTS = {"pusht": "gym:gym_pusht/PushT-v0", "reacher": "gym:Reacher-v5"}


def measure(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """From the id to success rates, with the CPU seconds of each part."""
    folder, world, clock = args.runs / name, open_world(ENVIRONMENTS[name]), Clock()
    steps = min(args.steps, world.max_steps)
    data = collect(world, "random-walk", args.episodes, args.seed, folder / "episodes", steps=steps)
    clock.lap("collect")
    told = {"data": str(folder / "episodes"), "train.seed": str(args.seed)}
    told |= dict(change.split("=", 1) for change in args.train)
    config = configure(args.recipe, "tiny", told)
    run = start(config, str(folder / "run"), progress=Silent(), command="benchmarks.third_party")
    clock.lap("train")
    changes = {"episodes": str(args.evaluate), "batch": "10", "budget": str(2 * args.ahead)}
    changes |= {"difficulty": f"{{steps: {args.ahead}}}", "cloning.updates": "200"}
    changes |= dict(change.split("=", 1) for change in args.plan)
    result = evaluate(protocol_for([str(folder / "run")], changes=changes))
    clock.lap("plan")
    rows = {row.method: [row.successes, len(row.played), *row.interval] for row in result.rows}
    print(f"{name}: {len(data)} episodes, {clock.seconds}, {run.verdict().word}")
    for method, (successes, count, low, high) in rows.items():
        print(f"  {method:<20} {successes}/{count}  95 %: {100 * low:.0f} to {100 * high:.0f} %")
    return {
        "environment": world.name,
        "options": world.options,
        "episodes": len(data),
        "steps": int(data.lengths.sum()),
        "recipe": config.model_dump(mode="json", exclude={"data"}),
        "verdict": run.verdict().word,
        "cpu_seconds": clock.seconds,
        "protocol": result.protocol.model_dump(mode="json", exclude={"models"}),
        "successes_episodes_interval": rows,
        "errors": {row.method: row.errors for row in result.rows},
    }


class Clock:
    """CPU seconds of the parts."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._begun = time.process_time()

    def lap(self, name: str) -> None:
        """What was done until now was `name`."""
        now = time.process_time()
        self.seconds[name], self._begun = round(now - self._begun, 1), now


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        "python -m benchmarks.third_party", description=__doc__, formatter_class=formatter
    )
    parser.add_argument("names", nargs="*", default=list(ENVIRONMENTS), help="default: both")
    parser.add_argument("--episodes", type=int, default=60, help="to train on")
    parser.add_argument("--steps", type=int, default=60, help="the most of an episode")
    parser.add_argument("--recipe", default="pldm")
    parser.add_argument("--train", nargs="*", default=["train.steps=150", "train.batch_size=32"])
    parser.add_argument("--plan", nargs="*", default=[], help="options of the protocol, NAME=VALUE")
    parser.add_argument("--evaluate", type=int, default=20, help="episodes to evaluate on")
    parser.add_argument("--ahead", type=int, default=15, help="steps from start to goal")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=Path, default=Path("runs/third-party"), help="kept, and gone on with")
    parser.add_argument("--results", type=Path, default=record.RESULTS)
    args = parser.parse_args(arguments)
    if unknown := [name for name in args.names if name not in ENVIRONMENTS]:
        parser.error(f"unknown environment {unknown[0]!r}: choose from {', '.join(ENVIRONMENTS)}")
    return args


def main(arguments: Sequence[str] | None = None) -> None:
    """Each environment; one JSON file."""
    args = parse(arguments)
    torch.set_num_threads(args.threads)
    found = {name: measure(name, args) for name in args.names}
    print(f"written: {record.write('third-party', {'seed': args.seed, **found}, args.results)}")


if __name__ == "__main__":
    main()
