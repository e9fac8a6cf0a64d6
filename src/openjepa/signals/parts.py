"""Parts of a set of samples: some of its rows, those that are labelled; the same samples with other labels; groups."""

import hashlib
from copy import copy
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from openjepa.common.rng import Rng
from openjepa.errors import warn
from openjepa.signals.base import Labels

Set = TypeVar("Set")


class SplitPart:
    """Some of a set's samples, in the order of `rows`; all else that the set has (shape, classes) is the set's."""

    def __init__(self, samples: Any, rows: NDArray[Any]) -> None:
        self._whole, self._rows = samples, np.asarray(rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # while it is copied or unpickled it has no set yet
            raise AttributeError(name)
        return getattr(self._whole, name)

    @property
    def labels(self) -> Labels | None:
        """Those of its samples."""
        found = self._whole.labels
        return None if found is None else found[self._rows]

    def key(self, index: int) -> str:
        """What the set calls a sample of the part."""
        return _key(self._whole, int(self._rows[index]))

    def read(self, indices: Any, rng: Any = None) -> Any:
        """A batch; `indices` count within the part."""
        chosen = self._rows[np.asarray(indices)]
        return self._whole.read(chosen) if rng is None else self._whole.read(chosen, rng)

    def cuts(self, indices: Any) -> Any:
        """Several cuts of each sample, where the set offers them."""
        return self._whole.cuts(self._rows[np.asarray(indices)])


class Relabelled:
    """A set's samples with other labels."""

    def __init__(self, samples: Any, labels: Labels | None) -> None:
        self._whole, self.labels = samples, labels

    def __len__(self) -> int:
        return len(self._whole)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._whole, name)

    def subset(self, rows: Any) -> "Relabelled":
        """Some of the samples, with their labels."""
        chosen = np.asarray(rows)
        return Relabelled(part(self._whole, chosen), None if self.labels is None else self.labels[chosen])

    def describe(self) -> dict[str, Any]:
        """What the set tells of itself, with a fingerprint of the labels too."""
        found = self._whole.describe()
        digest = hashlib.sha256(str(found.get("fingerprint", "")).encode())
        digest_labels(digest, self.labels)
        return {**found, "fingerprint": digest.hexdigest()}


def changed(samples: Set, **attributes: Any) -> Set:
    """A copy of a set with other attributes; it shares all else."""
    found = copy(samples)
    found.__dict__.update(attributes)
    return found


def drawn_between(low: NDArray[np.int64], high: NDArray[np.int64], rng: Rng) -> NDArray[np.int64]:
    """A random whole number from `low` to `high`, of each: where windows begin."""
    share = rng.uniform(len(low)).double().numpy()
    return low + np.floor(share * (high - low + 1)).astype(np.int64)


def relabelled(samples: Any, labels: Labels | None) -> Any:
    """The same samples with other labels, as a set of the same kind where the set can give one."""
    return samples.relabelled(labels) if hasattr(samples, "relabelled") else Relabelled(samples, labels)


def digest_labels(digest: Any, labels: Labels | None) -> None:
    """Feed labels and groups to a checksum."""
    for values in () if labels is None else (labels.values, labels.groups):
        if values is not None:
            digest.update(values.astype("<f8" if values.dtype.kind == "f" else "<i8").tobytes())


def keys_of(samples: Any) -> list[str]:
    """What each sample is called in its source: its path, its name in a shard, the recording that it is of, a number.

    Paths are relative to the folder that was named. A set whose samples have no names has numbers.
    """
    return [_key(samples, row) for row in range(len(samples))]


def _key(samples: Any, row: int) -> str:
    return samples.key(row) if hasattr(samples, "key") else str(row)


def part(samples: Any, rows: NDArray[Any]) -> Any:
    """Some of a set's samples, as a set of the same kind where the set can give one."""
    return samples.subset(rows) if hasattr(samples, "subset") else SplitPart(samples, rows)


def labelled(samples: Any) -> Any:
    """The samples whose labels are known, a class or finite variables; a warning counts the others."""
    if samples.labels is None:
        return samples
    values = np.asarray(samples.labels.values)
    known = np.isfinite(values.reshape(len(values), -1)).all(1) if values.dtype.kind == "f" else values >= 0
    if known.all():
        return samples
    warn(
        f"{samples.name}: {np.count_nonzero(~known):,} of {len(samples):,} {samples.noun} have no label and are left "
        "out here"
    )
    return part(samples, np.flatnonzero(known))


def number_of(group: str) -> int:
    """The number of a person, a recording or another group, the same in every set."""
    return int.from_bytes(hashlib.sha256(group.encode("utf-8", "surrogateescape")).digest()[:7])
