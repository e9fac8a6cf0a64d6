"""Splits that are told by names of files: `NAME_TRAIN.ts` and `NAME_TEST.ts`, `name-train.npz` and `name-test.npz`."""

from collections.abc import Sequence
from pathlib import Path

from openjepa.signals.readers.splits import SPLITS


def paired(folder: Path, names: Sequence[str]) -> dict[str, str] | None:
    """Files of a folder by split, where one of `names` ends in a split's name; `None` where none does."""
    for name in names:
        stem, dot, suffix = name.rpartition(".")
        for alias in (alias for aliases in SPLITS.values() for alias in aliases):
            if stem.lower().endswith((f"_{alias}", f"-{alias}")):
                base = stem[: -len(alias)]
                wanted = {
                    f"{base}{word}{dot}{suffix}".lower(): split
                    for split, words in SPLITS.items()
                    for word in words
                }
                others = sorted(path.name for path in folder.iterdir() if path.name.lower() in wanted)
                return {wanted[other.lower()]: other for other in others}
    return None
