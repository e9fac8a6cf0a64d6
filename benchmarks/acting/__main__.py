"""What agents achieve: success of plans and policies over training seeds, point by point.

    python -m benchmarks.acting two-rooms
    python -m benchmarks.acting two-rooms --recipes pldm --planners cem --set train.steps=2000 --plan planner.horizon=20

Episodes are collected, models trained and protocols played once: what has finished is used again when a command is
repeated, also by another point.
"""

import argparse
import importlib
import pkgutil
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import torch

from benchmarks import acting, record
from benchmarks.acting.common import Settings
from openjepa.errors import UserError

POINTS = sorted(
    module.name.replace("_", "-")
    for module in pkgutil.iter_modules(acting.__path__)
    if module.name not in ("__main__", "agents", "common", "modules")
)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.acting", description=__doc__.split("\n")[0])
    parser.add_argument("point", choices=POINTS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="of training")
    parser.add_argument("--episodes", type=int, default=100, help="to evaluate on, of each seed")
    parser.add_argument("--collect", type=int, default=0, help="episodes to train on, if not the point's own")
    parser.add_argument("--recipes", nargs="+", default=[], help="if not the point's own")
    parser.add_argument("--planners", nargs="+", default=[], help="if not the point's own")
    parser.add_argument(
        "--no-ablations", dest="ablations", action="store_false", help="two-rooms without them"
    )
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--set", nargs="+", default=[], metavar="OPTION=VALUE", help="as in openjepa train")
    parser.add_argument("--plan", nargs="+", default=[], metavar="OPTION=VALUE", help="as in openjepa plan")
    parser.add_argument("--threads", type=int, default=1, help="of each training and evaluation")
    parser.add_argument("--jobs", type=int, default=1, help="trainings or evaluations at a time")
    parser.add_argument("--runs", type=Path, default=Path("runs/acting"), help="where everything is kept")
    parser.add_argument("--results", type=Path, default=record.RESULTS)
    parser.add_argument("--name", help="of the result, in the place of acting-POINT")
    parser.add_argument(
        "--note", default="", help="what a reader should know of the minutes, e.g. other load"
    )
    return parser.parse_args(arguments)


def point(name: str) -> ModuleType:
    """The module that measures a point."""
    return importlib.import_module(f"benchmarks.acting.{name.replace('-', '_')}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure one point, write JSON and markdown, print the markdown."""
    args = parse(arguments)
    settings = Settings(
        seeds=tuple(args.seeds),
        episodes=args.episodes,
        collect=args.collect,
        recipes=tuple(args.recipes),
        planners=tuple(args.planners),
        ablations=args.ablations,
        preset=args.preset,
        train=dict(item.split("=", 1) for item in args.set),
        plan=dict(item.split("=", 1) for item in args.plan),
        threads=args.threads,
        jobs=args.jobs,
        runs=args.runs,
    )
    torch.set_num_threads(args.threads)
    module = point(args.point)
    try:
        found = module.measure(settings)
    except UserError as error:
        raise SystemExit(str(error)) from None
    used = {key: getattr(settings, key) for key in ("seeds", "episodes", "train", "plan", "threads", "jobs")}
    path = record.write(
        args.name or f"acting-{args.point}", {**used, "note": args.note, **found}, args.results
    )
    text = module.as_markdown(found)
    path.with_suffix(".md").write_text(text)
    print(text)
    print(f"written: {path}")


if __name__ == "__main__":
    main()
