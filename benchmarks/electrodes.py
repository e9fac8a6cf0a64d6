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
import lzma
from pathlib import Path

import numpy as np

from benchmarks.folds import FoldStudy, arguments, measured
from openjepa.evals.tasks import Classes
from openjepa.signals.electrodes import ElectrodeSignal, Piece, Recording, RecordingSet, open_recordings

FOLDS, WINDOW = 3, 2.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder of the two files")
    arguments(parser, FOLDS)
    args = parser.parse_args()
    recordings = read(args.data)

    def parts(fold: int, signal: ElectrodeSignal, probe: bool) -> tuple[RecordingSet, RecordingSet]:
        others, held = split(recordings, fold)
        return cut(others, signal, WINDOW if probe else None), cut(held, signal, WINDOW if probe else None)

    options = dict(item.split("=", 1) for item in args.set)
    folds = args.folds or FOLDS
    study = FoldStudy(
        "signal-jepa", "tiny", options, folds, parts, "balanced accuracy", Classes(balanced=True), random=3
    )
    measured(study, args.out, args.fold)


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


def cut(recordings: list[Recording], signal: ElectrodeSignal, seconds: float | None = None) -> RecordingSet:
    """Windows of the signal's length, or of another."""
    return open_recordings(
        recordings, signal if seconds is None else signal.model_copy(update={"seconds": seconds})
    )


if __name__ == "__main__":
    main()
