"""A soft key-value memory, read and written by similarity; exploration asks it what is new.

LeCun 2022, section 4.9, where such a memory holds the state of the world.
"""

import torch
from torch import Tensor


class KeyValueMemory:
    """N slots of keys and values for each of B problems, read and written by similarity.

    `match(k, q) = -|k - q|^2 / (2 width^2)` and `c_j = exp(match_j) / (gamma + sum_j' exp(match_j'))`. Read:
    `sum_j c_j v_j`; as gamma takes part in the sum, the answer to a query far from all keys is nothing. Write r: the
    values near the key move, `v_j <- c_j r + (1 - c_j) v_j`; where no key is near, a slot is taken, the oldest if
    none is free.

    Args:
        problems: B.
        slots: N.
        gamma: weight of "nothing".
        width: distance over which keys are similar; `None`: twice the root mean square of a step between keys.
        near: a slot is taken when exp(match) stays below it for all keys.
    """

    def __init__(
        self,
        problems: int,
        *,
        slots: int = 512,
        gamma: float = 1.0,
        width: float | None = None,
        near: float = 0.5,
    ) -> None:
        self.slots, self.gamma, self.width, self.near = slots, gamma, width, near
        self.taken = torch.zeros(problems, dtype=torch.long)
        """`[B]`, slots ever taken."""
        self.keys, self.values = torch.zeros(problems, 0, 0), torch.zeros(problems, 0, 0)
        """Keys `[B, slots, K]`, flattened states, and values `[B, slots, V]`."""
        self._latest = torch.zeros(problems, 0)
        self._squares, self._moves = torch.zeros(problems), torch.zeros(problems)

    def similarity(self, queries: Tensor, rows: Tensor | None = None) -> Tensor:
        """`exp(match)` of queries `[B, M, *L]` with all slots: `[B, M, slots]`, 0 for a free one.

        Args:
            rows: the problems that ask; `None`: all.
        """
        if not self.keys.numel():
            return queries.new_zeros(*queries.shape[:2], 0)
        every = rows is None or len(rows) == len(self.taken)
        keys, taken, square = (
            x if every else x[rows] for x in (self.keys, self.taken, self._width_squared())
        )
        gaps = torch.cdist(queries.flatten(2), keys).square()
        used = torch.arange(self.slots, device=gaps.device) < taken[:, None]
        return torch.exp(-gaps / (2 * square[:, None, None])) * used[:, None]

    def read(self, queries: Tensor) -> Tensor:
        """Answers `[B, M, V]` to `[B, M, *L]`."""
        similar = self.similarity(queries)
        share = similar / (self.gamma + similar.sum(2, keepdim=True))
        return share @ self.values[:, : similar.shape[2]]

    def familiarity(self, queries: Tensor) -> Tensor:
        """The share of the answer that is not "nothing", `sum_j c_j` in 0..1: `[B, M]` for `[B, M, *L]`."""
        total = self.similarity(queries).sum(2)
        return total / (self.gamma + total)

    def write(self, keys: Tensor, values: Tensor, rows: Tensor | None = None) -> None:
        """Keys `[R, *L]` and values `[R, V]` of the problems `rows` (`None`: all)."""
        keys, values = keys.detach().flatten(1).float(), values.detach().float()
        rows = torch.arange(len(self.taken)) if rows is None else rows
        self._open(keys, values)
        rows = rows.to(keys.device)
        self._move(keys, rows)
        similar = self.similarity(keys[:, None], rows)[:, 0]
        share = (similar / (self.gamma + similar.sum(1, keepdim=True)))[..., None]
        apart = similar.amax(1) < self.near
        blended = share * values[:, None] + (1 - share) * self.values[rows]
        self.values[rows] = torch.where(apart[:, None, None], self.values[rows], blended)
        new = rows[apart]
        slot = self.taken[new] % self.slots
        self.keys[new, slot], self.values[new, slot] = keys[apart], values[apart]
        self.taken[new] += 1

    def take(self, rows: Tensor) -> "KeyValueMemory":
        """A copy for these problems alone."""
        part = KeyValueMemory(len(rows), slots=self.slots, gamma=self.gamma, width=self.width, near=self.near)
        for name in ("taken", "keys", "values", "_latest", "_squares", "_moves"):
            mine = getattr(self, name)
            setattr(part, name, mine[rows.to(mine.device)])
        return part

    def _open(self, keys: Tensor, values: Tensor) -> None:
        if self.keys.numel():
            return
        problems = len(self.taken)
        self.keys = keys.new_zeros(problems, self.slots, keys.shape[1])
        self.values = keys.new_zeros(problems, self.slots, values.shape[1])
        self._latest = keys.new_full((problems, keys.shape[1]), torch.nan)
        self.taken, self._squares, self._moves = (
            x.to(keys.device) for x in (self.taken, self._squares, self._moves)
        )

    def _move(self, keys: Tensor, rows: Tensor) -> None:
        """Follow the size of a step."""
        square = (keys - self._latest[rows]).square().sum(1)
        moved = square.isfinite()
        self._squares[rows] += torch.where(moved, square, 0.0)
        self._moves[rows] += moved
        self._latest[rows] = keys

    def _width_squared(self) -> Tensor:
        if self.width is not None:
            return torch.full_like(self._squares, self.width**2)
        return (4 * self._squares / self._moves.clamp(min=1)).clamp(min=1e-12)
