"""Control over a channel that is dear and may lose what is sent: a state now and then, predicted in between.

    frame ──encoder──▶ state ──schedule: now?──▶ channel ──▶ receiver ──▶ policy ──▶ command
                                                                 ▲                       │
                                                                 └──world model──────────┘

TS-JEPA (Girgis et al., arXiv:2406.04853): the far side has the predictor and the policy. It knows the commands that it
gave, so it predicts the states between transmissions and goes on commanding. Commands reach the machine without loss,
and the near side learns whether a state has arrived; so, having the predictor as well, it knows what the receiver
believes, and can send when that has drifted. There the schedule follows from queues and fading; here it is the user's.
"""

from collections import deque
from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from openjepa.agent.protocols import WorldModel
from openjepa.config import Choice
from openjepa.errors import UserError


class Every(Choice):
    """Send at every `steps`-th step of the model; 1: always."""

    kind: Literal["every"] = "every"
    steps: int = Field(1, ge=1, le=1_000_000)

    def due(self, clock: int, drift: Tensor) -> Tensor:
        """Whether to send, `[N]` bool, at step `clock` of the episode; `drift` as `Link.drift` gives it, `[N]`."""
        return torch.full_like(drift, clock % self.steps == 0, dtype=torch.bool)


class Drift(Choice):
    """Send when what the receiver believes has drifted from what is seen."""

    kind: Literal["drift"] = "drift"
    threshold: float = Field(0.5, gt=0)
    """Drift above which a state is sent: root mean square over the state's numbers, in standard deviations that they
    have in the logged episodes."""

    def due(self, clock: int, drift: Tensor) -> Tensor:
        """Whether to send, as `Every.due`."""
        return drift > self.threshold


Schedule = Annotated[Every | Drift, Field(discriminator="kind")]

Between = Literal["predict", "last"]
"""The receiver's belief between transmissions: `predict`, the world model's prediction, or `last`, that nothing has
changed. With the latter a policy repeats its last command."""


class Receiver:
    """The far side's belief about the states of N machines.

    Args:
        states: `[N, *L]`, of the first step: a session begins with a transmission that arrives.
    """

    def __init__(self, model: WorldModel, states: Tensor, between: Between) -> None:
        self.model, self.between = model, between
        self._states: deque[Tensor] = deque([states], maxlen=model.history)
        self._commands: deque[Tensor] = deque(maxlen=max(0, model.history - 1))

    @property
    def state(self) -> Tensor:
        """`[N, *L]`, now."""
        return self._states[-1]

    @torch.no_grad()
    def predict(self, commands: Tensor) -> None:
        """A step of the model has passed with these commands, `[N, A']`."""
        if self.between == "last":
            return
        past = torch.stack(list(self._commands), 1) if self._commands else None
        states = torch.stack(list(self._states), 1)
        following = self.model.rollout(states, commands[:, None, None], past=past)[:, 0, 0]
        self._commands.append(commands)
        self._states.append(following)

    def receive(self, arrived: Tensor, states: Tensor) -> None:
        """Take over the states `[N, *L]` that were sent, where a transmission has arrived, `[N]` bool."""
        rows = arrived.view(-1, *[1] * (states.dim() - 1))
        self._states[-1] = torch.where(rows, states, self._states[-1])


class Link:
    """Transmitter, channel and receiver of N machines, step by step.

    Args:
        spread: `[*L]`, standard deviations of the state's numbers, in which drift is measured.
        generators: one a machine, of what the channel loses.
        loss: probability that a transmission is lost, below 1; 0..1.

    Attributes:
        sent, lost: `[N]` int64, transmissions so far; those lost were sent as well.

    Raises:
        UserError: a probability outside 0..1.
    """

    def __init__(
        self,
        model: WorldModel,
        schedule: Every | Drift,
        spread: Tensor,
        generators: Sequence[torch.Generator],
        *,
        between: Between = "predict",
        loss: float = 0.0,
    ) -> None:
        if not 0 <= loss <= 1:
            raise UserError(f"loss={loss}: the probability that a transmission is lost is in 0..1")
        self.model, self.schedule, self.between, self.loss = model, schedule, between, loss
        self.spread, self.generators = spread, generators
        self.sent, self.lost = (torch.zeros(len(generators), dtype=torch.long) for _ in range(2))
        self._receiver: Receiver | None = None
        self._clock = 0

    def step(self, seen: Tensor, commands: Tensor | None = None, active: Tensor | None = None) -> Tensor:
        """The receiver's belief, `[N, *L]`, once the schedule has been followed.

        Args:
            seen: `[N, *L]`, states of what the near side sees.
            commands: `[N, A']`, given since the last step; `None` at the first.
            active: `[N]` bool, machines that still run; the others send nothing. `None`: all.

        Raises:
            UserError: later than at the first step, without commands.
        """
        active = torch.ones(len(seen), dtype=torch.bool) if active is None else active
        if self._receiver is None:
            self._receiver = Receiver(self.model, seen, self.between)
            self.sent += active
        else:
            if commands is None:
                raise UserError("the receiver predicts what its commands do: give those since the last step")
            self._receiver.predict(commands)
            due = self.schedule.due(self._clock, self.drift(seen)).cpu() & active
            lost = torch.stack([torch.rand((), generator=g) for g in self.generators]) < self.loss
            self._receiver.receive((due & ~lost).to(seen.device), seen)
            self.sent += due
            self.lost += due & lost
        self._clock += 1
        return self._receiver.state

    def drift(self, seen: Tensor) -> Tensor:
        """Distance of the receiver's belief from `seen`, `[N]`, in standard deviations."""
        assert self._receiver is not None
        return ((seen - self._receiver.state) / self.spread).square().flatten(1).mean(1).sqrt()
