"""What benchmarks that leave a part of the data out share: train on the rest, probe on the part, average over parts.

For each fold a model is trained on what lies outside it, without labels, with the fold's number as seed. A linear
probe is fitted on frozen features of the same samples, beside those of untrained encoders and classical ones, and
scored on the fold. Its table is kept, so that a benchmark that was interrupted goes on where it was.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import openjepa
from benchmarks.record import circumstances, write_json
from openjepa.evals.protocol import Comparison
from openjepa.evals.runs import training_cost, untrained
from openjepa.evals.table import JOINED, RANDOM, ProbeTable, student
from openjepa.evals.tasks import LabelTask
from openjepa.recipes import configure

FEW = 10
"""Labels a class, drawn five times."""


@dataclass(frozen=True)
class FoldStudy:
    """A question to a recipe.

    Attributes:
        recipe, preset, options: of the model; options as on the command line.
        folds: how many.
        parts: of a fold and a signal, the samples outside and inside of it: to train the model on, or with `probe`, to
            probe it on.
        measure: what the scores are, for the table's head.
        task: what is asked; `None`: the classes.
        random: untrained encoders beside each trained one.
        classical: which classical rows, as of `openjepa probe`.
    """

    recipe: str
    preset: str
    options: dict[str, str]
    folds: int
    parts: Callable[[int, Any, bool], tuple[Any, Any]]
    measure: str
    task: LabelTask | None = None
    random: int = 1
    classical: str = "all"


def arguments(parser: argparse.ArgumentParser, folds: int) -> None:
    """The options that all these benchmarks have."""
    parser.add_argument("--out", type=Path, required=True, help="folder for runs and tables")
    parser.add_argument("--fold", type=int, choices=range(folds), help="this one alone")
    parser.add_argument("--folds", type=int, choices=range(1, folds + 1), help="so many, the first ones")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="an option of the recipe"
    )


def measured(study: FoldStudy, out: Path, fold: int | None = None) -> str | None:
    """Judge every fold that has no table yet, or one alone; the averaged table once all have one.

    A study of fewer folds than there are is of the first ones.
    """
    for chosen in range(study.folds) if fold is None else [fold]:
        kept_table(study, chosen, out)
    if not all((out / f"fold{chosen}.json").exists() for chosen in range(study.folds)):
        return None
    text = averaged([kept_table(study, chosen, out) for chosen in range(study.folds)], study.measure)
    (out / "table.md").write_text(text)
    print(text)
    return text


def kept_table(study: FoldStudy, fold: int, out: Path) -> ProbeTable:
    """The table of a fold, judged now where none is kept."""
    out.mkdir(parents=True, exist_ok=True)
    kept = out / f"fold{fold}.json"
    if not kept.exists():
        table = judge(study, fold, out)
        write_json(kept, {**table.to_dict(), **circumstances()})
        print(table, flush=True)
    return ProbeTable.from_dict(json.loads(kept.read_text()))


def judge(study: FoldStudy, fold: int, out: Path) -> ProbeTable:
    """Train on all but one fold with the fold's number as seed, and probe on that fold."""
    run = out / f"fold{fold}"
    settings = {"train.seed": str(fold), "train.precision": "fp32", **study.options}
    if not (run / "model").exists():
        signal: Any = configure(study.recipe, study.preset, settings)
        samples, _ = study.parts(fold, signal.signal, False)
        openjepa.train(
            study.recipe, preset=study.preset, data=samples, options=settings, out=run, overwrite=True
        )
    model: Any = openjepa.load(run)
    train, test = study.parts(fold, model.signal, True)
    beside = Comparison(
        train,
        test,
        kinds=("linear",),
        classical=model.signal.classical(study.classical),
        task=study.task,
        per_class=(FEW,),
        seed=fold,
    )
    return beside.table(
        model,
        random_init=lambda seed: untrained(model.config, 100 * fold + seed),
        seeds=range(study.random),
        cost=training_cost(run),
    )


def averaged(tables: Sequence[ProbeTable], measure: str) -> str:
    """Each row's mean over the folds with Student's 95 % interval, and in brackets each fold's score, in %.

    Below, what the model has more than other rows, fold by fold: folds differ more from one another than rows do.
    """
    values: dict[str, dict[bool, list[float]]] = {}
    for table in tables:
        for score in table.scores:
            values.setdefault(score.row, {}).setdefault(score.per_class > 0, []).append(100 * score.mean)
    heads = f"| linear | linear, {FEW} per class |"
    lines = [f"| {measure} in % {heads}", "| --- | --- | --- |"]
    lines += [f"| {row} | {_told(cells[False])} | {_told(cells[True])} |" for row, cells in values.items()]
    classical = [row for row in values if row not in ("model", RANDOM, JOINED)]
    lines += ["", f"| what is gained, in points {heads}", "| --- | --- | --- |"]
    for ours, others in (("model", [RANDOM]), ("model", classical), (JOINED, classical)):
        if ours not in values or not set(others) & set(values):
            continue
        gained = []
        for few in (False, True):
            best = max(others, key=lambda row, few=few: np.mean(values[row][few]))
            gained.append(_told(list(np.subtract(values[ours][few], values[best][few]))))
        over = others[0] if len(others) == 1 else "the best classical row"
        lines.append(f"| {ours} over {over} | {' | '.join(gained)} |")
    return "\n".join(lines) + "\n"


def _told(scores: Sequence[float]) -> str:
    low, high = student(scores)
    return f"{np.mean(scores):.1f} [{low:.1f}, {high:.1f}] ({', '.join(f'{v:.1f}' for v in scores)})"
