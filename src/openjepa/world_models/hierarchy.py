"""A second level: a world model of a world model's states, in longer steps, conditioned on macro-actions.

    s2_k = lift(s1_{k * span})                      z_k = macro(the actions of span steps)
    ŝ2_{k+1} = predictor(ŝ2_k, z_k)                 on its own predictions
    loss = level 1's + weight * (energy(ŝ2, s2) + guard(s2) + similarity(s2) + price of z)

LeCun 2022, section 4.6: level 2 takes level 1's states for its own percepts. Zhang et al. (HWM, arXiv:2604.03208) plan
in one latent space at both scales, which is `lift` "same"; with "mlp" level 2 has other states, more abstract.
"""

from dataclasses import replace
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from openjepa.common.distributed import global_mean
from openjepa.common.rng import Rng
from openjepa.config import Config
from openjepa.energies import L2, Energy
from openjepa.errors import UserError
from openjepa.guards import Guard, VICReg
from openjepa.jepa import Output, Pair, Parts
from openjepa.latents.macro import MacroAction, MacroActions
from openjepa.nets.dynamics.base import Dynamics
from openjepa.nets.dynamics.lift import Lift, Lifting
from openjepa.nets.dynamics.mlp import MLP
from openjepa.nets.dynamics.union import WorldPredictor
from openjepa.signals.frames import Window
from openjepa.world_models.model import StateLayout, WorldJEPA
from openjepa.world_models.terms import TermsOf

PACE = 0.99
"""Decay per batch of the running mean of what a macro-action changes."""
RIDGE = 0.05
"""Added to the eigenvalues of the moves, in their mean, so that what hardly moves does not outweigh the rest."""
LEAST = 1e-12


class Level2(Config):
    """The choices of level 2."""

    span: int = Field(10, ge=2, le=1000)
    """Level 1's steps in one of level 2."""
    steps: int = Field(6, ge=1, le=1_000_000)
    """Steps of level 2 in a window, which it is trained to predict from the first state."""
    lift: Lifting = Lift()
    macro: MacroAction = MacroAction()
    predictor: WorldPredictor = MLP(hidden=(256, 256), residual=True)
    energy: Energy = L2()
    guard: Guard = VICReg(std=16.0, covariance=8.0)
    guard_over: Literal["states", "motion"] = "motion"
    """The guard's samples: states, or how they differ from their window's mean, so that what never changes
    in an episode, such as its layout, is no way to vary."""
    similarity: float = Field(1.0, ge=0)
    """Weight of the mean squared difference of consecutive states."""
    weight: float = Field(1.0, gt=0)
    """Weight of level 2 in the loss."""
    joint: bool = False
    """Whether level 2 shapes level 1's states too; else it learns on top of them as they are (HWM)."""

    @property
    def of_batch(self) -> bool:
        """A running average of how far macro-actions lead is taken batch by batch."""
        return True

    @property
    def frames(self) -> int:
        """Frames of level 1, from a window's first state of level 2 to its last."""
        return self.span * self.steps + 1

    def build(self, layout: StateLayout, width: int, condition_dim: int) -> "HigherLevel":
        """Level 2, on top of states of a layout and width, and actions of `condition_dim` numbers.

        Raises:
            UserError: a predictor that does not take these states.
        """
        macro = self.macro.build(self.span * condition_dim)
        shape, grid = layout.shape, None if layout.kind == "vector" else layout.grid
        if isinstance(self.lift, Lift):
            shape, grid, width = (self.lift.width,), None, self.lift.width
        predictor = self.predictor.build(width, self.macro.width, grid)
        if predictor.shape != shape:
            raise UserError(
                f"level2.predictor {self.predictor.kind!r} takes states of shape {list(predictor.shape)}, level 2's "
                f"are {list(shape)}: take another, or level2.lift mlp"
            )
        return HigherLevel(self, self.lift.build(layout.shape), macro, predictor)


class HigherLevel(nn.Module):
    """Level 2. To planning it is a `WorldModel` whose frames are states of level 1 and whose actions are macro-actions.

    Lifted states are given to planning in units of what macro-actions lead: `s V / sqrt(e)`, with e and V the
    eigenvalues and vectors of the moves' second moments. Where guard and similarity have made s the slow features of
    the episodes (eigenfunctions of their Laplacian, each of unit variance, e their eigenvalues), distance is then that
    of commuting between two places, which follows the way; were all features equal, quick ones would drown it.

    Attributes:
        span: level 1's steps in one of level 2.
        moves: running mean of what a macro-action changes: second moments `[D, D]` of lifted states, else the mean
            square over the state's numbers.
        block, history, horizon: as a `WorldModel`'s.
    """

    block, history = 1, 1
    moves: Tensor

    def __init__(self, config: Level2, lift: nn.Module, macro: MacroActions, predictor: Dynamics) -> None:
        super().__init__()
        self.config, self.span, self.horizon = config, config.span, config.steps
        self.lift, self.macro, self.predictor = lift, macro, predictor
        self.lifted = isinstance(config.lift, Lift)
        self.register_buffer(
            "moves", torch.zeros((*predictor.shape, *predictor.shape) if self.lifted else ())
        )

    def forward(self, states: Tensor, actions: Tensor, rng: Rng) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss, unweighted, and its terms by name, detached.

        Args:
            states: of level 1, `[B, K + 1, *L]`, a span apart.
            actions: z-scores between them, `[B, K, span * A']`.
        """
        config, s = self.config, self.lift(states)
        inferred = self.macro(actions, rng)
        energy = config.energy.mean(self.predictor.unroll(s[:, :1], inferred.z), s[:, 1:])
        moves = s[:, 1:] - s[:, :-1]
        similarity = moves.square().mean()
        samples = s - s.mean(1, keepdim=True) if config.guard_over == "motion" else s
        penalty, logged = config.guard([samples.flatten(0, 1).flatten(1)], rng)
        if self.training:
            self._pace(moves.detach().flatten(0, 1))
        loss = config.guard.combine(energy, penalty) + config.similarity * similarity + inferred.loss
        terms = {"energy": energy.detach(), "similarity": similarity.detach(), **logged, **inferred.terms}
        return loss, {f"level2/{name}": value for name, value in terms.items()}

    @property
    def actions(self) -> Any:
        """A `worlds.Box` of macro-actions like those of training; of a codebook, the count of codes."""
        return self.macro.space

    @property
    def stride(self) -> Tensor:
        """The length of a macro-action: the mean square over a state's numbers, as planning is given them."""
        return torch.ones_like(self.moves[0, 0]) if self.lifted else self.moves

    def encode(self, frames: Tensor, actions: Tensor | None = None) -> Tensor:
        """States `[..., *L2]` of level 1's, `[..., *L]`."""
        s = self.lift(frames)
        return s @ self._units()[0] if self.lifted else s

    def rollout(
        self, state: Tensor, actions: Tensor, z: Tensor | None = None, past: Tensor | None = None
    ) -> Tensor:
        """`[B, S, H, *L2]` after macro-actions `[B, S, H, Z]`, from the newest of `[B, T, *L2]`.

        Raises:
            UserError: `z` is given: level 2 has one future.
        """
        if z is not None:
            raise UserError(
                "level 2 has one future: its macro-actions are chosen, and it takes no latent variable"
            )
        here, condition = state[:, -1:], self.macro.decode(actions)
        if not self.lifted:
            return self.predictor.unroll(here, condition)
        unit, back = self._units()
        return self.predictor.unroll(here @ back, condition) @ unit

    def apart(self, one: Tensor, other: Tensor) -> Tensor:
        """The squared distance of states `[B, *L2]` in lengths of a typical macro-action, `[B]`."""
        return (one - other).square().flatten(1).mean(1) / self.stride.clamp(min=LEAST)

    def _units(self) -> tuple[Tensor, Tensor]:
        """Matrices from states as they are learned to those in units of moves, and back: `[D, D]` each."""
        values, vectors = torch.linalg.eigh(self.moves.float())
        scale = (values + RIDGE * values.mean()).clamp(min=LEAST).sqrt()
        return vectors / scale, (vectors * scale).T

    @torch.no_grad()
    def _pace(self, moves: Tensor) -> None:
        now = global_mean(moves.T @ moves / len(moves) if self.lifted else moves.square().mean())
        self.moves.copy_(torch.where((self.moves != 0).any(), self.moves.lerp(now, 1 - PACE), now))


class HierarchicalJEPA(WorldJEPA):
    """Two levels. Everything that a `WorldJEPA` does is level 1's; level 2 is `level2`.

    A batch is a `Window` that is long enough for both: level 1 learns from its first frames.
    """

    def __init__(
        self, config: Any, parts: Parts, layout: StateLayout, terms: TermsOf, level2: HigherLevel
    ) -> None:
        super().__init__(config, parts, layout, terms)
        self.level2 = level2

    def forward(self, batch: Any, rng: Rng) -> Output:
        """One training pass as `WorldJEPA.forward`, with level 2's loss and terms (`level2/...`).

        Raises:
            UserError: as there, or a window too short for level 2.
        """
        output = super().forward(self.near(batch), rng)
        loss, terms = self.level2(*self.far(batch), rng)
        weight = self.level2.config.weight
        return replace(output, loss=output.loss + weight * loss, terms=output.terms | terms)

    def pairs(self, batch: Any, rng: Rng) -> list[Pair]:
        """The pairs of level 1."""
        return super().pairs(self.near(batch), rng)

    def near(self, window: Window) -> Window:
        """The part of a window that level 1 learns from."""
        count = self.future.frames + self.signal.stack - 1
        return Window(window.frames[:, :count], window.actions[:, : count - 1], window.state[:, :count])

    def far(self, window: Window) -> tuple[Tensor, Tensor]:
        """The data that level 2 learns from: level 1's states `[B, K + 1, *L]`, and the actions between them as
        z-scores, `[B, K, span * A']`.

        Raises:
            UserError: the window is too short.
        """
        config, before = self.level2.config, self.signal.stack - 1
        if window.frames.shape[1] < config.frames + before:
            raise UserError(
                f"level 2 looks {config.steps} x {config.span} steps ahead, {config.frames + before} frames, and these "
                f"windows have {window.frames.shape[1]}: give longer ones, or lower level2.span or level2.steps"
            )
        stop = before + config.frames
        frames = self.signal.stacked(window.frames[:, :stop])[:, before :: config.span]
        with torch.set_grad_enabled(config.joint and torch.is_grad_enabled()):
            tokens = self.represent([self.hiding.view(frames.flatten(0, 1))])[0]
            states = self.state_layout.state(tokens.unflatten(0, frames.shape[:2]))
        actions = self.signal.normalise_actions(window.actions[:, before : stop - 1])
        return states, actions.unflatten(1, (-1, config.span)).flatten(2)
