"""Modules of the agent, learned from the episodes that a world model was trained on; they never see the problems."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from openjepa.agent import (
    Agent,
    Critic,
    Detector,
    Late,
    Lived,
    Policy,
    ShortTermMemory,
    live,
    practise,
    rehearse,
    relive,
)
from openjepa.agent.actor import space_of
from openjepa.agent.perception import device_of
from openjepa.evals.planning import Protocol
from openjepa.evals.planning.cloning import open_windows
from openjepa.recipes.worlds import EpisodeWindows
from openjepa.world_model import WorldJEPA


@dataclass(frozen=True)
class Learning:
    """How modules are learned."""

    relived: int = 2000
    """Episodes that critics and policies learn from, and detectors from all."""
    goals: int = 4
    """That each episode is relived for."""
    updates: int = 4000
    """Of critics and policies."""
    plans: int = 1000
    """That a policy is distilled from."""
    steps: int = 8
    """Of each plan that a policy learns."""
    practised: int = 3000
    """Updates of a policy in imagination, after plans."""
    horizon: int = 12
    """Of that."""


@dataclass(frozen=True, eq=False)
class Learner:
    """Learns modules for a world model, each once.

    Attributes:
        protocol: of the planning that a policy is distilled from.
    """

    model: WorldJEPA
    protocol: Protocol
    seed: int
    learning: Learning

    def modules(self, names: Sequence[str]) -> dict[str, Any]:
        """Of the agent, by their names there; with danger comes the unit that weights beside it are in."""
        found = {name: getattr(self, name) for name in names}
        return found | ({"unit": self.unit} if "danger" in names else {})

    @cached_property
    def lived(self) -> list[Lived]:
        """Latents of the first episodes that the model was trained on."""
        return self._live(self.learning.relived)

    @cached_property
    def critic(self) -> Critic:
        """The time to a goal for who acts as was recorded."""
        generator = torch.Generator().manual_seed(self.seed)
        memory = self._memory()
        relive(memory, self.lived, generator, goals=self.learning.goals, term=Late)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            made = Critic(tuple(self.lived[0].states.shape[1:]), goal=True).to(self._device)
        made.fit(memory, generator, updates=self.learning.updates)
        return made

    @cached_property
    def danger(self) -> Detector:
        """From episodes that say where danger was, seen from each environment step of a block: it is rare."""
        lived = (one for begin in range(self.model.block) for one in self._live(None, begin))
        told = [one for one in lived if one.danger is not None]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            made = Detector(tuple(told[0].states.shape[1:])).to(self._device)
        states, danger = (torch.cat(side) for side in zip(*((o.states, o.danger) for o in told), strict=True))
        made.fit(states, danger, torch.Generator().manual_seed(self.seed))
        return made

    @cached_property
    def unit(self) -> float:
        """A typical squared distance of two states, mean over the latent."""
        return 2 * float(torch.cat([one.states for one in self.lived]).var(0).mean())

    @cached_property
    def policy(self) -> Policy:
        """What mode 2 would do in relived situations, then practised in imagination."""
        learning, protocol, memory = self.learning, self.protocol, self._memory()
        generator = torch.Generator().manual_seed(self.seed)
        relive(memory, self.lived, generator, goals=learning.goals)
        planner, cost = protocol.planner, protocol.cost
        choices = {"seed": self.seed, "distance": cost.distance, "reduce": cost.reduce}
        agent = Agent(self.model, planner, **choices)
        steps = min(learning.steps, planner.horizon)
        plans = rehearse(agent, memory, learning.plans, self.seed, steps=steps)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            made = Policy(tuple(memory.states.shape[1:]), space_of(self.model)).to(self._device)
        made.distil(plans, generator, updates=learning.updates)
        practising = Agent(self.model, planner, policy=made, **choices)
        horizon, updates = learning.horizon, learning.practised
        practise(practising, memory, self.seed, horizon=horizon, updates=updates)
        return made

    @property
    def _device(self) -> torch.device:
        return device_of(self.model)

    @cached_property
    def _samples(self) -> EpisodeWindows:
        return open_windows(self.model)

    def _live(self, count: int | None, begin: int = 0) -> list[Lived]:
        train, _ = self._samples.split()
        return live(self.model, (self._samples.episodes[int(i)] for i in train[:count]), begin=begin)

    def _memory(self) -> ShortTermMemory:
        return ShortTermMemory(sum(len(one.states) for one in self.lived) * self.learning.goals)
