"""What a world model's predictor is told between two frames: the actions, and with them a latent variable."""

from collections.abc import Callable
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import nn

from openjepa.config import Choice
from openjepa.health.latent_monitor import LatentMonitor
from openjepa.health.world_monitor import WorldMonitor
from openjepa.jepa import Parts
from openjepa.latents import LatentAction, LatentChoice
from openjepa.latents.world import LatentWorldJEPA
from openjepa.nets.dynamics import Dynamics, Grid
from openjepa.nets.world import WorldPredictor
from openjepa.signals.frames import FrameSignal, Window
from openjepa.terms import TermsOf
from openjepa.world_model import Form, WorldJEPA


class ActionSpace(Choice):
    """The space of actions, which is taken from the episodes, and what a condition adds to a world model."""

    low: tuple[float, ...] = ()
    """Least of each number of one environment action."""
    high: tuple[float, ...] = ()
    count: int = Field(0, ge=0)
    """Discrete actions, in the place of bounds."""

    @property
    def told(self) -> bool:
        """Whether the predictor is told the actions."""
        return True

    @property
    def space(self) -> Any:
        """A `worlds.Box`, or the count of discrete actions."""
        if self.count:
            return self.count
        from openjepa.worlds.actions import Box

        return Box(*(torch.tensor(side, dtype=torch.float32).numpy() for side in (self.low, self.high)))

    def dynamics(
        self,
        predictor: WorldPredictor,
        width: int,
        signal: FrameSignal,
        grid: Grid | None,
        ending: Callable[[], nn.Module],
    ) -> Dynamics:
        """The predictor, built (see `nets.world`) for the signal's actions and what else it is told."""
        return predictor.build(width, signal.action_width, grid, ending())

    def assemble(self, config: Any, parts: Parts, form: Form, terms: TermsOf) -> WorldJEPA:
        """The model of all its parts."""
        return WorldJEPA(config, parts, form, terms)

    def monitor(self, held_out: Window) -> WorldMonitor:
        """What measures its health."""
        return WorldMonitor(held_out)


class Actions(ActionSpace):
    """The predictor is told the actions between frames."""

    kind: Literal["actions"] = "actions"


class Latents(ActionSpace):
    """The predictor is told a latent variable z, inferred from the very frames that it predicts, and the actions."""

    kind: Literal["latent"] = "latent"
    video: bool = False
    """Whether the predictor is not told the actions: z must stand for them."""
    latent: LatentChoice = LatentAction()

    @property
    def told(self) -> bool:
        return not self.video

    def dynamics(
        self,
        predictor: WorldPredictor,
        width: int,
        signal: FrameSignal,
        grid: Grid | None,
        ending: Callable[[], nn.Module],
    ) -> Dynamics:
        told = signal.action_width if self.told else 0
        return self.latent.predictor(lambda extra: predictor.build(width, told + extra, grid, ending()))

    def assemble(self, config: Any, parts: Parts, form: Form, terms: TermsOf) -> LatentWorldJEPA:
        return LatentWorldJEPA(config, parts, form, terms, self.latent.build(form.shape))

    def monitor(self, held_out: Window) -> LatentMonitor:
        return LatentMonitor(held_out)


Condition = Annotated[Actions | Latents, Field(discriminator="kind")]
