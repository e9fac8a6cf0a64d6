"""What V-JEPA and its like learn of clips in minutes, beside classical features: nine actions, or moving clothes.

    OPENJEPA_TEST_DATA=... python -m benchmarks.clips --seeds 0 1 2
    OPENJEPA_TEST_DATA=... python -m benchmarks.clips --recipe v-jepa-2 --seeds 0 1 2
    python -m benchmarks.clips --data moving-fashion-mnist --preset tiny-moving --seeds 0 1 2

Trains on clips of the training groups alone, one seed after another, on one thread; probes frozen features with all
labels and with ten a class, beside the same encoder at random initialisation and classical features. These are of
larger clips, all frames of them, since that is what a user can have without training. No group is cut, neither by the
split nor by what chooses settings. Of moving Fashion-MNIST, generated clips of ten kinds of clothes, models are trained
on all 60,000; probes are fitted on the first 5,000 and score the first 2,000 of the test clips. A run under `--runs`
that has finished is not trained again.
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

GROUPED = {"signal.group": "{group}-{clip}"}
"""How the films' names tell their groups."""
LABELLED, SCORED = 5000, 2000
"""Clips of moving Fashion-MNIST."""


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
    from openjepa.signals.video import NAMES
    from openjepa.signals.video import clips as memory

    memory.IN_MEMORY_BYTES = 2**31  # of the larger clips
    options = dict(item.split("=", 1) for item in args.set)
    if args.data not in NAMES:
        options = GROUPED | options
    signal = configure(args.recipe, args.preset, options).signal
    if args.data in NAMES:
        data = signal.open(args.data)
        train, test = (
            data.subset(np.arange(LABELLED)),
            signal.open(args.data, "test").subset(np.arange(SCORED)),
        )
        rows, name = signal.classical(args.classical), f"{args.data}-{args.recipe}"
        what = "Moving Fashion-MNIST, what moves"
    else:
        data, test = split(signal.open(args.data))
        train, name, what = data, args.recipe, "Nine actions, clean split"
        whole = split(signal.model_copy(update=WHOLE).open(args.data))
        rows = [Whole(row, *whole) for row in signal.classical(args.classical)]
    tell(f"{len(data)} clips to train on, {len(train)} of them with labels, {len(test)} to test on")
    table, runs = judge(args.recipe, data, [Asked(train, test, None, (10,), rows)], options, args, name)
    title = f"{what}, frozen features, accuracy in % [95 % interval]"
    write(f"learning-{'' if args.data in NAMES else 'ucf9-'}{name}", title, table, runs, args)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.clips", description=__doc__.split("\n")[0])
    root = os.environ.get("OPENJEPA_TEST_DATA")
    place = {"default": str(Path(root) / "video" / "ucf9.tar")} if root else {"required": True}
    parser.add_argument("--data", **place, help="ucf9.tar, or moving-fashion-mnist")
    parser.add_argument("--recipe", default="v-jepa", help="of films: v-jepa, v-jepa-2 or v-jepa-2-1")
    add_arguments(parser, "runs/clips")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
