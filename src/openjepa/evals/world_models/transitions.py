"""Steps of recorded episodes as a world model's states, and predictors fitted to them with the encoder fixed."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from openjepa.common.rng import Rng
from openjepa.jepa import evaluating
from openjepa.latents import Latent, LatentAction, LatentChoice, Predict
from openjepa.recipes import build
from openjepa.world_models.latent import LatentWorldJEPA
from openjepa.world_models.windows import EpisodeWindows

GivenZ = Literal["drawn", "mode", "nothing"]
BATCH, RATE = 256, 1e-3
ENCODED = 32
"""Windows that are encoded at a time."""


@dataclass(frozen=True, eq=False)
class Transitions:
    """N steps of the model.

    Attributes:
        s, s_next: `[N, *L]`.
        actions: `[N, block * A]`, in the environment's units.
        before, after: `[N, P]`, physical variables.
    """

    s: Tensor
    s_next: Tensor
    actions: Tensor
    before: Tensor
    after: Tensor

    def __len__(self) -> int:
        return len(self.s)

    def __getitem__(self, rows: Tensor) -> "Transitions":
        """A mask `[N]` or indices."""
        parts = (self.s, self.s_next, self.actions, self.before, self.after)
        return Transitions(*(part[rows] for part in parts))


def transitions(
    model: LatentWorldJEPA, samples: EpisodeWindows, held_out: bool, count: int, seed: int
) -> Transitions:
    """At most `count` steps of the episodes that were trained on, or of those held out; a function of the seed."""
    chosen = samples.split()[int(held_out)]
    rows = torch.isin(torch.from_numpy(samples.windows.episode), chosen).nonzero()[:, 0]
    steps = model.future.frames - 1
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
    picked, parts = rows[order[: -(-count // steps)]], []
    device, first = next(model.parameters()).device, model.signal.stack - 1
    with torch.no_grad(), evaluating(model):
        for some in picked.split(ENCODED):
            window = samples.read(some)
            states = model.encode(window.frames.to(device))[:, first:]
            actions, physical = window.actions[:, first:].to(device), window.state[:, first:]
            sides = (states[:, :-1], states[:, 1:], actions, physical[:, :-1], physical[:, 1:])
            parts.append([side.flatten(0, 1) for side in sides])
    return Transitions(*(torch.cat(side)[:count] for side in zip(*parts, strict=True)))


@dataclass(frozen=True, eq=False)
class Fitted:
    """A latent variable with its predictor, for the states of another model."""

    model: LatentWorldJEPA

    @property
    def latent(self) -> Latent:
        return self.model.latent

    def predict(self, given: Transitions) -> Predict:
        return self.model.one_step(given.actions)


def fit(
    model: LatentWorldJEPA,
    latent: LatentChoice,
    given: Transitions,
    *,
    updates: int,
    seed: int,
    given_z: GivenZ = "drawn",
) -> Fitted:
    """Train a predictor and its z anew on single steps, by the model's energy, on its states as they are.

    Args:
        latent: z's kind and capacity.
        given_z: z with its noise; without; or always 0, which makes a deterministic predictor.
    """
    condition = model.config.condition.model_copy(update={"latent": latent})
    fresh = build(model.config.from_scratch().model_copy(update={"condition": condition}), seed)
    assert isinstance(fresh, LatentWorldJEPA)
    fresh.encoder.load_state_dict(model.encoder.state_dict())  # predictions end in its norm
    fresh = fresh.to(given.s.device)
    trained = [*fresh.predictor.parameters(), *fresh.latent.parameters()]
    optimiser = torch.optim.AdamW(trained, RATE)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, updates)
    fresh.train().encoder.eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    for step in range(updates):
        some = given[torch.randint(len(given), (min(BATCH, len(given)),), generator=generator)]
        states = torch.stack([some.s, some.s_next], 1)
        inferred = fresh.inferred(
            states, some.actions.unsqueeze(1), Rng(seed, step) if given_z == "drawn" else None
        )
        z = torch.zeros_like(inferred.z) if given_z == "nothing" else inferred.z
        prediction = fresh.one_step(some.actions)(some.s, z).squeeze(1)
        loss = fresh.energy.mean(
            fresh.state_layout.tokens(prediction), fresh.state_layout.tokens(some.s_next)
        )
        optimiser.zero_grad()
        (loss if given_z == "nothing" else loss + inferred.loss).backward()
        optimiser.step()
        rates.step()
    return Fitted(fresh.eval())


DETERMINISTIC = LatentAction(width=1, hidden=1)
"""The latent variable of predictors that are given none."""
