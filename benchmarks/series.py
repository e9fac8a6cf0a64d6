"""What TS-JEPA learns of series in minutes, beside MiniRocket, statistics and ridge regression.

    python -m benchmarks.series osuleaf --data OSULeaf          # folders of NAME_TRAIN.ts and NAME_TEST.ts, as sktime's
    python -m benchmarks.series etth1 --data ETTh1.csv          # and aeon's wheels hold them: osuleaf, acsf1, plaid

Classes (OSULeaf, ACSF1, PLAID; the archive's splits): trained on the training series without their labels, scored on
the test series, with all labels and with ten a class. Forecasts (ETTh1 320 to 32, 12/4/4 months; US illness 104 to 24
and exchange rates 96 to 96, 70/10/20 %): trained on the first part, scored on the last, in deviations of the first,
each channel a series by itself; the change since the last value is asked for. A run under `--runs` that has finished is
not trained again.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.frozen import Asked, add_arguments, alone, judge, tell, write


@dataclass(frozen=True)
class Case:
    """A data set.

    Attributes:
        title: what the table is called.
        horizon: of a forecast, or 0.
        stride: steps between the windows that forecasts are fitted on; all are scored.
        options: of the signal.
    """

    title: str
    horizon: int = 0
    stride: int = 1
    options: dict[str, str] = field(default_factory=dict)


CASES = {
    "osuleaf": Case("OSULeaf, frozen features, accuracy in % [95 % interval]"),
    "acsf1": Case("ACSF1, frozen features, accuracy in % [95 % interval]"),
    "plaid": Case("PLAID, frozen features, accuracy in % [95 % interval]"),
    "etth1": Case(
        "ETTh1, 320 hours to 32, MSE [95 % interval]",
        32,
        4,
        {
            "signal.tokens": "apart",
            "signal.length": "320",
            "signal.season": "24",
            "signal.parts": "[8640, 2880, 2880]",
        },
    ),
    "illness": Case(
        "US influenza-like illness, 104 weeks to 24, MSE [95 % interval]",
        24,
        1,
        {"signal.tokens": "apart", "signal.length": "104", "signal.patch": "8", "signal.season": "52"},
    ),
    "exchange": Case(
        "Exchange rates, 96 days to 96, MSE [95 % interval]",
        96,
        4,
        {"signal.tokens": "apart", "signal.length": "96", "signal.patch": "8"},
    ),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Train and probe every seed, write JSON and markdown, print the markdown."""
    args = parse(arguments)
    alone()
    from openjepa.evals.tasks import Coming
    from openjepa.recipes import configure

    case = CASES[args.name]
    options = case.options | dict(item.split("=", 1) for item in args.set)
    config = configure("ts-jepa", args.preset, options)
    signal = config.signal.fitted(config.signal.open(args.data, adapt=True))
    train, test = (signal.open(args.data, split) for split in ("train", "test"))
    classical, task = signal.classical(args.classical), None
    fitted, scored = train, test
    if case.horizon:
        sparse = signal.model_copy(update={"stride": case.stride}).open(args.data)
        fitted, scored, task = sparse.leaving(case.horizon), test.leaving(case.horizon), Coming(case.horizon)
        classical = signal.classical("quick")
    tell(f"{len(train)} samples to train on; {len(fitted)} to fit on, {len(scored)} to score")
    asked = Asked(fitted, scored, task, () if case.horizon else (10,), classical)
    name = f"{args.name}-ts-jepa"
    table, runs = judge("ts-jepa", args.data, [asked], options, args, name)
    write(f"learning-{name}", case.title, table, runs, args)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.series", description=__doc__.split("\n")[0])
    parser.add_argument("name", choices=CASES)
    parser.add_argument("--data", required=True, help="folder or file of the set")
    add_arguments(parser, "runs/series")
    args = parser.parse_args(arguments)
    args.data = str(Path(args.data))
    return args


if __name__ == "__main__":
    main()
