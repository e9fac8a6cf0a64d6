"""What readers of episodes hand over: numbers in memory, and where the frames are."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from openjepa.errors import UserError
from openjepa.signals.images import Skipped
from openjepa.worlds.actions import Box
from openjepa.worlds.pictures import Pixels

Progress = Callable[[str, int, int], object]
"""`progress(what, done, total)`, e.g. `openjepa.waiting.Waiting`."""


class Source(Protocol):
    """Where episodes lie. Picklable; holds no open file, so that it works in forked and spawned workers."""

    def frames(self, number: int, first: int, stop: int) -> Pixels:
        """Frames `first` to `stop - 1` of episode `number`, uint8 `[stop - first, C, H, W]`; raises one of `BROKEN`."""
        ...

    def info(self, number: int) -> Mapping[str, Any]:
        """What else is known of episode `number`; raises one of `BROKEN`."""
        ...


@dataclass(frozen=True, eq=False)
class Raw:
    """One episode as it is stored.

    Attributes:
        name: what messages call it.
        frames: how many there are.
        actions: `[N]` or `[N, ...]`, as many as frames or one fewer.
        state: `[frames, ...]`, or `None`.
    """

    name: str
    frames: int
    actions: NDArray
    state: NDArray | None = None


@dataclass(frozen=True, eq=False)
class Record:
    """One episode without its frames.

    Attributes:
        name: what messages call it.
        number: its number in the source.
        actions: float32 `[T, A]`; rows with NaN are missing ones.
        state: float32 `[T+1, P]`.
    """

    name: str
    number: int
    actions: NDArray[np.float32]
    state: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Recording:
    """What a reader has found.

    Attributes:
        name: where, for messages and reports.
        records: the episodes that can be read.
        source: their frames, and what else is known of them.
        actions: bounds of one action, or how many discrete ones there are; `None` where the data does not say.
        variables: names of the P variables of the state.
        about: how it was recorded, plain data.
        skipped: episodes left out, and why.
    """

    name: str
    records: Sequence[Record]
    source: Source
    actions: Box | int | None = None
    variables: tuple[str, ...] = ()
    about: Mapping[str, Any] = field(default_factory=dict)
    skipped: Sequence[Skipped] = ()


def settle(
    name: str,
    found: Sequence[Raw],
    source: Source,
    skipped: Sequence[Skipped],
    actions: Box | int | None = None,
    first: int = 0,
    **rest: Any,
) -> Recording:
    """A recording of episodes that fit one another; the others are skipped and named.

    Actions that are single integers are discrete, counted from `first`, and become one-hot; without a known count
    there are as many as the largest says. With as many actions as frames the last action, whose result was not
    recorded, is dropped; or the first, if that is NaN and the last is not: then each row holds the action that led
    to it.

    Raises:
        UserError: nothing is left.
    """
    if actions is None and all(_discrete(raw.actions) for raw in found):
        actions = 1 + max((int(raw.actions.max()) - first for raw in found if raw.actions.size), default=0)
    records: list[Record] = []
    left_out = list(skipped)
    for number, raw in enumerate(found):
        try:
            rows = _one_hot(raw.actions - first, actions) if isinstance(actions, int) else _rows(raw.actions)
            rows = _aligned(rows, raw.frames)
            state = np.zeros((raw.frames, 0), np.float32) if raw.state is None else _rows(raw.state)
            if len(state) != raw.frames:
                raise ValueError(f"it has {len(state)} states for {raw.frames} frames")
            wanted = records[0] if records else None
            for what, one in (("action", rows), ("state", state)):
                width = one.shape[1] if wanted is None else getattr(wanted, _PLURAL[what]).shape[1]
                if one.shape[1] != width:
                    raise ValueError(f"its {what} has {one.shape[1]} numbers, others' {width}")
            records.append(Record(raw.name, number, rows, state))
        except ValueError as error:
            left_out.append(Skipped(raw.name, str(error)))
    if not records:
        raise nothing(name, left_out)
    return Recording(name, records, source, actions, skipped=left_out, **rest)


def nothing(name: str, skipped: Sequence[Skipped]) -> UserError:
    """The error for a set of which nothing can be read."""
    if not skipped:
        return UserError(f"{name} holds no episodes: record some, or name another place")
    example = f"{skipped[0].name}: {skipped[0].reason}"
    return UserError(
        f"{name}: none of its {len(skipped)} episodes can be read ({example}); is the copy complete?"
    )


def first_line(error: BaseException) -> str:
    """What a library said, without its details."""
    return (str(error) or repr(error)).splitlines()[0].strip("'\"")


_PLURAL = {"action": "actions", "state": "state"}


def _discrete(actions: NDArray) -> bool:
    return actions.dtype.kind in "iu" and actions.size == len(actions)


def _rows(values: NDArray) -> NDArray[np.float32]:
    """`[N, ...]` as `[N, A]`."""
    return np.ascontiguousarray(values.reshape(len(values), -1), np.float32)


def _one_hot(actions: NDArray, count: int) -> NDArray[np.float32]:
    chosen = actions.reshape(len(actions)).astype(np.int64)
    if len(chosen) and not 0 <= chosen.min() <= chosen.max() < count:
        raise ValueError(f"it has actions {chosen.min()} to {chosen.max()} where there are {count}")
    return np.eye(count, dtype=np.float32)[chosen]


def _aligned(actions: NDArray[np.float32], frames: int) -> NDArray[np.float32]:
    """The actions between the frames, `[frames - 1, A]`."""
    if len(actions) == frames > 0:
        led_here = np.isnan(actions[0]).any() and not np.isnan(actions[-1]).any()
        return actions[1:] if led_here else actions[:-1]
    if len(actions) != frames - 1:
        raise ValueError(f"it has {len(actions)} actions for {frames} frames")
    return actions
