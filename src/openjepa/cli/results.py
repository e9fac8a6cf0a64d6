"""How a command's result is printed, and where one of a protocol is kept."""

import argparse
import json
from collections.abc import Callable
from typing import Any, TypeVar

from openjepa.cli.options import Parser, add_json, add_runs
from openjepa.errors import UserError

T = TypeVar("T")


def show(args: argparse.Namespace, found: dict[str, Any]) -> None:
    """Names with values, one a line; nothing of what is empty."""
    if args.json:
        print(json.dumps(found))
        return
    width = max(map(len, found))
    for name, value in found.items():
        if value not in ("", None):
            print(
                f"{name:<{width}}  {value:.4g}" if isinstance(value, float) else f"{name:<{width}}  {value}"
            )


def show_run(args: argparse.Namespace, run: Any) -> None:
    """A run that has ended: where it lies, its verdict and what to do; nothing on processes that do not write it."""
    if run.writes:
        verdict = run.verdict()
        found = {"verdict": verdict.word, "reason": verdict.reason, "advice": verdict.advice}
        show(args, {"run": str(run.path), **found})


def show_table(args: argparse.Namespace, table: Any) -> None:
    """A table as text, or as JSON."""
    print(json.dumps(table.to_dict()) if args.json else table)


def add_protocol(parser: Parser, env: str, protocol: str, file: str) -> None:
    """What commands share that play a protocol; `file` is the result's name in the folder of a run."""
    add_runs(parser, "*", "a world model; several of one recipe are combined")
    parser.add_argument("--env", help=env)
    parser.add_argument("--protocol", metavar="FILE", help=protocol)
    parser.add_argument(
        "--out", metavar="FILE", help=f"the result as JSON (default, of one run: {file} in it)"
    )
    add_json(parser)


def protocol_of(args: argparse.Namespace, read: Callable[..., T], protocol_for: Callable[..., T]) -> T:
    """A saved protocol, or that of the runs with what the command line changes."""
    if not args.protocol:
        return protocol_for(args.runs, args.env, args.changes)
    if args.runs or args.changes:
        raise UserError(
            "--protocol says everything that the numbers depend on: give no run or option beside it"
        )
    return read(args.protocol, args.env)


def result_file(args: argparse.Namespace, name: str) -> str | None:
    """Where the result goes: to `--out`, or of one run into its folder."""
    return args.out or (f"{args.runs[0]}/{name}" if len(args.runs) == 1 else None)


def write_result(out: str | None, found: dict[str, Any]) -> UserError | None:
    """A result goes to its file; what prevented that."""
    from openjepa.evals import planning

    try:
        if out:
            planning.write(out, found)
    except UserError as error:
        return error
    return None


def show_result(
    args: argparse.Namespace, found: dict[str, Any], text: str, trouble: UserError | None
) -> None:
    """A result is printed, whatever went wrong with what should be kept of it; that is said then."""
    print(json.dumps(found) if args.json else text)
    if trouble is not None:
        raise trouble
