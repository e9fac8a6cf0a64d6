"""Riou et al.'s comparison (arXiv:2405.08679) at small scale: masks, what the target sees, and how long clips are.

    python -m benchmarks.sound_choices fsdd.tar.gz --out DIR --save

For each mask (random patches, blocks, whole times), each target view (hidden patches alone, or all) and each duration
an Audio-JEPA is trained, on the spoken digits of five speakers, and a linear probe on its frozen features is scored on
the sixth; `--folds` says how many speakers are left out in turn, each with a training seed of its own. What is kept in
DIR is not computed again.
"""

import argparse
import itertools
from pathlib import Path

import numpy as np

from benchmarks import record
from benchmarks.folds import FoldStudy, kept_table
from benchmarks.sounds import study

MASKS = {
    "random patches": {"hiding": "random"},
    "blocks": {"hiding": "blocks"},
    "whole times": {"hiding": "random", "hiding.along": "time"},
}
TARGETS = {"hidden patches": "hidden", "all patches": "all"}
DURATIONS = (0.48, 0.96)
"""Seconds; the recordings last 0.4 s in the middle, 2.3 s at most."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="fsdd.tar.gz, or a folder of its files")
    parser.add_argument("--out", type=Path, required=True, help="folder for runs and tables")
    parser.add_argument(
        "--folds", type=int, default=3, choices=range(1, 7), help="speakers left out, one after another"
    )
    parser.add_argument("--preset", default="tiny")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="an option of the recipe"
    )
    parser.add_argument("--save", action="store_true", help="write the table among the results")
    args = parser.parse_args()
    text = compared(
        args.data, args.out, args.folds, args.preset, dict(item.split("=", 1) for item in args.set)
    )
    print(text)
    if args.save:
        (record.RESULTS / "sound-choices-fsdd.md").write_text(text)


def compared(data: Path, out: Path, folds: int, preset: str, options: dict[str, str]) -> str:
    """A row for each mask and target view, a column for each duration: means over speakers, and every score."""
    head = [f"{seconds:g} s" for seconds in DURATIONS]
    lines = [f"| mask | target sees | {' | '.join(head)} |", "| --- | --- |" + " --- |" * len(head)]
    untrained: dict[float, list[float]] = {}
    for (mask, hiding), (target, sees) in itertools.product(MASKS.items(), TARGETS.items()):
        cells = []
        for seconds in DURATIONS:
            given = {**hiding, "hiding.target_sees": sees, "signal.seconds": str(seconds), **options}
            asked = study("fsdd", data, "audio-jepa", preset, given)
            asked = FoldStudy(**{**vars(asked), "classical": "none", "random": 1})
            place = out / f"{mask}-{target}-{seconds:g}".replace(" ", "-")
            tables = [kept_table(asked, fold, place) for fold in range(folds)]
            cells.append(_shown([100 * table.score("model", "linear").mean for table in tables]))
            untrained[seconds] = [100 * table.score("random init", "linear").mean for table in tables]
        lines.append(f"| {mask} | {target} | {' | '.join(cells)} |")
    lines.append(f"| untrained | | {' | '.join(_shown(untrained[seconds]) for seconds in DURATIONS)} |")
    return "\n".join(lines) + "\n"


def _shown(scores: list[float]) -> str:
    return f"{np.mean(scores):.1f} ({', '.join(f'{score:.1f}' for score in scores)})"


if __name__ == "__main__":
    main()
