"""What a row of output says of its sample: which it is, its label, its group."""

from collections.abc import Callable, Mapping
from typing import Any

from openjepa.signals.base import Labels

Says = Callable[[int], Any]
"""What a column says of a sample, by its number."""


def columns_of(samples: Any) -> dict[str, Says]:
    """Columns by name.

    `index`; `sample`: the key; `second`: where in its recording a window begins; columns
    of the set's own, such as `episode` and `step`; `label`: a class by name, a number, or
    a column a variable; `group` by name. Columns of which the set knows nothing are left out; a sample without a label
    has `None` or NaN.
    """
    found: dict[str, Says] = {"index": lambda i: i}
    found["sample"] = samples.key if hasattr(samples, "key") else str
    if hasattr(samples, "second"):
        found["second"] = samples.second
    found |= getattr(samples, "columns", {})
    labels = getattr(samples, "labels", None)
    if labels is not None:
        found |= label_columns(labels)
    groups = getattr(samples, "groups", None) if labels is None else labels.groups
    if groups is not None:
        names: Mapping[int, str] = (
            getattr(samples, "group_names", None) if labels is None else labels.group_names
        ) or {}
        found["group"] = lambda i: _group(int(groups[i]), names)
    return found


def label_columns(labels: Labels) -> dict[str, Says]:
    """A column of classes or numbers, or a column a variable."""
    values, names = labels.values, labels.names
    if values.dtype.kind != "f":
        return {"label": lambda i: _class(int(values[i]), names)}
    flat = values.reshape(len(values), -1)
    if flat.shape[1] == 1:
        return {"label": lambda i: float(flat[i, 0])}
    called = names or tuple(map(str, range(flat.shape[1])))
    return {f"label {name}": lambda i, v=v: float(flat[i, v]) for v, name in enumerate(called)}


def _class(number: int, names: tuple[str, ...] | None) -> str | int | None:
    return None if number < 0 else number if names is None else names[number]


def _group(number: int, names: Mapping[int, str]) -> str | int | None:
    return names.get(number, None if number < 0 else number)
