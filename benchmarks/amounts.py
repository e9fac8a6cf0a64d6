"""How much a recipe's features gain with more unlabelled images, and with more time.

    python -m benchmarks.amounts fashion-mnist
    OPENJEPA_TEST_DATA=... python -m benchmarks.amounts cifar10 --images 1000 5000 20000 50000

One seed and one thread. Every run is trained to the end of its own schedule: an intermediate checkpoint of a longer one
scores less. Features are probed on the test images, with 10,000 labelled training images (which a run need not have
seen) and with 10 of each class; the first row is the encoder before training.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks import record
from benchmarks.learning import PRESETS, data_of, some, tell

LABELLED, FEW = 10_000, 10
COLUMNS = ("images", "steps", "CPU minutes", "linear", "10-NN", f"linear, {FEW} labels a class")


def main(arguments: Sequence[str] | None = None) -> None:
    """Train and probe every run, write JSON and markdown, print the markdown."""
    args = parse(arguments)
    torch.set_num_threads(1)
    from openjepa.recipes import configure
    from openjepa.signals.images import open_images

    preset, data = args.preset or PRESETS[args.dataset], args.data or data_of(args.dataset)
    config = configure(args.recipe, preset)
    train, test = (
        open_images(data, split=split, size=config.signal.size, channels=config.signal.channels)
        for split in ("train", "test")
    )
    whole, steps = len(train), args.steps or config.train.steps
    asked = [(0, 0), *((min(count, whole), steps) for count in args.images)]
    asked += [(whole, round(share * steps)) for share in args.shares]
    rows: list[dict[str, Any]] = []
    for count, length in dict.fromkeys(asked):
        rows.append(scored(args.recipe, preset, train, test, count, length, args.seed))
        tell(str(rows[-1]))
    name = f"amounts-{args.dataset}-{args.recipe}"
    path = record.write(name, {"preset": preset, "seed": args.seed, "rows": rows}, args.results)
    lines = [f"### {args.recipe} {preset} on {args.dataset}, accuracy in %", ""]
    lines += [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
    lines += ["| " + " | ".join(cells(row)) + " |" for row in rows]
    path.with_suffix(".md").write_text("\n".join(lines) + "\n")
    print(path.with_suffix(".md").read_text())


def scored(
    recipe: str, preset: str, train: Any, test: Any, count: int, steps: int, seed: int
) -> dict[str, Any]:
    """One run on the first `count` training images; 0 steps: the encoder before training."""
    import openjepa
    from openjepa.evals import probe
    from openjepa.recipes import build, configure

    minutes = 0.0
    if steps:
        options = {"train.steps": steps, "train.seed": seed, "train.health_every": 1.0}
        begun = time.process_time()
        model = openjepa.train(recipe, preset=preset, data=train.subset(range(count)), options=options)
        minutes = (time.process_time() - begun) / 60
    else:
        model = build(configure(recipe, preset)).eval()
    table = probe(model, some(train, LABELLED), test, classical="none", per_class=(FEW,))
    return {
        "images": count,
        "steps": steps,
        "minutes": minutes,
        "linear": table.score("model", "linear").mean,
        "knn": table.score("model", "knn").mean,
        "few": table.score("model", "linear", per_class=FEW).mean,
    }


def cells(row: dict[str, Any]) -> list[str]:
    """A row of the table."""
    numbers = [f"{row['images']:,}", f"{row['steps']:,}", f"{row['minutes']:.1f}"]
    return numbers + [f"{100 * row[name]:.1f}" for name in ("linear", "knn", "few")]


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.amounts", description=__doc__.split("\n")[0])
    parser.add_argument("dataset", choices=list(PRESETS))
    parser.add_argument("--recipe", default="lejepa")
    parser.add_argument("--preset", help="instead of tiny (Fashion-MNIST), tiny-cifar10 (CIFAR-10)")
    parser.add_argument("--data", help="another place of the data set")
    parser.add_argument(
        "--images",
        nargs="*",
        type=int,
        default=[1000, 5000, 20_000, 50_000],
        help="trained on, without labels",
    )
    parser.add_argument("--steps", type=int, help="of the runs on fewer images; default: the preset's")
    parser.add_argument(
        "--shares", nargs="*", type=float, default=[1 / 8, 1 / 4, 1 / 2], help="of the steps, on all images"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path, default=record.RESULTS)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
