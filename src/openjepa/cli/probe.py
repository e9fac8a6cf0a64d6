"""`openjepa probe`."""

import argparse

from openjepa.cli.options import (
    Commands,
    add_data,
    add_json,
    add_labels,
    add_runs,
    add_seed,
    command,
    labels_of,
    whole,
)
from openjepa.cli.results import show_table


def add(commands: Commands) -> None:
    text = "score frozen features beside classical ones and a random encoder"
    parser = command(commands, "probe", run, text)
    add_runs(parser, "+", "a run; several of one recipe give intervals over seeds")
    add_data(parser, "labelled samples (default: the data of the run)")
    parser.add_argument(
        "--test",
        help="test samples (default: --data's test split, or a quarter of its groups, or of the samples in --labels)",
    )
    add_labels(parser)
    parser.add_argument(
        "--kinds", nargs="+", default=["linear", "knn"], help="probes: linear, knn, attentive"
    )
    parser.add_argument(
        "--few-label",
        nargs="+",
        type=_amount,
        default=[],
        metavar="AMOUNT",
        help="also score with few labels: 0.01 is a share of them, 10 so many examples per class",
    )
    parser.add_argument(
        "--draws",
        type=whole(1, 1000),
        default=5,
        help="how often few labels are drawn (default: 5); more draws give narrower intervals",
    )
    parser.add_argument(
        "--per-class", nargs="+", type=int, default=[], help=argparse.SUPPRESS
    )  # its old name
    parser.add_argument(
        "--labelled",
        type=int,
        metavar="N",
        help="choose and fit on so many labelled samples at most (default: all); a quick look on large sets",
    )
    parser.add_argument(
        "--classical",
        default="all",
        help="features beside the model's: all; quick, without those that take minutes; none",
    )
    parser.add_argument(
        "--balanced", action="store_true", help="every class counts alike: balanced accuracy, balanced fits"
    )
    parser.add_argument(
        "--forecast",
        nargs="+",
        type=whole(1, 1_000_000),
        default=[],
        metavar="STEPS",
        help="also score forecasts of so many coming values",
    )
    parser.add_argument(
        "--cuts",
        action="store_true",
        help="features are means over several cuts of each sample (clips, crops), where the data offer them",
    )
    parser.add_argument(
        "--save", action="store_true", help="keep the linear probe in the run, for `openjepa predict`"
    )
    add_seed(parser, "of validation splits, label draws, random encoders")
    add_json(parser, "print the table as JSON")


def run(args: argparse.Namespace) -> None:
    from openjepa.common.progress import Waiting
    from openjepa.evals import probe_runs

    with Waiting() as waiting:
        table = probe_runs(
            args.runs,
            data=args.data,
            test=args.test,
            labels=labels_of(args),
            kinds=args.kinds,
            classical=args.classical,
            few_label=[*args.few_label, *args.per_class],
            draws=args.draws,
            balanced=args.balanced,
            forecast=args.forecast,
            cuts=args.cuts,
            most=args.labelled,
            save=args.save,
            seed=args.seed,
            progress=waiting,
        )
    show_table(args, table)


def _amount(text: str) -> int | float:
    """A whole number of examples per class, or a share."""
    try:
        return int(text)
    except ValueError:
        return float(text)
