"""Conditions of a world model's predictor between two frames: the actions, and with them proprioception or a latent
variable."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import numpy as np
import torch
from pydantic import Field
from torch import nn

from openjepa.config import Choice, Positive
from openjepa.errors import UserError
from openjepa.jepa import Parts
from openjepa.latents import LatentAction, LatentChoice
from openjepa.nets.dynamics.base import Dynamics, Grid
from openjepa.nets.dynamics.block_causal import BlockCausal
from openjepa.nets.dynamics.motion import Motion, Moved
from openjepa.nets.dynamics.union import WorldPredictor
from openjepa.nets.frames import FrameEncoder
from openjepa.signals.frames import FrameSignal, Window, z_score
from openjepa.world_models.latent import LatentWorldJEPA
from openjepa.world_models.latent_monitor import LatentMonitor
from openjepa.world_models.model import StateLayout, WorldJEPA
from openjepa.world_models.monitor import WorldMonitor
from openjepa.world_models.proprioception import (
    ProprioceptionEncoder,
    ProprioceptionJEPA,
    ProprioceptionScores,
)
from openjepa.world_models.terms import TermsOf

if TYPE_CHECKING:
    from openjepa.worlds.episodes import Episodes


class ActionSpace(Choice):
    """The space of actions, which is taken from the episodes, and what a condition adds to a world model."""

    low: tuple[float, ...] = ()
    """Lower bound of each number of one environment action."""
    high: tuple[float, ...] = ()
    count: int = Field(0, ge=0, le=65_536)
    """Discrete actions, in the place of bounds."""

    @property
    def takes_actions(self) -> bool:
        """Whether the predictor is given the actions."""
        return True

    @property
    def space(self) -> Any:
        """A `worlds.Box`, or the count of discrete actions."""
        if self.count:
            return self.count
        from openjepa.worlds.actions import Box

        return Box(*(torch.tensor(side, dtype=torch.float32).numpy() for side in (self.low, self.high)))

    def fitted(self, episodes: "Episodes") -> Self:
        """This condition with what it takes from the episodes that are trained on, beside the space of actions."""
        return self

    def check(self, episodes: "Episodes") -> None:
        """Raises UserError where episodes lack what the predictor is given with every frame."""

    def encoder(self, frames: FrameEncoder, signal: FrameSignal) -> FrameEncoder:
        """The encoder of frames, and of what else belongs to a state."""
        return frames

    def dynamics(
        self,
        predictor: WorldPredictor,
        width: int,
        signal: FrameSignal,
        grid: Grid | None,
        head: Callable[[], nn.Module],
    ) -> Dynamics:
        """The predictor, built (see `nets.dynamics.union`) for the signal's actions and what else conditions it."""
        return predictor.build(width, signal.action_width, grid, head())

    def assemble(self, config: Any, parts: Parts, layout: StateLayout, terms: TermsOf) -> WorldJEPA:
        """The model of all its parts."""
        return WorldJEPA(config, parts, layout, terms)

    def monitor(self, held_out: Window) -> WorldMonitor:
        """The monitor that measures the model's health."""
        return WorldMonitor(held_out)


class Actions(ActionSpace):
    """The actions between frames."""

    kind: Literal["actions"] = "actions"


class LatentCondition(ActionSpace):
    """A latent variable z, inferred from the very frames that are predicted, and the actions."""

    kind: Literal["latent"] = "latent"
    video: bool = False
    """Whether the predictor is not given the actions: z must stand for them."""
    latent: LatentChoice = LatentAction()

    @property
    def takes_actions(self) -> bool:
        return not self.video

    def dynamics(
        self,
        predictor: WorldPredictor,
        width: int,
        signal: FrameSignal,
        grid: Grid | None,
        head: Callable[[], nn.Module],
    ) -> Dynamics:
        condition_dim = signal.action_width if self.takes_actions else 0
        return self.latent.predictor(
            lambda extra: predictor.build(width, condition_dim + extra, grid, head())
        )

    def assemble(self, config: Any, parts: Parts, layout: StateLayout, terms: TermsOf) -> LatentWorldJEPA:
        return LatentWorldJEPA(config, parts, layout, terms, self.latent.build(layout.shape))

    def monitor(self, held_out: Window) -> LatentMonitor:
        return LatentMonitor(held_out)


class Proprioception(ActionSpace):
    """Proprioception beside the actions: some of the variables recorded with each frame, such as the pose of a robot's
    hand."""

    kind: Literal["proprioception"] = "proprioception"
    variables: tuple[str, ...] = ()
    """Names of the recorded variables that are proprioception; none: all."""
    future: Literal["predicted", "moved"] = "predicted"
    """How proprioception goes on: predicted with the features (DINO-WM), or moved by the actions, each of whose numbers
    is added to one of its numbers (V-JEPA 2-AC, whose actions are differences of poses)."""
    angles: int | None = Field(None, ge=0, le=4096)
    """The number at which three extrinsic Euler angles xyz begin, rad, which are composed where `future` is `moved`."""
    columns: tuple[Annotated[int, Field(ge=0, le=65_536)], ...] = ()
    """Filled in from the episodes, as all that follows: the variables, by number."""
    mean: tuple[float, ...] = (0.0,)
    std: tuple[Positive, ...] = (1.0,)
    least: tuple[float, ...] = ()
    greatest: tuple[float, ...] = ()

    def check(self, episodes: "Episodes") -> None:
        """Raises UserError where a variable is not recorded, or is NaN in some frame."""
        columns = self._columns(episodes)
        missing = ~np.isfinite(episodes.states()[:, columns])
        if not missing.any():
            return
        frame, column = np.argwhere(missing)[0].tolist()
        ends = np.cumsum(episodes.lengths + 1)
        episode = int(np.searchsorted(ends, frame, side="right"))
        step = frame - int(ends[episode] - episodes.lengths[episode] - 1)
        where = f"{episodes.variables[columns[column]]} is NaN at step {step} of {episodes.called[episode]}"
        lacking = f"{int(missing.any(1).sum()):,} of {len(missing):,} frames lack a variable"
        raise UserError(
            f"{episodes.name}: {where} ({lacking}), and proprioception is given with every frame: fill it in, remove "
            "the episode, or leave the variable out of --condition.variables"
        )

    def _columns(self, episodes: "Episodes") -> list[int]:
        """The variables by number. Raises UserError where one, or any, is not recorded."""
        known = list(episodes.variables)
        for name in self.variables:
            if name not in known:
                raise UserError(
                    f"condition.variables: {episodes.name} records {', '.join(known) or 'no variables'}, not {name!r}"
                )
        if not known:
            raise UserError(
                f"{episodes.name} records no state of the robot: use --condition actions, or record its variables"
            )
        return [known.index(name) for name in self.variables or known]

    def fitted(self, episodes: "Episodes") -> Self:
        """Raises UserError where a variable, or any, is not recorded."""
        columns = self._columns(episodes)
        rows = episodes.states()[:, columns]
        mean, std = z_score(rows).values()
        ends = {"least": np.nanmin(rows, 0).tolist(), "greatest": np.nanmax(rows, 0).tolist()}
        return self.parse(self.model_dump() | {"columns": columns, "mean": mean, "std": std} | ends)

    def scores(self, signal: FrameSignal) -> ProprioceptionScores:
        """Proprioception among the signal's variables; UserError where nothing is recorded."""
        columns = self.columns or tuple(range(signal.state_dim))
        if not columns:
            raise UserError("condition proprioception needs recorded variables: signal.state_dim is 0")
        return ProprioceptionScores(columns, self.mean, self.std, signal.state_dim)

    def encoder(self, frames: FrameEncoder, signal: FrameSignal) -> FrameEncoder:
        return ProprioceptionEncoder(frames, self.scores(signal).size)

    def dynamics(
        self,
        predictor: WorldPredictor,
        width: int,
        signal: FrameSignal,
        grid: Grid | None,
        head: Callable[[], nn.Module],
    ) -> Dynamics:
        """Raises UserError where actions cannot move the state, or the predictor was made for another one."""
        size = self.scores(signal).size
        if self.future == "predicted":
            return super().dynamics(predictor, width, signal, grid, head)
        if signal.action_dim != size:
            raise UserError(
                f"condition.future moved adds actions of {signal.action_dim} numbers to a state of {size}: name the "
                "variables that they move with condition.variables, or use --condition.future predicted"
            )
        if signal.block_actions == "mean":
            raise UserError(
                "condition.future moved adds every action of a block to the state: set signal.block_actions to each"
            )
        if isinstance(predictor, BlockCausal) and predictor.state != size:
            raise UserError(f"the robot's state has {size} numbers: set predictor.state to that")
        inner = predictor.build(width - size, signal.action_width + size, grid, None)
        scales = [
            torch.stack([torch.tensor(side).expand(size) for side in pair])
            for pair in (
                (self.mean, signal.action_mean),
                (self.std, signal.action_std),
                (self.least or (-math.inf,), self.greatest or (math.inf,)),
            )
        ]
        return Moved(inner, Motion(signal.block, *scales, self.angles), signal.action_width, head())

    def assemble(self, config: Any, parts: Parts, layout: StateLayout, terms: TermsOf) -> ProprioceptionJEPA:
        """Raises UserError where features would be trained beside a state that is known: it would be their guide."""
        trained = config.head.kind != "none" or config.guard.kind != "none" or config.terms.weighty
        if trained or layout.kind == "map":
            raise UserError(
                "condition proprioception goes with tokens or vectors of a frozen encoder: use --encoder frozen, "
                "--head none, --guard none and no terms"
            )
        return ProprioceptionJEPA(
            config, parts, layout, terms, self.scores(config.signal), self.future == "moved"
        )


WorldCondition = Annotated[Actions | LatentCondition | Proprioception, Field(discriminator="kind")]
