"""Which part of a data set is meant."""

from collections.abc import Sequence

from openjepa.errors import UserError

SPLITS = {"train": ("train",), "test": ("test",), "val": ("val", "valid", "validation")}
"""Each split, and what folders and files that hold it are called."""


def pick_split(name: str, present: Sequence[str], split: str) -> str:
    """The split to use: the one asked for, or `val` in the place of a missing `test`.

    Raises:
        UserError: there is neither.
    """
    if split in present:
        return split
    if split == "test" and "val" in present:
        return "val"
    raise UserError(
        f"{name} has no split {split!r}, only {', '.join(map(repr, present))}: name one of these, or add it"
    )
