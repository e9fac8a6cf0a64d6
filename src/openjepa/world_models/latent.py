"""A world model with a latent variable z: what happened, where the past and the actions do not say it.

    z_t = inferred from s_t, s_{t+1}               through a limited channel, or as the best of several heads
    ŝ_{t+1} = predictor(s_1..s_t, a_1..a_t, z_1..z_t)
    loss = energy(ŝ, s) + guard(s) + terms(s, a) + price of z

LeCun 2022, section 4.3. To plan, z is drawn; to learn from what was seen, it is inferred.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from openjepa.common.rng import Rng
from openjepa.errors import UserError
from openjepa.jepa import Output, Pair, Parts
from openjepa.latents.base import Inferred, Latent, Predict, one_step
from openjepa.latents.drawn import DrawingDynamics
from openjepa.nets.dynamics.branches import Branches
from openjepa.world_models.model import StateLayout, WorldJEPA
from openjepa.world_models.terms import TermsOf


class LatentWorldJEPA(WorldJEPA):
    """A `WorldJEPA` whose predictor's condition ends in the Z numbers of z.

    Inference does not shape the states (in arXiv:2601.05230 their encoder is frozen): else they would become what z can
    carry.

    Attributes:
        latent: infers, samples, enumerates and optimises z; `one_step` gives the predictions that it asks for.
    """

    def __init__(
        self, config: Any, parts: Parts, layout: StateLayout, terms: TermsOf, latent: Latent
    ) -> None:
        super().__init__(config, parts, layout, terms)
        self.latent = latent

    def forward(self, batch: Any, rng: Rng) -> Output:
        """One training pass as `WorldJEPA.forward`, with the price of z in the loss."""
        pairs = self.pairs(batch, rng)
        s_x = self.represent([pair.context for pair in pairs])
        raw = self.raw_targets(pairs, s_x)
        s_y, states, actions = self.finish_targets(raw, pairs), self.states(s_x[0]), pairs[0].condition
        assert actions is not None
        inferred = self._infer(states, actions, rng)
        prediction = self.follow(s_x, pairs, inferred.z)
        energy = self.compare(prediction, s_y, pairs)
        penalty, logged = self.guard(self.guard_on(pairs, s_x, raw, rng), rng)
        extra, named = self.terms(states, actions)
        loss = self.guard.combine(energy, penalty) + extra + inferred.loss
        return Output(
            loss, {"energy": energy.detach(), **logged, **named, **inferred.terms}, s_x, s_y, prediction
        )

    def predict(self, s_x: Sequence[Tensor], pairs: Sequence[Pair]) -> list[Tensor]:
        """Predictions from the z that the windows themselves show, at its mode."""
        return self.follow(s_x, pairs, self.shown(s_x, pairs))

    def shown(self, s_x: Sequence[Tensor], pairs: Sequence[Pair]) -> Tensor:
        """The z of windows, inferred from their frames: `[B, T-1, Z]`."""
        actions = pairs[0].condition
        assert actions is not None
        return self._infer(self.states(s_x[0]), actions).z

    def follow(self, s_x: Sequence[Tensor], pairs: Sequence[Pair], z: Tensor) -> list[Tensor]:
        """Predictions as `WorldJEPA.predict` gives them, from z `[B, T-1, Z]`."""
        actions = pairs[0].condition
        assert actions is not None
        condition = torch.cat([self._heard(actions), z], -1)
        return super().predict(s_x, [replace(pairs[0], condition=condition)])

    def inferred(self, states: Tensor, actions: Tensor, rng: Rng | None = None) -> Inferred:
        """z `[B, T-1, Z]` between states `[B, T, *L]`, after actions `[B, T-1, block * A]`; its mode without `rng`."""
        return self._infer(states, self.signal.normalise_actions(actions), rng)

    def one_step(self, actions: Tensor) -> Predict:
        """Next states from states `[..., *L]` and z `[..., n, Z]`, after these actions `[..., block * A]`."""
        return one_step(self.dynamics, self._heard(self.signal.normalise_actions(actions)))

    def draw_z(
        self, state: Tensor, count: int, horizon: int, generators: Sequence[torch.Generator]
    ) -> Tensor:
        """Draws that decide the z of `count` futures, for `rollout`: `[B, count, H, N]`, one generator a problem."""
        drawn = [self.latent.noise(count, horizon, generator) for generator in generators]
        return torch.stack(drawn).to(state.device)

    def rollout(
        self, state: Tensor, actions: Tensor, z: Tensor | None = None, past: Tensor | None = None
    ) -> Tensor:
        """Predicted states, as `WorldJEPA.rollout` gives them.

        Args:
            z: `[B, S, H, Z]`; or `[B, S, H, N]` as `draw_z` gives it, from which z is settled at every predicted
                state; `None`: the mean of z at every predicted state. Between the past's states it is inferred.

        Raises:
            UserError: shapes that do not fit.
        """
        latent, widths = self.latent, {self.latent.width, self.latent.chance}
        if z is not None and (z.shape[:-1] != actions.shape[:-1] or z.shape[-1] not in widths):
            raise UserError(
                f"z of shape {list(z.shape)} does not fit actions {list(actions.shape)}: give one of "
                f"{' or '.join(map(str, sorted(widths)))} numbers for each, or none"
            )
        state, condition = self._past_and_plan(state, actions, past)
        before = state.shape[1] - 1
        past_z = state.new_zeros(len(state), 0, latent.width)
        if before:
            past_z = self._infer(state, condition[:, 0, :before]).z
        past_z = past_z.unsqueeze(1).expand(-1, condition.shape[1], -1, -1)
        condition = self._heard(condition)
        if z is not None and z.shape[-1] == latent.width:
            return self.dynamics.unroll(state, torch.cat([condition, torch.cat([past_z, z], 2)], -1))
        noise = actions.new_zeros(*actions.shape[:-1], 0) if z is None else z
        unknown = noise.new_full((*noise.shape[:-1], latent.width), torch.nan)
        known = torch.cat([past_z, unknown], 2)
        noise = torch.cat([noise.new_zeros(*condition.shape[:2], before, noise.shape[-1]), noise], 2)
        settle = latent.settle if noise.shape[-1] else _mean_of(latent)
        drawn = DrawingDynamics(self.dynamics, latent.width, noise.shape[-1], settle)
        return drawn.unroll(state, torch.cat([condition, known, noise], -1))

    def _heard(self, actions: Tensor) -> Tensor:
        """The actions, as far as the predictor takes them."""
        return actions if self.config.condition.takes_actions else actions[..., :0]

    def _infer(self, states: Tensor, actions: Tensor, rng: Rng | None = None) -> Inferred:
        """z between states `[B, T, *L]`, after normalised actions `[B, T-1, A']`."""
        before, after = states[:, :-1].detach(), states[:, 1:].detach()
        heads = self.predictor
        predict = (lambda s, z: heads.every(s, self._heard(actions))) if isinstance(heads, Branches) else None
        return self.latent.infer(before, after, predict, rng)


def _mean_of(latent: Latent) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda s, noise: latent.expected(s)
