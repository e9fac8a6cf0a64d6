"""The exception for mistakes that the user can mend, and the warning for what may be one."""

import sys
import warnings


class UserError(ValueError):
    """One sentence: what was given, what is allowed, what to do. The command line prints it and exits with 2."""


class OpenJEPAWarning(UserWarning):
    """One sentence: what was left out of the user's data, or what looks wrong. The command line prints it.

    To hear nothing: `warnings.simplefilter("ignore", openjepa.OpenJEPAWarning)`.
    """


def warn(sentence: str) -> None:
    """Warn the user, as of the line outside this package that called it."""
    package, level = __name__.split(".")[0], 1
    frame = sys._getframe()
    while frame is not None and frame.f_globals.get("__name__", "").split(".")[0] == package:
        frame, level = frame.f_back, level + 1
    warnings.warn(sentence, OpenJEPAWarning, stacklevel=level)


def first_line(error: BaseException) -> str:
    """What an error of another library says, shortly."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
