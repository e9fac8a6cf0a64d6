"""What a recipe for sound learns in minutes: spoken digits of unseen speakers, or environmental sounds in five folds.

    python -m benchmarks.sounds fsdd fsdd.tar.gz --out DIR              # train and probe every fold, write the table
    python -m benchmarks.sounds esc10 esc10-16k.tar --out DIR --fold 0  # one fold alone; its table is kept in DIR
    python -m benchmarks.sounds esc10 esc10-16k.tar --out DIR --recipe audio-jepa --set hiding.along=time

fsdd: Free Spoken Digit Dataset, 3,000 recordings of ten digits by six speakers (CC BY-SA 4.0), files
`{digit}_{speaker}_{take}.wav`; a fold is a speaker. esc10: ten classes of environmental sounds, 400 clips in five folds
(CC BY 3.0), files `{fold}-{recording}-{take}.ogg` in a folder a class. Models are trained on the sound outside a fold
alone. Settings were chosen on four speakers of FSDD; no setting was chosen on ESC-10.
"""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import record
from benchmarks.folds import FoldStudy, arguments, measured

NAMES = {"fsdd": "{label}_{group}_{take}", "esc10": "{fold}-{group}-{take}"}
FOLDS = {"fsdd": 6, "esc10": 5}
TITLES = {
    "fsdd": "Free Spoken Digit Dataset, ten digits, one of six speakers left out",
    "esc10": "ESC-10, ten kinds of environmental sounds, its five folds",
}
OPTIONS: dict[str, dict[str, str]] = {
    "fsdd": {},
    # when an environment is loud tells what it is
    "esc10": {"signal.seconds": "4.96", "signal.hop": "0.02", "signal.level": "keep"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("data", type=Path, help="the recordings: a tar file or a folder")
    parser.add_argument("--recipe", default="a-jepa")
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--save", action="store_true", help="write the averaged table among the results")
    arguments(parser, max(FOLDS.values()))
    args = parser.parse_args()
    options = {**OPTIONS[args.name], **dict(item.split("=", 1) for item in args.set)}
    found = study(args.name, args.data, args.recipe, args.preset, options)
    count = min(args.folds or found.folds, found.folds)
    table = measured(replace(found, folds=count), args.out, args.fold)
    if table and args.save:
        which = "" if count == found.folds else f", the first {count} of {found.folds}"
        changed = f" ({', '.join(args.set)})" if args.set else ""
        title = f"### {TITLES[args.name]}{which}, frozen features of {args.recipe} {args.preset}{changed}"
        text = f"{title}\n\n{table}"
        (record.RESULTS / f"learning-{args.name}-{args.recipe}.md").write_text(text)


def study(name: str, data: Path, recipe: str, preset: str, options: dict[str, str]) -> FoldStudy:
    """The question that a set of recordings asks."""
    settings = {"signal.names": NAMES[name], "train.precision": "auto", **options}

    def parts(fold: int, signal: Any, probe: bool) -> tuple[Any, Any]:
        return split(signal.open(str(data)), fold)

    return FoldStudy(recipe, preset, settings, FOLDS[name], parts, "accuracy")


def split(samples: Any, fold: int) -> tuple[Any, Any]:
    """The clips outside a fold, and those in it: the fold that the names tell, else one of the groups."""
    parts = samples.labels.groups if samples.labels.folds is None else samples.labels.folds
    inside = parts == np.unique(parts)[fold]
    return samples.subset(np.flatnonzero(~inside)), samples.subset(np.flatnonzero(inside))


if __name__ == "__main__":
    main()
