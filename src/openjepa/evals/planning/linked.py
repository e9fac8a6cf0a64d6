"""Control over a channel: the semantic actor behind a receiver, in n worlds side by side."""

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from openjepa.agent import Policy
from openjepa.agent.actor import space_of
from openjepa.agent.channel import Between, Drift, Every, Link
from openjepa.agent.perception import Perception
from openjepa.agent.planners import streams
from openjepa.agent.protocols import WorldModel
from openjepa.agent.semantic import predicted, received
from openjepa.evals.features import Progress
from openjepa.evals.planning.cloning import encoded, new_policy
from openjepa.evals.planning.play import Problems
from openjepa.evals.planning.protocol import Cloning
from openjepa.world_models.model import WorldJEPA
from openjepa.world_models.windows import EpisodeWindows
from openjepa.worlds import State


class SemanticActor(Cloning):
    """The semantic actor: the action taken, from the state of its step."""

    ahead: int = Field(0, ge=0, le=10_000)
    """Steps of the model over which it learns from predicted states; 0: as many as the model was trained for."""


def teach(
    model: WorldJEPA,
    samples: EpisodeWindows,
    settings: SemanticActor,
    seed: int,
    progress: Progress | None = None,
) -> Policy:
    """The semantic actor of a model, from its training episodes.

    Raises:
        UserError: no episode has a whole block of actions.
    """
    logs = encoded(model, samples, settings.frames, seed, progress)
    generator = torch.Generator().manual_seed(seed)
    seen, taken = received(logs)
    imagined, following = predicted(model, logs, settings.ahead or model.horizon, generator)
    policy = new_policy(model, tuple(seen.shape[1:]), settings, seed, goal=False).to(seen.device)
    policy.learn(
        torch.cat([seen, imagined]),
        None,
        torch.cat([taken, following]),
        generator,
        updates=settings.updates,
        batch=settings.batch,
        lr=settings.lr,
    )
    return policy.eval()


class Controlled:
    """An actor at the far end of a link, in n worlds.

    Args:
        loss: probability that a transmission is lost.
        seed: of what is lost.

    Attributes:
        sent, lost: transmissions of every episode so far.
    """

    sees = True
    predictions = 0

    def __init__(
        self,
        model: WorldModel,
        policy: Policy,
        schedule: Every | Drift,
        between: Between,
        loss: float,
        seed: int,
    ) -> None:
        self._model, self._policy, self._schedule, self._between = model, policy, schedule, between
        self._loss, self._seed, self._space = loss, seed, space_of(model)
        self._spread = policy.head.std.view(policy.head.shape)
        self._perception = Perception(model)
        self._links: list[Link] = []

    @property
    def sent(self) -> list[int]:
        return [n for link in self._links for n in link.sent.tolist()]

    @property
    def lost(self) -> list[int]:
        return [n for link in self._links for n in link.lost.tolist()]

    def begin(self, problems: Problems) -> None:
        self._problems = problems
        self._perception.reset()
        self._rows = torch.arange(len(problems))
        self._command: Tensor | None = None
        self._queue: list[NDArray] = []
        generators = streams(self._seed, problems.numbers)
        self._links.append(
            Link(
                self._model,
                self._schedule,
                self._spread,
                generators,
                between=self._between,
                loss=self._loss,
            )
        )

    def act(self, state: State, frames: NDArray[np.uint8] | None, active: NDArray) -> NDArray:
        if not self._queue:
            assert frames is not None
            known = self._problems.known(state, self._model)
            self._perception.observe(torch.from_numpy(frames.copy()), self._command, known)
            states, _ = self._perception.state(self._rows)
            believed = self._links[-1].step(states[:, -1], self._command, torch.from_numpy(active))
            self._command = self._policy.act(believed)
            block = self._space.unfold(self._command[:, None])
            self._queue = list(block.cpu().numpy().swapaxes(0, 1))
        return self._queue.pop(0)
