"""How a command is declared, and the options that several commands share."""

import argparse
import difflib
from collections.abc import Callable, Iterable
from typing import Any

from openjepa.errors import UserError

LONGEST = 1500
"""Characters of a sentence."""

RunCommand = Callable[[argparse.Namespace], None]
Commands = Any
"""What argparse adds commands to, a type of its own that it keeps private."""


class Parser(argparse.ArgumentParser):
    """A parser whose mistakes are the user's, like any other.

    Attributes:
        dotted: whether dotted options of a config stand beside the command's own.
    """

    dotted = False

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            known = ", ".join(action.choices)
            what = "command" if action.dest == "command" else f"value of {'/'.join(action.option_strings)}"
            raise UserError(f"unknown {what} {value!r}, known are {known}{nearest(value, action.choices)}")

    def error(self, message: str) -> Any:
        raise UserError(f"{message}; see `{self.prog} --help`")


def command(
    commands: Commands,
    name: str,
    run: RunCommand,
    text: str,
    *,
    examples: str = "",
    dotted: bool = False,
    **more: Any,
) -> Parser:
    """Add a command: what it runs, one line of help, examples below its options."""
    if examples:
        more |= {"epilog": examples, "formatter_class": argparse.RawDescriptionHelpFormatter}
    parser = commands.add_parser(name, help=text, description=text, allow_abbrev=False, **more)
    parser.set_defaults(run=run)
    parser.dotted = dotted
    return parser


def add_run(parser: Parser, text: str | None = None) -> None:
    """One run, `args.run_dir`."""
    parser.add_argument("run_dir", metavar="RUN", help=text)
    add_own(parser)


def add_runs(parser: Parser, count: str, text: str) -> None:
    """Several runs, `args.runs`; `count` as argparse's `nargs`."""
    parser.add_argument("runs", nargs=count, metavar="RUN", help=text)
    add_own(parser)


def add_own(parser: Parser) -> None:
    """Recipes and parts in files of the user's own, `args.own`; they are imported before the command runs."""
    parser.add_argument(
        "--own",
        "--recipe",
        dest="own",
        action="append",
        metavar="FILE.py:NAME",
        help="a recipe or a part of your own, where the run has one; can be given several times",
    )


def add_data(parser: Parser, text: str) -> None:
    parser.add_argument("--data", help=text)


def add_labels(parser: Parser) -> None:
    """A table of labels beside the data; see `labels_of`."""
    group = parser.add_argument_group("labels in a table")
    group.add_argument(
        "--labels",
        metavar="TABLE",
        help="a .csv, .tsv or .parquet file with a row a sample (default: the data's own)",
    )
    group.add_argument("--label", metavar="COLUMN", help="of labels (default: label, class, target or y)")
    group.add_argument(
        "--id",
        metavar="COLUMN",
        help="of file names or keys (default: id, file, path or the like, or the first one)",
    )
    group.add_argument(
        "--group", metavar="COLUMN", help="of patients, speakers, sites: no split cuts one (default: group)"
    )
    group.add_argument(
        "--as",
        dest="label_kind",
        choices=("classes", "numbers"),
        help="what labels are (default: text and 0, 1, 2, ... classes, else numbers)",
    )


def table_options(args: argparse.Namespace) -> dict[str, str]:
    """The options of the table of labels that are given, by their names in `openjepa.signals.label_table.LabelTable`.

    Raises:
        UserError: columns without a table.
    """
    named = {
        "file": args.labels,
        "label": args.label,
        "id": args.id,
        "group": args.group,
        "kind": args.label_kind,
    }
    given = {name: value for name, value in named.items() if value is not None}
    if given and args.labels is None:
        raise UserError("--label, --id, --group and --as speak of a table: name it with --labels")
    return given


def labels_of(args: argparse.Namespace) -> Any:
    """The table of labels that is named; empty where none is."""
    from openjepa.signals.label_table import LabelTable

    return LabelTable.parse(table_options(args))


def add_steps(parser: Parser) -> None:
    """Of training, `args.steps`."""
    parser.add_argument("--steps", help="short for --train.steps")


def add_training_seed(parser: Parser) -> None:
    """Of training, `args.seed`."""
    parser.add_argument("--seed", help="short for --train.seed")


def add_seed(parser: Parser, text: str | None = None) -> None:
    parser.add_argument("--seed", type=whole(0, 2**63 - 1), default=0, help=text)


def add_json(parser: Parser, text: str = "print the result as JSON") -> None:
    parser.add_argument("--json", action="store_true", help=text)


def whole(least: int, most: int) -> Callable[[str], int]:
    """Reads a whole number within bounds."""

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"invalid int value: {text[:LONGEST]!r}") from None
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text} is not within {least} and {most}")
        return value

    return read


def nearest(word: str, options: Iterable[str]) -> str:
    """The end of a sentence about a word that is none of the options."""
    close = difflib.get_close_matches(word, options, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
