"""Whether what is asked for fits into this machine's memory, asked before it is begun."""

import os
from contextlib import suppress
from functools import cache
from pathlib import Path

from openjepa.errors import UserError

_CONTAINER = Path("/sys/fs/cgroup/memory.max")
_NUMBER = 4
"""Bytes of a float32."""


@cache
def machine_memory() -> int:
    """Bytes that this process can have at most: of the machine, or of the container it runs in."""
    try:
        limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    except (ValueError, OSError, AttributeError):  # not known here
        return 2**63
    with suppress(OSError, ValueError):  # none, or "max"
        limits.append(int(_CONTAINER.read_text()))
    return min(limits)


def require_room(numbers: int, what: str, advice: str) -> None:
    """Raises UserError where so many float32 numbers are more than the machine's memory."""
    if numbers * _NUMBER > machine_memory():
        raise UserError(
            f"{what} would have {_written(numbers)} numbers, {_written(numbers * _NUMBER)} bytes, more than this "
            f"machine's memory of {_written(machine_memory())}: {advice}"
        )


def _written(count: int) -> str:
    for size, word in ((10**12, "trillion"), (10**9, "billion"), (10**6, "million")):
        if count >= size:
            return f"{count / size:,.1f} {word}"
    return str(count)
