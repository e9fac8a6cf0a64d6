"""The space that a planner searches: a box, or sequences over a finite set."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from openjepa.errors import UserError


@dataclass(frozen=True, eq=False)
class Bounds:
    """A box of continuous actions.

    Attributes:
        low, high: `[A']`, float32; infinite where there is no bound. `A' = block * A`, time first.
        block: environment steps in one action of the plan.
        action_repeat: whether a block is to be one action, repeated.
    """

    low: Tensor
    high: Tensor
    block: int = 1
    action_repeat: bool = False

    @property
    def width(self) -> int:
        """`A'`."""
        return len(self.low)

    @cached_property
    def bounded(self) -> Tensor:
        """`[A']` bool: bounded from both sides."""
        return self.low.isfinite() & self.high.isfinite()

    @cached_property
    def neutral(self) -> Tensor:
        """`[A']`: the middle; where a bound is missing, the feasible value nearest to 0."""
        middle = torch.where(self.bounded, (self.low + self.high) / 2, torch.zeros_like(self.low))
        return self.clamp(middle)

    @cached_property
    def scale(self) -> Tensor:
        """`[A']`: half the range; 1 where there is none."""
        return torch.where(self.bounded, (self.high - self.low) / 2, torch.ones_like(self.low))

    def clamp(self, actions: Tensor) -> Tensor:
        """The nearest actions inside, `[..., A']`."""
        return actions.clamp(self.low, self.high)

    def unfold(self, actions: Tensor) -> Tensor:
        """Environment actions: `[..., H, A'] -> [..., H * block, A]`."""
        return actions.unflatten(-1, (self.block, -1)).flatten(-3, -2)

    @cached_property
    def single(self) -> "Bounds":
        """The space of one environment action."""
        return Bounds(*(side.unflatten(0, (self.block, -1))[0] for side in (self.low, self.high)))

    def pooled(self, actions: Tensor) -> Tensor:
        """The mean over each block, `[..., A'] -> [..., A]`."""
        return actions.unflatten(-1, (self.block, -1)).mean(-2)

    def repeated(self, actions: Tensor) -> Tensor:
        """One environment action through each block, `[..., A] -> [..., A']`."""
        return actions.repeat(*[1] * (actions.dim() - 1), self.block)

    def with_noise(self, actions: Tensor, far: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """Actions `[B, K, A']` with Gaussian noise of standard deviation `far` `[B]`, in `scale`; the same one through
        a block, so that it leads somewhere. Problem b draws from generator b."""
        size = actions.shape[1], self.width // self.block
        drawn = torch.stack([torch.randn(size, generator=g, device=g.device) for g in generators]).to(far)
        return self.clamp(actions + far[:, None, None] * self.scale * self.repeated(drawn))


@dataclass(frozen=True)
class Discrete:
    """One of `count` actions at each environment step, as one-hot vectors: `A' = block * count`, time first."""

    count: int
    block: int = 1
    device: torch.device | None = None

    @property
    def width(self) -> int:
        """`A'`."""
        return self.block * self.count

    @property
    def neutral(self) -> Tensor:
        """`[A']`: no preference, `1 / count` each."""
        return torch.full((self.width,), 1 / self.count, device=self.device)

    def one_hot(self, scores: Tensor) -> Tensor:
        """The action of highest score at each environment step: `[..., A'] -> [..., A']`."""
        scores = scores.unflatten(-1, (self.block, self.count))
        return torch.zeros_like(scores).scatter_(-1, scores.argmax(-1, keepdim=True), 1).flatten(-2)

    def with_noise(self, actions: Tensor, far: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """Actions `[B, K, A']`, each step's with probability `far` `[B]` replaced by any one through a block. Problem b
        draws from generator b."""
        size = actions.shape[1], 1 + self.count
        drawn = torch.stack([torch.rand(size, generator=g, device=g.device) for g in generators]).to(far)
        other = self.one_hot(drawn[..., 1:].repeat(1, 1, self.block))
        return torch.where(drawn[..., :1] < far[:, None, None], other, actions)

    def unfold(self, actions: Tensor) -> Tensor:
        """Environment actions as indices: `[..., H, A'] -> [..., H * block]`, int64."""
        return actions.unflatten(-1, (self.block, self.count)).argmax(-1).flatten(-2)


Space = Bounds | Discrete


def as_space(
    space: Any, block: int = 1, device: torch.device | None = None, action_repeat: bool = False
) -> Space:
    """The space of a plan whose steps are `block` environment actions each.

    Args:
        space: bounds of one environment action (anything with `low` and `high`, `[A]`), a count of discrete actions
            (or anything with `n`), or a `Space`, returned as it is.
        action_repeat: whether a block is to be one action, repeated, where actions are continuous.

    Raises:
        UserError: none of these, or an empty box.
    """
    if isinstance(space, Bounds | Discrete):
        return space
    count = space if isinstance(space, int) else getattr(space, "n", None)
    if count is not None:
        if int(count) < 1:
            raise UserError(f"a space of {count} discrete actions leaves nothing to choose: give at least 1")
        return Discrete(int(count), block, device)
    if not (hasattr(space, "low") and hasattr(space, "high")):
        raise UserError(
            f"cannot plan in {space!r}: give bounds with low and high, or a count of discrete actions"
        )
    low, high = (
        torch.as_tensor(side, dtype=torch.float32, device=device).flatten().repeat(block)
        for side in (space.low, space.high)
    )
    if low.shape != high.shape or not bool((low <= high).all()):
        raise UserError(
            f"action bounds must have low <= high in every dimension, not {low.tolist()} and {high.tolist()}"
        )
    return Bounds(low, high, block, action_repeat)
