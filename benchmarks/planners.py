"""One CEM solve, from frames to a plan, by us and by each library that has a planner: the same network for all.

torch-world is given it as the `predict` of its `WorldModel`, stable-worldmodel as encoder, predictor and action encoder
of its `LeWM`. Rollout, cost, sampling and refitting are their own.
"""

import argparse
import contextlib
import io
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from openjepa.agent.cost import Cost, Goal
from openjepa.agent.objective import Imagination
from openjepa.agent.planners import CEM, as_space, streams
from openjepa.agent.protocols import Situation
from openjepa.recipes import build, configure
from openjepa.world_models.model import WorldJEPA

SEED = 0
OURS = "openjepa"
MODELS: dict[str, dict[str, str]] = {
    "LeWM, paper's sizes": {
        "preset": "push-t",
        "encoder": "conv",
        "encoder.width": "192",
        "signal.size": "64",
    },
    "LeWM, history 8": {"preset": "tiny", "predictor.history": "8", "hiding.frames": "9"},
    "LeWM, tiny": {"preset": "tiny"},
}
"""Options of the recipe. The encoder, which runs twice a solve, is a small one."""
CONTEXTS = {"LeWM, history 8": 3}
"""Frames that a plan looks back on, where it is not one alone."""


def network(options: dict[str, str]) -> WorldJEPA:
    """Untrained: what it computes costs the same."""
    space = {"signal.action_dim": "2", "condition.low": "[-2, -2]", "condition.high": "[2, 2]"}
    space["signal.block_actions"] = "each"  # the others' planners do not repeat actions
    rest = {name: value for name, value in options.items() if name != "preset"}
    model = build(configure("lewm", options["preset"], rest | space), SEED)
    random = torch.Generator().manual_seed(SEED)
    for (
        value
    ) in model.predictor.parameters():  # gates begin at 0, and a network of identities has nothing to plan
        if value.ndim > 1 and not value.any():
            value.data.normal_(std=0.02, generator=random)
    return model.eval()


class Ours:
    """Our CEM on our rollout."""

    name = OURS

    def __init__(self, model: WorldJEPA, args: argparse.Namespace) -> None:
        self.model, self.args = model, args
        self.space = as_space(model.actions, model.block)
        self.planner = CEM(
            horizon=args.horizon, samples=args.samples, iterations=args.iterations, elites=args.elites
        )

    @torch.no_grad()
    def imagination(self, frames: Tensor, past: Tensor | None, goal: Tensor) -> Imagination:
        """Everything that is encoded once."""
        there = self.model.encode(goal[:, None])[:, 0]
        cost = Cost({"goal": Goal(there, reduce="last")}, {}, {})
        state = self.model.encode(frames, past)
        return Imagination(
            self.model,
            Situation(state, past, there, cost, streams(SEED, len(frames))),
            self.args.horizon,
        )

    def solve(self, frames: Tensor, past: Tensor | None, goal: Tensor) -> Tensor:
        seen = self.imagination(frames, past, goal)
        return self.planner.plan(seen, self.space, seen.situation.generators).actions

    @torch.no_grad()
    def price(self, frames: Tensor, past: Tensor | None, goal: Tensor, actions: Tensor) -> Tensor:
        return self.imagination(frames, past, goal)(actions)


class TorchWorld:
    """`torch_world.planning.CEM` on the rollout of `torch_world.models.base.WorldModel`."""

    name = "torch-world"

    def __init__(self, model: WorldJEPA, args: argparse.Namespace) -> None:
        from torch_world.models.base import WorldModel
        from torch_world.planning import CEM as TheirCEM

        class Given(WorldModel):
            history = model.history

            def predict(self, z: Tensor, actions: Tensor, **cond: Any) -> Tensor:
                return model.predictor(z, model.signal.normalise_actions(actions))

        self.model, self.theirs = model, Given()
        width = model.signal.action_width
        self.planner = TheirCEM(args.horizon, width, args.samples, args.elites, args.iterations, 2.0, (-2, 2))

    @torch.no_grad()
    def solve(self, frames: Tensor, past: Tensor | None, goal: Tensor) -> Tensor:
        z, there = self.model.encode(frames, past), self.model.encode(goal[:, None])[:, 0]
        return self.planner(self.theirs, z, there, past, torch.Generator().manual_seed(SEED))

    @torch.no_grad()
    def price(self, frames: Tensor, past: Tensor | None, goal: Tensor, actions: Tensor) -> Tensor:
        samples = actions.shape[1]
        z, there = (self.model.encode(x).repeat_interleave(samples, 0) for x in (frames, goal[:, None]))
        before = [] if past is None else [past.repeat_interleave(samples, 0)]
        found = self.theirs.rollout(z, torch.cat([*before, actions.flatten(0, 1)], 1))
        return self.theirs.cost(found, there[:, 0]).unflatten(0, (-1, samples))


class StableWorldModel:
    """`stable_worldmodel`'s `CEMSolver` on its `LeWM`'s rollout and cost.

    It plans from one frame, and sums over the latent where the others take the mean. All problems in one batch; its
    default is one after the other.
    """

    name = "stable-worldmodel"

    def __init__(self, model: WorldJEPA, args: argparse.Namespace) -> None:
        from gymnasium.spaces import Box
        from stable_worldmodel.policy import PlanConfig
        from stable_worldmodel.solver import CEMSolver
        from stable_worldmodel.wm.lewm.lewm import LeWM

        class Encoder(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.model = model

            def forward(self, pixels: Tensor, interpolate_pos_encoding: bool) -> Any:
                return SimpleNamespace(last_hidden_state=self.model.encode(pixels[:, None]))

        class Predictor(nn.Module):
            num_frames = model.history

            def forward(self, z: Tensor, told: Tensor) -> Tensor:
                return model.predictor(z, told)

        class Told(nn.Module):
            def forward(self, actions: Tensor) -> Tensor:
                return model.signal.normalise_actions(actions)

        self.width, self.theirs = model.signal.action_width, LeWM(Encoder(), Predictor(), Told())
        self.planner = CEMSolver(
            self.theirs, args.problems, args.samples, 2.0, args.iterations, args.elites, seed=SEED
        )
        config = PlanConfig(args.horizon, 1, action_block=model.block)
        space = Box(-2, 2, (args.problems, model.signal.action_dim))
        self.planner.configure(action_space=space, n_envs=args.problems, config=config)

    def solve(self, frames: Tensor, past: Tensor | None, goal: Tensor) -> Tensor:
        with contextlib.redirect_stdout(io.StringIO()):
            return self.planner.solve(self._info(frames, goal))["actions"]

    @torch.inference_mode()
    def price(self, frames: Tensor, past: Tensor | None, goal: Tensor, actions: Tensor) -> Tensor:
        samples = actions.shape[1]
        info = {
            name: value[:, None].expand(-1, samples, *value.shape[1:])
            for name, value in self._info(frames, goal).items()
        }
        return self.theirs.get_cost(info, actions) / self.theirs.encoder.model.state_layout.shape[0]

    def _info(self, frames: Tensor, goal: Tensor) -> dict[str, Tensor]:
        pixels, there = frames.float() / 255, goal[:, None].float() / 255
        return {"pixels": pixels, "goal": there, "action": torch.zeros(*frames.shape[:2], self.width)}


def available(kinds: Sequence[Any], model: WorldJEPA, args: argparse.Namespace) -> tuple[dict, dict]:
    """Those that are installed and wanted; and why others are left out."""
    found, missing = {}, {}
    for kind in kinds:
        try:
            found[kind.name] = kind(model, args)
        except ImportError as error:
            missing[kind.name] = f"not installed: {error}"
    return found, missing
