"""Modules of the agent, learned from the episodes that a world model was trained on, and by acting in the same kind of
world; they never see the problems."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import load_model, save_model
from torch import nn

from benchmarks.acting.common import digest, tell
from openjepa.agent import (
    Agent,
    Critic,
    Detector,
    EncodedEpisode,
    Policy,
    ShortTermMemory,
    Task,
    encode_episodes,
    improve_on_policy,
    optimise_in_imagination,
    plan_from_memory,
    relabel,
)
from openjepa.agent.actor import space_of
from openjepa.agent.perception import device_of
from openjepa.evals.planning import PlanningProtocol
from openjepa.evals.planning.cloning import open_windows
from openjepa.world_models.model import WorldJEPA
from openjepa.world_models.windows import EpisodeWindows
from openjepa.worlds import World
from openjepa.worlds.gym import WorldVectorEnv

M = TypeVar("M", bound=nn.Module)
HABIT = "models", "env", "options", "factors", "difficulty", "planner", "cost"
"""What of a protocol policy and critic depend on."""
IMPROVEMENT = 10**6
"""The first seed of acting, times 1, 2, ... for every seed of training."""


@dataclass(frozen=True)
class Learning:
    """How modules are learned."""

    relabelled: int = 2000
    """Episodes that a policy's situations come from; detectors learn from all."""
    goals: int = 4
    """Goals that each episode is relabelled with."""
    plans: int = 1000
    """That a policy is distilled from."""
    steps: int = 8
    """Of each plan that a policy learns."""
    distilled: int = 4000
    """Updates of a policy by plans."""
    optimised: int = 3000
    """Updates of a policy in imagination, after that."""
    horizon: int = 12
    """Of that."""
    rounds: int = 3
    """Rounds of acting, after that."""
    worlds: int = 3000
    """Worlds that policy and critic act in, each round: no layout comes twice."""
    improved: int = 2500
    """Updates of each, a round."""
    exploration_noise: float = 2.0
    """Noise on actions meanwhile."""


@dataclass(frozen=True, eq=False)
class Learner:
    """Learns modules for a world model, each once.

    Attributes:
        protocol: of the planning that a policy is distilled from.
        kept: folder in which policies, critics and detectors are kept.
    """

    model: WorldJEPA
    protocol: PlanningProtocol
    seed: int
    learning: Learning
    kept: Path

    def modules(self, names: Sequence[str]) -> dict[str, Any]:
        """Of the agent, by their names there; with danger comes the unit that weights beside it are in."""
        found = {name: getattr(self, name) for name in names}
        return found | ({"unit": self.unit} if "danger" in names else {})

    @cached_property
    def encoded(self) -> list[EncodedEpisode]:
        """Latents of the first episodes that the model was trained on."""
        return self._encoded(self.learning.relabelled)

    @property
    def critic(self) -> Critic:
        """The time to a goal for who acts by the policy."""
        return self.habit[1]

    @property
    def policy(self) -> Policy:
        """The policy: distilled from mode 2's plans, optimised in imagination, then improved by acting."""
        return self.habit[0]

    @cached_property
    def danger(self) -> Detector:
        """From episodes that say where danger was, seen from each environment step of a block: it is rare."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            made = Detector(self._shape).to(self._device)
        return self._once(["danger", self._settings("models"), self.seed], made, lambda: self._detect(made))

    @cached_property
    def unit(self) -> float:
        """A typical squared distance of two states, mean over the latent."""
        return 2 * float(torch.cat([one.states for one in self.encoded]).var(0).mean())

    @cached_property
    def habit(self) -> tuple[Policy, Critic]:
        """Policy and critic, which learn from one another."""
        world, settings = self.protocol.world(), self._settings(*HABIT)
        assert isinstance(world, World)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            policy = Policy(self._shape, space_of(self.model)).to(self._device)
            critic = Critic(self._shape, goal=True, steps=world.max_steps // self.model.block).to(
                self._device
            )
        both = nn.ModuleList([policy, critic])
        self._once([settings, asdict(self.learning), self.seed], both, lambda: self._learn(policy, critic))
        return policy, critic

    def _once(self, key: Any, made: M, learn: Callable[[], None]) -> M:
        """What was learned before is read, by all that it depends on."""
        path = self.kept / f"{digest(key)}.safetensors"
        if path.is_file():
            load_model(made, path)
        else:
            learn()
            self.kept.mkdir(parents=True, exist_ok=True)
            save_model(made, path)
        return made

    def _settings(self, *names: str) -> dict[str, Any]:
        settings = self.protocol.model_dump(mode="json")
        return {name: settings[name] for name in names}

    def _detect(self, made: Detector) -> None:
        episodes = (one for begin in range(self.model.block) for one in self._encoded(None, begin))
        marked = [one for one in episodes if one.danger is not None]
        states, danger = (
            torch.cat(side) for side in zip(*((o.states, o.danger) for o in marked), strict=True)
        )
        made.fit(states, danger, torch.Generator().manual_seed(self.seed))

    def _learn(self, policy: Policy, critic: Critic) -> None:
        self._optimise(policy)
        learning, protocol = self.learning, self.protocol
        world = protocol.world()
        assert isinstance(world, World)
        environment = WorldVectorEnv(world, learning.worlds)
        memory = ShortTermMemory(
            learning.rounds * learning.worlds * (2 + world.max_steps // self.model.block)
        )
        agent = Agent(
            self.model,
            protocol.planner,
            Task({"time": 1.0}, mode=1, exploration_noise=learning.exploration_noise),
            memory=memory,
            seed=self.seed,
            policy=policy,
            prediction_error_width=protocol.cost.prediction_error_width,
        )
        improve_on_policy(
            agent,
            critic,
            environment,
            torch.Generator().manual_seed(self.seed),
            seeds=IMPROVEMENT * (1 + self.seed),
            rounds=learning.rounds,
            updates=learning.improved,
            options={"factors": protocol.factors, "difficulty": protocol.difficulty},
            progress=lambda number, share: tell(f"seed {self.seed}: round {number}: {100 * share:.1f} %"),
        )

    def _optimise(self, policy: Policy) -> None:
        learning, protocol, memory = self.learning, self.protocol, self._memory()
        generator = torch.Generator().manual_seed(self.seed)
        relabel(memory, self.encoded, generator, goals=learning.goals)
        planner, cost = protocol.planner, protocol.cost
        choices = {"seed": self.seed, "distance": cost.distance, "reduce": cost.reduce}
        agent = Agent(self.model, planner, **choices)
        steps = min(learning.steps, planner.horizon)
        plans = plan_from_memory(agent, memory, learning.plans, self.seed, steps=steps)
        policy.distil(plans, generator, updates=learning.distilled)
        proposing = Agent(self.model, planner, policy=policy, **choices)
        horizon, updates = learning.horizon, learning.optimised
        optimise_in_imagination(proposing, memory, self.seed, horizon=horizon, updates=updates)

    @property
    def _shape(self) -> tuple[int, ...]:
        return tuple(self.encoded[0].states.shape[1:])

    @property
    def _device(self) -> torch.device:
        return device_of(self.model)

    @cached_property
    def _samples(self) -> EpisodeWindows:
        return open_windows(self.model)

    def _encoded(self, count: int | None, begin: int = 0) -> list[EncodedEpisode]:
        train, _ = self._samples.split()
        return encode_episodes(
            self.model, (self._samples.episodes[int(i)] for i in train[:count]), begin=begin
        )

    def _memory(self) -> ShortTermMemory:
        return ShortTermMemory(sum(len(one.states) for one in self.encoded) * self.learning.goals)
