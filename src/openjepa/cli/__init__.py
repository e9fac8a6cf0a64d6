"""The commands, a file each. Nothing here imports torch until a command that needs it runs."""

import signal
import sys
import warnings
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from typing import Any, NoReturn

from openjepa.cli.options import LONGEST
from openjepa.cli.parsing import parse
from openjepa.errors import OpenJEPAWarning, UserError

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command; exits with 2 and one sentence on a mistake that the user can mend, with 130 on Ctrl-C."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if isinstance(sys.stdout, TextIOWrapper):
        # a name that the terminal's encoding lacks is no reason to fail
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        args = parse(arguments)
        with _warnings_in_sentences():
            _enter(getattr(args, "own", None) or [])
            args.run(args)
    except UserError as error:
        _refuse(str(error))
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise SystemExit(0) from None
        _refuse(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except (MemoryError, RuntimeError) as error:
        if not _out_of_memory(error):
            raise
        _refuse("this takes more memory than there is: choose smaller batches, sizes or data")
    except KeyboardInterrupt as stop:  # a training says what it has saved, and which signal came
        print(f"openjepa: {str(stop) or 'interrupted'}", file=sys.stderr)
        raise SystemExit(128 + getattr(stop, "number", signal.SIGINT)) from None


def _enter(files: Sequence[str]) -> None:
    """Import recipes and parts of the user's own."""
    if files:
        from openjepa.recipes import own

        for name in files:
            own.enter_all(name)


def _refuse(sentence: str) -> NoReturn:
    print(f"openjepa: {_on_a_line(sentence)}", file=sys.stderr)
    raise SystemExit(2) from None


def _on_a_line(sentence: str) -> str:
    """Characters that can be seen, and not too many of them, whatever the names in it."""
    seen = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in sentence)
    return seen if len(seen) <= LONGEST else f"{seen[: LONGEST // 2]} ... {seen[-LONGEST // 2 :]}"


def _out_of_memory(error: Exception) -> bool:
    """Torch has a class for a GPU's memory alone."""
    known = "can't allocate memory" in str(error) or type(error).__name__ == "OutOfMemoryError"
    return isinstance(error, MemoryError) or known


@contextmanager
def _warnings_in_sentences() -> Generator[None]:
    """Our own warnings as one line each on standard error; others as Python shows them."""
    with warnings.catch_warnings():
        warnings.simplefilter("once", OpenJEPAWarning)
        shown = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
            if issubclass(category, OpenJEPAWarning):
                print(f"openjepa: {_on_a_line(str(message))}", file=sys.stderr)
            else:
                shown(message, category, *where, **more)

        warnings.showwarning = show  # ty: ignore[invalid-assignment]
        yield
