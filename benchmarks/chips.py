"""What SAR-JEPA learns of radar chips of aircraft, beside a twin that predicts pixels and classical features.

    OPENJEPA_TEST_DATA=... python -m benchmarks.chips --seeds 0 1 2

SAR-ACD, five of its six classes as in the paper (A320321 is left out, and so are files that occur under two names).
The set is full of near-duplicates that lie side by side, so that the first 60 % of each class by number train, without
their labels, and the last 40 % test; what is chosen is validated among blocks of 20 neighbours. Chips are cut to
squares, since height and width alone tell much of the class. Scored with all labels, with 20 and with 10 a class. With
`--validation` the last third of the training part is the test set: variants are compared so.
"""

import argparse
import hashlib
import io
import os
import tarfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.frozen import Asked, Whole, add_arguments, alone, judge, tell, write

LEFT_OUT = "A320321"
TRAIN, BLOCK = 0.6, 20
"""The first share of each class, and neighbours that no validation parts."""
PER_CLASS = (20, 10)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train and probe every seed, write JSON and markdown, print the markdown."""
    args = parse(arguments)
    alone()
    from openjepa.evals.table import ProbeTable
    from openjepa.recipes import configure
    from openjepa.signals.video.classical import Edges

    options = dict(item.split("=", 1) for item in args.set)
    signal = configure("sar-jepa", args.preset, options).signal
    train, test = open_chips(args.data, signal, args.validation)
    tell(f"{len(train)} chips to train on, {len(test)} to test on")
    classical = list(signal.classical(args.classical))
    if args.classical == "all":
        classical.append(Whole(Edges(), OneFrame(train), OneFrame(test)))
    name = "sar-acd-sar-jepa" + ("-validation" if args.validation else "")
    table, runs = judge(
        "sar-jepa", train, [Asked(train, test, None, PER_CLASS, classical)], options, args, name
    )
    if args.twin:
        twin = options | {"target.operator": "pixels"}
        other, more = judge(
            "sar-jepa", train, [Asked(train, test, None, PER_CLASS)], twin, args, f"{name}-pixels"
        )
        told = "model that predicts pixels"
        beside = [replace(score, row=told) for score in other.scores if score.row == "model"]
        costs = table.costs | {told: other.costs["model"]}
        table, runs = ProbeTable([*table.scores, *beside], table.notes, costs, table.noun), [*runs, *more]
    title = "SAR-ACD, five classes, frozen features, accuracy in % [95 % interval]"
    write(f"learning-{name}", title, table, runs, args)


def open_chips(path: Path, signal: Any, validation: bool = False) -> tuple[Any, Any]:
    """Chips of the signal's size to train and to test on, from the tar file, by their numbers within their class."""
    from openjepa.signals.base import Labels
    from openjepa.signals.images.decode import decode

    with tarfile.open(path) as tar:
        found = {m.name: tar.extractfile(m).read() for m in tar if m.isfile() and m.name.endswith(".jpg")}  # ty: ignore[unresolved-attribute]
    digests = {name: hashlib.sha256(raw).digest() for name, raw in found.items()}
    times = Counter(digests.values())
    names = sorted(name for name in found if times[digests[name]] == 1 and not name.startswith(LEFT_OUT))
    kinds = sorted({name.split("/")[0] for name in names})
    parts: dict[bool, list[tuple[str, int, int]]] = {True: [], False: []}
    for label, kind in enumerate(kinds):
        of_kind = [name for name in names if name.startswith(f"{kind}/")]
        last = round(TRAIN * len(of_kind))
        if validation:
            of_kind, last = of_kind[:last], round(2 / 3 * last)
        for i, name in enumerate(of_kind):
            parts[i < last].append((name, label, 1000 * label + i // BLOCK + 500 * (i >= last)))
    sets = []
    for part in (parts[True], parts[False]):
        pixels = np.stack([decode(io.BytesIO(found[name]), signal.sides, 1)[0].numpy() for name, *_ in part])
        values, groups = (np.array([row[i] for row in part], np.int64) for i in (1, 2))
        images = signal.open(pixels)
        images.labels = Labels(values, tuple(kinds), groups)
        sets.append(images)
    return sets[0], sets[1]


class OneFrame:
    """Images as clips of one frame."""

    def __init__(self, images: Any) -> None:
        self.images, self.shape = images, (1, *images.shape)

    def __len__(self) -> int:
        return len(self.images)

    def read(self, indices: Any) -> Any:
        """uint8 `[B, 1, C, H, W]`."""
        return self.images.read(indices).unsqueeze(1)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chips", description=__doc__.split("\n")[0])
    root = os.environ.get("OPENJEPA_TEST_DATA")
    place = {"default": Path(root) / "sar-acd" / "sar-acd.tar"} if root else {"required": True}
    parser.add_argument("--data", type=Path, **place, help="sar-acd.tar, CLASS/NUMBER.jpg")
    parser.add_argument(
        "--validation", action="store_true", help="score on the last third of the training part"
    )
    parser.add_argument(
        "--twin", action=argparse.BooleanOptionalAction, default=True, help="the pixels' twin"
    )
    add_arguments(parser, "runs/chips")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
