"""What Point-JEPA learns of ModelNet10 in minutes, beside occupancy, shape distributions and a random PointNet.

    OPENJEPA_TEST_DATA=... python -m benchmarks.points --seeds 0 1 2

Trained on the official training clouds without their labels, scored on the test clouds, with all labels and with ten a
class. ModelNet repeats models, so that validation among the training clouds is a few points too good; it is equally so
for all rows. Classical features are of 1,024 points a cloud, the model's of as many as it was trained on. A run under
`--runs` that has finished is not trained again.
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from benchmarks.frozen import Asked, Whole, add_arguments, alone, judge, tell, write

POINTS = 1024
"""Of a cloud, as the data hold them."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Train and probe every seed, write JSON and markdown, print the markdown."""
    args = parse(arguments)
    alone()
    from openjepa.recipes import configure

    options = dict(item.split("=", 1) for item in args.set)
    signal = configure("point-jepa", args.preset, options).signal
    train, test = (signal.open(args.data, split) for split in ("train", "test"))
    more = signal.model_copy(update={"count": POINTS})
    whole = tuple(more.open(args.data, split) for split in ("train", "test"))
    tell(f"{len(train)} clouds to train on, {len(test)} to test on")
    asked = Asked(train, test, None, (10,), [Whole(row, *whole) for row in signal.classical(args.classical)])
    name = "modelnet10-point-jepa"
    table, runs = judge("point-jepa", args.data, [asked], options, args, name)
    title = "ModelNet10, frozen features, accuracy in % [95 % interval]"
    write(f"learning-{name}", title, table, runs, args)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.points", description=__doc__.split("\n")[0])
    root = os.environ.get("OPENJEPA_TEST_DATA")
    place = {"default": str(Path(root) / "points")} if root else {"required": True}
    parser.add_argument("--data", **place, help="folder of modelnet10-train.npz and modelnet10-test.npz")
    add_arguments(parser, "runs/points")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
