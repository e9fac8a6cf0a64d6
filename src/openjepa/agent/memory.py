"""Short-term memory: what happened lately, from which the critic and the policy learn.

LeCun 2022, sections 3.1 and 3.3. (For the store that is read by similarity see `openjepa.agent.keyvalue`.)
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from openjepa.errors import UserError


@dataclass(frozen=True, eq=False)
class Futures:
    """The futures of remembered states, for the critic and the policy.

    Attributes:
        states, goals: `[N, *L]`; goals are `None` where the task had none.
        actions: `[N, A']`, taken there; NaN where the episode ended, `None` where none was ever taken.
        costs: `[N, n]`, IC of the next n states; 0 where `known` is false.
        known: `[N, n]` bool.
        last, last_goals: `[N, *L]`, the last known state and its goal.
        over: `[N]` bool, whether that state ended its episode: nothing follows it.
    """

    states: Tensor
    goals: Tensor | None
    actions: Tensor | None
    costs: Tensor
    known: Tensor
    last: Tensor
    last_goals: Tensor | None
    over: Tensor


def need_goals(goals: Tensor | None, who: str) -> None:
    """Raises UserError when a row of remembered goals, which `who` sees, is missing."""
    if goals is None or not bool(goals.isfinite().all()):
        raise UserError(f"{who} sees the goal, but episodes in memory had none: train it with goal=False")


class ShortTermMemory:
    """A bounded ring of states, actions and intrinsic costs; the oldest give way.

    Entries of one episode are linked in time. A link's end is never older than its start, so it is there as long as
    the start is.

    Args:
        capacity: entries.

    Attributes:
        written: entries since it was cleared, also those that have given way.
    """

    def __init__(self, capacity: int = 10_000) -> None:
        if capacity < 1:
            raise UserError(f"a memory of capacity {capacity} holds nothing: give at least 1")
        self.capacity = capacity
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self.written = 0
        self._tail: dict[
            int, int
        ] = {}  # the newest entry of each running episode, by how many came before it
        self._rows: dict[str, Tensor] = {}
        self._next = torch.full((self.capacity,), -1)
        self._over = torch.zeros(self.capacity, dtype=torch.bool)

    def __len__(self) -> int:
        return min(self.written, self.capacity)

    @property
    def states(self) -> Tensor:
        """`[N, *L]`, in the order of the ring."""
        return self._column("states")

    @property
    def costs(self) -> Tensor:
        """`[N]`, IC of each state."""
        return self._column("costs")

    @property
    def actions(self) -> Tensor:
        """`[N, A']`, taken in each state; NaN where an episode ended."""
        return self._column("actions")

    @property
    def goals(self) -> Tensor | None:
        """`[N, *L]`, NaN where the task had none; `None` where none ever had one."""
        return self._column("goals") if "goals" in self._rows else None

    def write(
        self,
        episodes: list[int],
        states: Tensor,
        costs: Tensor,
        actions: Tensor | None = None,
        goals: Tensor | None = None,
    ) -> None:
        """The next moment of R episodes.

        Args:
            episodes: R numbers, each a running episode's own until `end`.
            states: `[R, *L]`.
            costs: `[R]`, IC of the states.
            actions: `[R, A']`, taken there; `None` where the episode ends.
            goals: `[R, *L]`, or `None` where the task has none.

        Raises:
            UserError: states or actions of another shape than those in memory, or more episodes than capacity.
        """
        if len(episodes) > self.capacity:
            raise UserError(
                f"a memory of capacity {self.capacity} cannot hold {len(episodes)} episodes: enlarge it"
            )
        order = torch.arange(self.written, self.written + len(episodes))
        places = order % self.capacity
        for name, values in (("states", states), ("costs", costs), ("actions", actions), ("goals", goals)):
            self._store(name, values, places)
        self._next[places], self._over[places] = -1, False
        for episode, number, place in zip(episodes, order.tolist(), places.tolist(), strict=True):
            before = self._tail.get(episode)
            if before is not None and number - before < self.capacity:
                self._next[before % self.capacity] = place
            self._tail[episode] = number
        self.written += len(episodes)

    def end(self, episodes: list[int], over: bool) -> None:
        """These episodes go on no further; `over`: nothing would follow their last state (not a time limit)."""
        for episode in episodes:
            number = self._tail.pop(episode, None)
            if number is not None and self.written - number <= self.capacity:
                self._over[number % self.capacity] = over

    def sample_pairs(self, count: int, delta: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """States s_t `[count, *L]` and the intrinsic costs IC(s_{t+delta}) `[count]` that came `delta` steps later.

        Raises:
            UserError: no episode in memory is so long.
        """
        later = torch.arange(len(self))
        for _ in range(delta):
            later = torch.where(later >= 0, self._next[later.clamp(min=0)], -1)
        possible = (later >= 0).nonzero()[:, 0]
        if not len(possible):
            raise UserError(
                f"no episode in memory goes on for {delta} steps after any state: act longer, or lower delta"
            )
        chosen = possible[torch.randint(len(possible), (count,), generator=generator)]
        return self._rows["states"][chosen], self._rows["costs"][later[chosen]]

    def futures(self, steps: int) -> Futures:
        """Up to `steps` next costs of every state that has any, or that ended its episode.

        Raises:
            UserError: there is none.
        """
        place = torch.arange(len(self))
        costs, known = torch.zeros(len(self), steps), torch.zeros(len(self), steps, dtype=torch.bool)
        for step in range(steps):
            following = self._next[place]
            known[:, step] = following >= 0
            place = torch.where(known[:, step], following, place)
            costs[:, step] = torch.where(known[:, step], self._column("costs").cpu()[place], 0.0)
        usable = (known[:, 0] | self._over[: len(self)]).nonzero()[:, 0]
        if not len(usable):
            raise UserError("the memory has no two successive states to learn from: let the agent act first")
        place, goals = place[usable], self.goals
        return Futures(
            states=self.states[usable],
            goals=None if goals is None else goals[usable],
            actions=self.actions[usable] if "actions" in self._rows else None,
            costs=costs[usable].to(self.costs.device),
            known=known[usable].to(self.costs.device),
            last=self.states[place],
            last_goals=None if goals is None else goals[place],
            over=self._over[place].to(self.costs.device),
        )

    def taken(self) -> tuple[Tensor, Tensor | None, Tensor]:
        """States `[N, *L]`, goals and actions `[N, A']` of every moment at which an action was taken.

        Raises:
            UserError: there is none.
        """
        rows = self.actions.isfinite().all(1).nonzero()[:, 0] if "actions" in self._rows else torch.empty(0)
        if not len(rows):
            raise UserError("the memory holds no actions to learn from: let the agent act in mode 2 first")
        goals = self.goals
        return self.states[rows], None if goals is None else goals[rows], self.actions[rows]

    def _column(self, name: str) -> Tensor:
        return self._rows[name][: len(self)]

    def _store(self, name: str, values: Tensor | None, places: Tensor) -> None:
        if values is None:
            if name in self._rows:
                self._rows[name] = rows = self._grown(self._rows[name], int(places.max()) + 1)
                rows[places] = torch.nan
            return
        column = self._rows.get(name, values.new_empty(0, *values.shape[1:], dtype=torch.float32))
        if column.shape[1:] != values.shape[1:]:
            raise UserError(
                f"{name} of shape {list(values.shape[1:])} do not fit a memory of {list(column.shape[1:])}: "
                f"clear() it when the world model changes"
            )
        self._rows[name] = rows = self._grown(column, int(places.max()) + 1)
        rows[places] = values.detach().to(rows)

    def _grown(self, column: Tensor, needed: int) -> Tensor:
        """The column with at least `needed` rows, new ones NaN; states may be large, so room is taken as it fills."""
        if len(column) >= needed:
            return column
        size = min(self.capacity, max(needed, 2 * len(column), 64))
        return torch.cat([column, column.new_full((size - len(column), *column.shape[1:]), torch.nan)])
