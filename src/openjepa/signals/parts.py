"""Parts of a set of samples: some of its rows, those that are labelled."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from openjepa.errors import warn
from openjepa.signals.base import Labels


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

    def read(self, indices: Any, rng: Any = None) -> Any:
        """A batch; `indices` count within the part."""
        chosen = self._rows[np.asarray(indices)]
        return self._whole.read(chosen) if rng is None else self._whole.read(chosen, rng)

    def cuts(self, indices: Any) -> Any:
        """Several cuts of each sample, where the set offers them."""
        return self._whole.cuts(self._rows[np.asarray(indices)])


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
