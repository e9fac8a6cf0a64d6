"""Riou et al.'s comparison (arXiv:2405.08679) at small scale: masks, what the target sees, and how long clips are.

    python -m benchmarks.sound_choices fsdd.tar.gz --out DIR --save

For each mask (random patches, blocks, whole times), each target view (hidden patches alone, or all) and each duration
an Audio-JEPA is trained, on the spoken digits of five speakers, and a linear probe is scored on the sixth; `--folds`
says how many speakers are left out in turn, each with a training seed of its own. The probe sees what the paper's sees:
the last layer, bands of patches side by side, averaged over time. What is kept in DIR is not computed again.
"""

import argparse
import itertools
import json
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

import openjepa
from benchmarks import record
from benchmarks.folds import FEW
from benchmarks.sounds import NAMES, split
from openjepa.evals.pooling import offered
from openjepa.evals.protocol import probe
from openjepa.evals.runs import training_cost, untrained
from openjepa.evals.table import RANDOM, ProbeTable
from openjepa.recipes import configure
from openjepa.signals.classical import FixedFeatures

MASKS = {
    "random patches": {"hiding": "random"},
    "blocks": {"hiding": "blocks"},
    "whole times": {"hiding": "random", "hiding.along": "time"},
}
TARGETS = {"hidden patches": "hidden", "all patches": "all"}
DURATIONS = (0.48, 0.96)
"""Seconds; the recordings last 0.4 s in the middle, 2.3 s at most."""
BANDS = "each frequency"
"""The pooling by which features are read out."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="fsdd.tar.gz, or a folder of its files")
    parser.add_argument("--out", type=Path, required=True, help="folder for runs and scores")
    parser.add_argument(
        "--folds", type=int, default=3, choices=range(1, 7), help="speakers left out, one after another"
    )
    parser.add_argument("--preset", default="tiny")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="an option of the recipe"
    )
    parser.add_argument("--save", action="store_true", help="write the table among the results")
    args = parser.parse_args()
    options = dict(item.split("=", 1) for item in args.set)
    text = compared(args.data, args.out, args.folds, args.preset, options)
    print(text)
    if args.save:
        given = shlex.join(part for item in args.set for part in ("--set", item))
        command = f"python -m benchmarks.sound_choices fsdd.tar.gz --out DIR --folds {args.folds} {given}"
        title = f"### Spoken digits of a left-out speaker, frozen features of audio-jepa {args.preset}"
        (record.RESULTS / "sound-choices-fsdd.md").write_text(f"{title}\n\n    {command.strip()}\n\n{text}")


def compared(data: Path, out: Path, folds: int, preset: str, options: dict[str, str]) -> str:
    """A row for each mask and target view, columns for each duration: means over speakers, and every score.

    Below, the mean over all runs with one answer to one of the three questions.
    """
    tables: dict[tuple[str, str, str], list[ProbeTable]] = {}
    first = next(iter(MASKS)), next(iter(TARGETS))  # beside it untrained encoders, which know no mask
    for seconds in DURATIONS:
        given = {"signal.seconds": str(seconds), "signal.names": NAMES["fsdd"], **options}
        config: Any = configure("audio-jepa", preset, given)
        samples = cache(
            partial(config.signal.open, str(data))
        )  # read once, and only if something is to be computed
        for (mask, hiding), (target, sees) in itertools.product(MASKS.items(), TARGETS.items()):
            asked = {**hiding, "hiding.target_sees": sees, **given}
            place = out / f"{mask}-{target}-{seconds:g}".replace(" ", "-")
            tables[mask, target, f"{seconds:g} s"] = [
                _kept(samples, fold, preset, asked, place, (mask, target) == first) for fold in range(folds)
            ]
    lengths = [f"{seconds:g} s" for seconds in DURATIONS]
    heads = [f"{length}{few}" for few in ("", f", {FEW} per class") for length in lengths]
    lines = [f"| mask | target sees | {' | '.join(heads)} |", "| --- | --- |" + " --- |" * len(heads)]
    rows = [(mask, target, "model") for mask in MASKS for target in TARGETS]
    for mask, target, name in [*rows, (*first, RANDOM)]:
        cells = [_scores(tables[mask, target, length], name, few) for few in (0, FEW) for length in lengths]
        called = f"{mask} | {target}" if name == "model" else "untrained |"
        lines.append(f"| {called} | {' | '.join(map(_told, cells))} |")
    lines += ["", f"| all runs with | all labels | {FEW} per class |", "| --- | --- | --- |"]
    for place, answers in enumerate((list(MASKS), list(TARGETS), lengths)):
        for answer in answers:
            among = [table for key, several in tables.items() if key[place] == answer for table in several]
            means = [np.mean(_scores(among, "model", few)) for few in (0, FEW)]
            lines.append(f"| {answer} | {' | '.join(f'{mean:.1f}' for mean in means)} |")
    minutes = [table.costs["model"].minutes or 0.0 for several in tables.values() for table in several]
    lines += ["", f"{len(minutes)} trainings of {np.mean(minutes):.1f} CPU minutes each."]
    return "\n".join(lines) + "\n"


def _kept(
    samples: Callable[[], Any], fold: int, preset: str, options: dict[str, str], place: Path, beside: bool
) -> ProbeTable:
    """The scores with one speaker left out, of a model that is trained now where none are kept.

    Args:
        beside: whether its encoder is scored untrained, too.
    """
    kept, run = place / f"fold{fold}.json", place / f"fold{fold}"
    if kept.exists():
        return ProbeTable.from_dict(json.loads(kept.read_text()))
    train, test = split(samples(), fold)
    if not (run / "model").exists():
        settings = {"train.seed": str(fold), "train.precision": "fp32", **options}
        openjepa.train("audio-jepa", preset=preset, data=train, options=settings, out=run, overwrite=True)
    model: Any = openjepa.load(run)
    read = [ReadOut("model", model)]
    read += [ReadOut(RANDOM, untrained(model.config, 100 * fold))] if beside else []
    table = probe(None, train, test, kinds=("linear",), classical=read, per_class=(FEW,), seed=fold)
    table.costs["model"] = training_cost(run)
    record.write_json(kept, {**table.to_dict(), **record.circumstances()})
    return table


@dataclass(frozen=True)
class ReadOut:
    """The paper's features of a model: its last layer, averaged over time, one vector for each band of patches."""

    name: str
    model: Any

    def fit(self, samples: Any, **options: object) -> FixedFeatures:
        """Nothing is learned."""
        last = self.model.tokens(samples.read([0]))
        pooling = offered([tuple(last.shape[1:])], self.model.layout, self.model.signal.axes)[BANDS]

        def features(batch: Any) -> Tensor:
            return pooling.take([self.model.tokens(batch)], self.model.present(batch))

        return FixedFeatures(self.name, {BANDS: features}, {BANDS: pooling.dims})


def _scores(tables: Sequence[ProbeTable], row: str, few: int) -> list[float]:
    return [100 * table.score(row, "linear", per_class=few).mean for table in tables]


def _told(scores: Sequence[float]) -> str:
    return f"{np.mean(scores):.1f} ({', '.join(f'{score:.1f}' for score in scores)})"


if __name__ == "__main__":
    main()
