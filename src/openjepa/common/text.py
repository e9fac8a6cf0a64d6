"""Tables as text for a terminal."""

from collections.abc import Sequence


def aligned(table: Sequence[Sequence[str]]) -> list[str]:
    """Lines of text, from lines of as many cells.

    Examples:
        >>> aligned([["run", "score"], ["longest", "1"]])
        ['run      score', 'longest  1']
    """
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return ["  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in table]
