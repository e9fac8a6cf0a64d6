"""What V-JEPA and its like learn of real clips in minutes, beside classical features: nine actions, a clean split.

    OPENJEPA_TEST_DATA=... python -m benchmarks.clips --seeds 0 1 2
    OPENJEPA_TEST_DATA=... python -m benchmarks.clips --recipe v-jepa-2 --seeds 0 1 2

Trains on clips of the training groups alone, one seed after another, on one thread; probes frozen features with all
labels and with ten a class, beside the same encoder at random initialisation and classical features. These are of
larger clips, all frames of them, since that is what a user can have without training. No group is cut, neither by the
split nor by what chooses settings. A run under `--runs` that has finished is not trained again.
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.frozen import Asked, Whole, add_arguments, alone, judge, tell, write

WHOLE = {"size": (96, 128), "frames": 32, "stride": 1}
"""Of the clips that classical features are of."""
TESTED = 7
"""Groups 1 to 7 are tested on (the official split 1)."""
SAME_SCENE = {"Basketball": (19, 22, 23, 25), "BasketballDunk": (10, 11)}
"""Training groups of the official split that show the scene of a test group, seen by eye: left out."""


def split(clips: Any) -> tuple[Any, Any]:
    """Training and test clips of a set whose names say their groups."""
    group = clips.labels.groups + 1
    names = np.array(clips.labels.names)[clips.labels.values]
    test = group <= TESTED
    leaks = np.array([g in SAME_SCENE.get(name, ()) for name, g in zip(names, group, strict=True)])
    return clips.subset(np.flatnonzero(~test & ~leaks)), clips.subset(np.flatnonzero(test))


def main(arguments: Sequence[str] | None = None) -> None:
    """Train and probe every seed, write JSON and markdown, print the markdown."""
    args = parse(arguments)
    alone()
    from openjepa.recipes import configure
    from openjepa.signals.video import clips as memory

    memory.IN_MEMORY_BYTES = 2**31  # of the larger clips
    options = dict(item.split("=", 1) for item in args.set)
    signal = configure(args.recipe, args.preset, options).signal
    train, test = split(signal.open(args.data))
    whole = split(signal.model_copy(update=WHOLE).open(args.data))
    tell(f"{len(train)} clips to train on, {len(test)} to test on")
    asked = Asked(train, test, None, (10,), [Whole(row, *whole) for row in signal.classical(args.classical)])
    table, runs = judge(args.recipe, train, [asked], options, args, args.recipe)
    title = "Nine actions, clean split, frozen features, accuracy in % [95 % interval]"
    write(f"learning-ucf9-{args.recipe}", title, table, runs, args)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.clips", description=__doc__.split("\n")[0])
    root = os.environ.get("OPENJEPA_TEST_DATA")
    place = {"default": str(Path(root) / "video" / "ucf9.tar")} if root else {"required": True}
    parser.add_argument("--data", **place, help="ucf9.tar")
    parser.add_argument("--recipe", default="v-jepa", help="of films: v-jepa, v-jepa-2 or v-jepa-2-1")
    add_arguments(parser, "runs/clips")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
