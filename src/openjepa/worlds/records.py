"""Episodes as readers hand them over: numbers in memory, and where the frames are."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from openjepa.errors import UserError
from openjepa.signals.images import Skipped
from openjepa.worlds.actions import Box
from openjepa.worlds.cameras import ONLY, Cameras
from openjepa.worlds.outliers import outlying
from openjepa.worlds.pictures import Pixels

EPISODES, STEPS = 10_000_000, 10_000_000
"""The most episodes of a set, and frames of an episode."""
WIDTH, CHOICES = 65_536, 4_096
"""The most numbers in an action or a state, and discrete actions."""
NAMED = 1_000
"""Missing episodes that are named one by one."""

Progress = Callable[[str, int, int], object]
"""`progress(what, done, total)`, e.g. `openjepa.common.progress.Waiting`."""


class EpisodeSource(Protocol):
    """The source of episodes' frames. Picklable; it holds no open file, so that it works in forked and spawned
    workers."""

    def frames(self, number: int, first: int, stop: int) -> Pixels:
        """Frames `first` to `stop - 1` of episode `number`, uint8 `[stop - first, C, H, W]`; raises one of `BROKEN`."""
        ...

    def info(self, number: int) -> Mapping[str, Any]:
        """Other facts about episode `number`; raises one of `BROKEN`."""
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
class EpisodeRecord:
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
class EpisodeRecording:
    """The episodes that a reader has found.

    Attributes:
        name: where, for messages and reports.
        records: the episodes that can be read.
        source: their frames, and what else is known of them.
        actions: bounds of one action, or how many discrete ones there are; `None` where the data does not say.
        variables: names of the P variables of the state.
        about: how it was recorded, plain data.
        cameras: whose pictures a frame holds.
        skipped: episodes left out, and why.
    """

    name: str
    records: Sequence[EpisodeRecord]
    source: EpisodeSource
    actions: Box | int | None = None
    variables: tuple[str, ...] = ()
    about: Mapping[str, Any] = field(default_factory=dict)
    cameras: Cameras = ONLY
    skipped: Sequence[Skipped] = ()


def settle(
    name: str,
    found: Sequence[Raw],
    source: EpisodeSource,
    skipped: Sequence[Skipped],
    actions: Box | int | None = None,
    first: int = 0,
    **rest: Any,
) -> EpisodeRecording:
    """A recording of episodes that fit one another; the others are skipped and named.

    Actions that are single integers are discrete, counted from `first`, and become one-hot; without a known count
    there are as many as the largest says. An episode with an action or state that is infinite, or far beyond all
    others (see `outlying`), is skipped. With as many actions as frames the last action, whose result was not
    recorded, is dropped; or the first, if that is NaN and the last is not: then each row holds the action that led
    to it.

    Raises:
        UserError: nothing is left.
    """
    if actions is None and found and all(_discrete(raw.actions) for raw in found):
        actions = 1 + max((int(raw.actions.max()) - first for raw in found if raw.actions.size), default=0)
    if isinstance(actions, int) and not 1 <= actions <= CHOICES:
        raise UserError(f"{name} has actions of {actions:,} kinds: 1 to {CHOICES:,} are read")
    records: list[EpisodeRecord] = []
    left_out = list(skipped)
    for number, raw in enumerate(found):
        try:
            record = _record(raw, number, actions, first)
            _like(record, records[0] if records else record)
            records.append(record)
        except (ValueError, TypeError) as error:
            left_out.append(Skipped(raw.name, first_line(error)))
    unequal = outlying([r.state for r in records], "state")
    unequal |= {} if isinstance(actions, int) else outlying([r.actions for r in records], "action")
    left_out += [Skipped(records[i].name, reason) for i, reason in sorted(unequal.items())]
    records = [record for i, record in enumerate(records) if i not in unequal]
    if not records:
        raise nothing(name, left_out)
    if isinstance(actions, Box) and actions.size != records[0].actions.shape[1]:
        raise UserError(
            f"{name}: its metadata gives bounds of {actions.size} numbers, its actions have "
            f"{records[0].actions.shape[1]}: correct the metadata"
        )
    return EpisodeRecording(name, records, source, actions, skipped=left_out, **rest)


def absent(seen: Iterable[int], expected: int) -> list[Skipped]:
    """Numbered episodes that should be there and are not."""
    missing = np.setdiff1d(np.arange(expected), np.fromiter(seen, np.int64))
    said = [Skipped(f"episode {number}", "it is in none of the readable files") for number in missing[:NAMED]]
    if len(missing) > NAMED:
        rest = f"{len(missing) - NAMED:,} more episodes to episode {missing[-1]}"
        said.append(Skipped(rest, "they are in none of the readable files"))
    return said


def _record(raw: Raw, number: int, actions: Box | int | None, first: int) -> EpisodeRecord:
    """Raises ValueError where its parts do not fit one another."""
    if isinstance(actions, int):
        rows = _one_hot(_plain(raw.actions, "action") - first, actions)
    else:
        rows = _rows(raw.actions, "action")
    rows = _aligned(rows, raw.frames)
    state = np.zeros((raw.frames, 0), np.float32) if raw.state is None else _rows(raw.state, "state")
    if len(state) != raw.frames:
        raise ValueError(f"it has {len(state)} states for {raw.frames} frames")
    return EpisodeRecord(raw.name, number, rows, state)


def _like(record: EpisodeRecord, first: EpisodeRecord) -> None:
    """Raises ValueError where it is of another form than the first."""
    for what in ("actions", "state"):
        width, wanted = getattr(record, what).shape[1], getattr(first, what).shape[1]
        if width != wanted:
            raise ValueError(f"its {what.removesuffix('s')} has {width} numbers, others' {wanted}")


def nothing(name: str, skipped: Sequence[Skipped]) -> UserError:
    """The error for a set of which nothing can be read."""
    if not skipped:
        return UserError(f"{name} holds no episodes: record some, or name another place")
    example = f"{skipped[0].name}: {skipped[0].reason}"
    return UserError(
        f"{name}: none of its {len(skipped)} episodes can be read ({example}); is the copy complete?"
    )


def first_line(error: BaseException) -> str:
    """The message of a library's error, without its details."""
    return (str(error) or repr(error)).splitlines()[0].strip("'\"")


def _discrete(actions: NDArray) -> bool:
    return actions.dtype.kind in "iu" and actions.size == len(actions)


def _plain(values: NDArray, what: str) -> NDArray:
    """Raises ValueError where these are no numbers, or too many."""
    if values.dtype.kind not in "biuf" or values.ndim == 0:
        raise ValueError(f"its {what}s are {values.dtype} of shape {list(values.shape)}, not numbers a step")
    width = int(np.prod(values.shape[1:], dtype=np.float64))
    if not 1 <= width <= WIDTH and len(values):
        raise ValueError(f"its {what} has {width:,} numbers: 1 to {WIDTH:,} are read")
    return values


def _rows(values: NDArray, what: str) -> NDArray[np.float32]:
    """`[N, ...]` as `[N, A]`; numbers beyond float32 become infinite."""
    values = _plain(values, what)
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(values.reshape(len(values), int(np.prod(values.shape[1:]))), np.float32)


def _one_hot(actions: NDArray, count: int) -> NDArray[np.float32]:
    chosen = actions.reshape(len(actions)).astype(np.int64)
    if len(chosen) and not 0 <= chosen.min() <= chosen.max() < count:
        raise ValueError(f"it has actions {chosen.min()} to {chosen.max()} where there are {count}")
    rows = np.zeros((len(chosen), count), np.float32)
    rows[np.arange(len(chosen)), chosen] = 1
    return rows


def _aligned(actions: NDArray[np.float32], frames: int) -> NDArray[np.float32]:
    """The actions between the frames, `[frames - 1, A]`."""
    if len(actions) == frames > 0:
        led_here = np.isnan(actions[0]).any() and not np.isnan(actions[-1]).any()
        return actions[1:] if led_here else actions[:-1]
    if len(actions) != frames - 1:
        raise ValueError(f"it has {len(actions)} actions for {frames} frames")
    return actions
