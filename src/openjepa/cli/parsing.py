"""The command line as a whole: all commands, and dotted options beside a command's own."""

import argparse
import shlex
from collections.abc import Container, Sequence
from importlib.metadata import version

from openjepa.cli import (
    collect,
    compare,
    controls,
    convert,
    embed,
    export,
    finetune,
    health,
    neighbours,
    openloop,
    plan,
    predict,
    probe,
    push,
    recipes,
    remote,
    report,
    sweep,
    train,
)
from openjepa.cli.options import Parser, nearest
from openjepa.errors import UserError

COMMANDS = (
    recipes,
    train,
    sweep,
    finetune,
    collect,
    probe,
    predict,
    openloop,
    plan,
    controls,
    remote,
    embed,
    neighbours,
    health,
    report,
    compare,
    export,
    convert,
    push,
)
"""In the order of `--help`."""


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """What was asked for; `line` is the command as it can be typed again, `changes` its dotted options.

    Raises:
        UserError: an unknown command or option, a value that does not fit.
    """
    parser = make_parser()
    own, changes = list(arguments), {}
    known = subparsers(parser)
    if own and own[0] in known and known[own[0]].dotted:
        own, changes = _split(own, known[own[0]]._option_string_actions)
    args, rest = parser.parse_known_args(own)
    if rest:
        close = nearest(rest[0], known[args.command]._option_string_actions)
        raise UserError(f"unexpected argument {rest[0]!r}{close}; see `openjepa {args.command} --help`")
    for name in (
        "data",
        "test",
        "labels",
        "out",
        "output",
        "new",
        "query",
        "config",
        "init",
        "resume",
        "protocol",
        "env",
        "run_dir",
    ):
        if getattr(args, name, None) == "":  # a shell's empty variable; as a path it is the working directory
            raise UserError(f"{name} is an empty text: name something, or leave it out")
    if "" in (getattr(args, "runs", None) or []):
        raise UserError("a run has an empty name: name its folder")
    args.line, args.changes = shlex.join(["openjepa", *arguments]), changes
    return args


def make_parser() -> Parser:
    """The parser of all commands."""
    parser = Parser(
        prog="openjepa",
        description="Train, examine and use joint-embedding predictive architectures.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"openjepa {version('openjepa')}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)
    for module in COMMANDS:
        module.add(commands)
    return parser


def subparsers(parser: Parser) -> dict[str, Parser]:
    """Each command's parser, by name."""
    return next(a.choices for a in parser._actions if isinstance(a, argparse._SubParsersAction))


def _split(words: Sequence[str], own: Container[str]) -> tuple[list[str], dict[str, str]]:
    """The command's own words, and `--guard sigreg --guard.slices=512` as dotted changes; no value means `true`.

    Before argparse sees them: it would take the value of an option that it does not know for the recipe.
    """
    kept, changes, left = [], {}, list(words)
    while left:
        word = left.pop(0)
        name, equals, value = word.partition("=")
        if not word.startswith("--") or name in own:
            kept.append(word)
            continue
        if not equals:
            value = left.pop(0) if left and not left[0].startswith("--") else "true"
        changes[name.removeprefix("--").replace("-", "_")] = value
    return kept, changes
