"""What Signal-JEPA learns of EEG: rest or mental arithmetic, of people whom neither training nor probe has seen.

python -m benchmarks.electrodes DATA --out DIR            # train and probe every fold, write the table
python -m benchmarks.electrodes DATA --out DIR --fold 0   # one fold alone; its table is kept in DIR

DATA holds `eegmat-128hz.npy.xz` and `eegmat-index.npz` (EEG During Mental Arithmetic Tasks, Zyma et al. 2019,
PhysioNet, ODC-BY 1.0, at 128 Hz). People are dealt to three folds. For each, and with a seed of its own, a model
is trained on the recordings of the other two, without labels; a linear probe is fitted on its frozen features of
windows of two seconds, beside those of random encoders and classical ones, and scored on the people of the fold.
"""

import argparse
import itertools
import json
import lzma
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import t as student

import openjepa
from benchmarks.record import circumstances, write_json
from openjepa.evals.protocol import Comparison
from openjepa.evals.runs import training_cost, untrained
from openjepa.evals.table import JOINED, ProbeTable
from openjepa.evals.table import RANDOM as RANDOM_ROW
from openjepa.evals.tasks import Classes
from openjepa.recipes import configure
from openjepa.signals.electrodes import ElectrodeSignal, Piece, Recording, RecordingSet, open_recordings

FOLDS, WINDOW = 3, 2.0
RANDOM = 3
"""Random initialisations beside each trained model."""
FEW = 10
"""Labels a class, drawn five times."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder of the two files")
    parser.add_argument("--out", type=Path, required=True, help="folder for runs and tables")
    parser.add_argument("--fold", type=int, choices=range(FOLDS), help="this one alone")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="an option of the recipe"
    )
    args = parser.parse_args()
    recordings = read(args.data)
    options = dict(item.split("=", 1) for item in args.set)
    chosen = range(FOLDS) if args.fold is None else [args.fold]
    for fold in chosen:
        table = judge(recordings, fold, args.out, options)
        args.out.mkdir(parents=True, exist_ok=True)
        write_json(args.out / f"fold{fold}.json", {**table.to_dict(), **circumstances()})
        print(table, flush=True)
    if args.fold is None:
        saved = [json.loads((args.out / f"fold{fold}.json").read_text()) for fold in range(FOLDS)]
        told = averaged([ProbeTable.from_dict(one) for one in saved])
        (args.out / "table.md").write_text(told)
        print(told)


def averaged(tables: list[ProbeTable]) -> str:
    """Each row's mean over the folds with Student's 95 % interval, and in brackets each fold's score, in %.

    Below, what the model has more than other rows, fold by fold: folds differ more from one another than rows do.
    """
    values: dict[str, dict[bool, list[float]]] = {}
    for table in tables:
        for score in table.scores:
            values.setdefault(score.row, {}).setdefault(score.per_class > 0, []).append(100 * score.mean)
    heads = f"| linear | linear, {FEW} per class |"
    lines = [f"| balanced accuracy in % {heads}", "| --- | --- | --- |"]
    lines += [f"| {row} | {_told(cells[False])} | {_told(cells[True])} |" for row, cells in values.items()]
    classical = [row for row in values if row not in ("model", RANDOM_ROW, JOINED)]
    lines += ["", f"| what is gained, in points {heads}", "| --- | --- | --- |"]
    for ours, others in (("model", [RANDOM_ROW]), ("model", classical), (JOINED, classical)):
        gained = []
        for few in (False, True):
            best = max(others, key=lambda row: np.mean(values[row][few]))
            gained.append(_told(list(np.subtract(values[ours][few], values[best][few]))))
        over = others[0] if len(others) == 1 else "the best classical row"
        lines.append(f"| {ours} over {over} | {' | '.join(gained)} |")
    return "\n".join(lines) + "\n"


def _told(scores: list[float]) -> str:
    mean, spread = float(np.mean(scores)), float(np.std(scores, ddof=1)) / np.sqrt(len(scores))
    half = float(student.ppf(0.975, len(scores) - 1)) * spread
    return f"{mean:.1f} [{mean - half:.1f}, {mean + half:.1f}] ({', '.join(f'{v:.1f}' for v in scores)})"


def read(folder: Path) -> list[Recording]:
    """Two recordings of each of 36 people, at rest and at work."""
    with lzma.open(folder / "eegmat-128hz.npy.xz") as file:
        values = np.load(file)
    index = np.load(folder / "eegmat-index.npz")
    names, edges = [str(name) for name in index["channels"]], index["offset"]
    return [
        Recording(
            f"recording {i}",
            names,
            [128.0] * len(names),
            [Piece(0.0, values[:, first:last] * np.float32(0.5))],
            subject=f"{index['subject'][i]:02d}",
            label=("rest", "arithmetic")[index["task"][i]],
        )
        for i, (first, last) in enumerate(itertools.pairwise(edges))
    ]


def split(recordings: list[Recording], fold: int) -> tuple[list[Recording], list[Recording]]:
    """The recordings of the people outside a fold, and of those in it."""
    people = sorted({recording.subject for recording in recordings})
    order = np.random.default_rng(0).permutation(len(people))
    held = {people[i] for i in np.array_split(order, FOLDS)[fold]}
    inside = [recording.subject in held for recording in recordings]
    parts: tuple[list[Recording], list[Recording]] = ([], [])
    for recording, there in zip(recordings, inside, strict=True):
        parts[there].append(recording)
    return parts


def judge(recordings: list[Recording], fold: int, out: Path, options: dict[str, str]) -> ProbeTable:
    """Train on all but one fold of people with the fold's number as seed, and probe on that fold."""
    others, held = split(recordings, fold)
    run = out / f"fold{fold}"
    settings: dict[str, Any] = {"train.seed": str(fold), "train.precision": "fp32", **options}
    if not (run / "model").exists():
        signal: Any = configure("signal-jepa", "tiny", settings)
        openjepa.train(
            "signal-jepa", preset="tiny", data=cut(others, signal.signal), options=settings, out=run
        )
    model: Any = openjepa.load(run)
    train, test = (cut(part, model.signal, WINDOW) for part in (others, held))
    beside = Comparison(
        train,
        test,
        kinds=("linear",),
        classical=model.signal.classical(),
        task=Classes(balanced=True),
        per_class=(FEW,),
        seed=fold,
    )
    return beside.table(
        model,
        random_init=lambda seed: untrained(model.config, 100 * fold + seed),
        seeds=range(RANDOM),
        cost=training_cost(run),
    )


def cut(recordings: list[Recording], signal: ElectrodeSignal, seconds: float | None = None) -> RecordingSet:
    """Windows of the signal's length, or of another."""
    return open_recordings(
        recordings, signal if seconds is None else signal.model_copy(update={"seconds": seconds})
    )


if __name__ == "__main__":
    main()
