"""The controls' table: what is fitted to compare with, what is measured on whom, and what the verdicts say."""

from pathlib import Path
from typing import Any

import pytest
import torch

from openjepa.errors import UserError
from openjepa.evals.world_models.latent_controls import error, judged, latent_controls, neighbours
from openjepa.evals.world_models.latent_table import COUNTS, BestOfK
from openjepa.evals.world_models.transitions import DETERMINISTIC, Fitted, fit, transitions
from openjepa.latents import LatentAction, Mixture
from openjepa.latents.capacity import KL, Codebook, Sparse
from openjepa.recipes import build, configure
from openjepa.world_models.latent import LatentWorldJEPA
from openjepa.world_models.windows import EpisodeWindows

from ... import dots

EPISODES = dots.episodes(12)


@pytest.fixture(scope="module")
def model() -> LatentWorldJEPA:
    texts = {name: str(value) for name, value in dots.options("mixture").items()}
    config = configure("mixture", "tiny", texts)
    found = build(config.adapt(config.open(EPISODES, adapt=True)))
    assert isinstance(found, LatentWorldJEPA)
    return found.eval()


def windows(model: LatentWorldJEPA) -> EpisodeWindows:
    return EpisodeWindows(EPISODES, model.future.frames, model.block)


def test_steps_are_those_of_the_episodes_and_held_out_by_episode(model: LatentWorldJEPA) -> None:
    seen, held = (transitions(model, windows(model), out, 60, 0) for out in (False, True))
    assert len(seen) == len(held) == 60
    torch.testing.assert_close(held.before + held.actions, held.after, atol=1e-4, rtol=0)
    starts = {tuple(row) for row in seen.before.tolist()}
    assert not starts & {tuple(row) for row in held.before.tolist()}
    again = transitions(model, windows(model), True, 60, 0)
    assert torch.equal(held.s, again.s) and torch.equal(held.s_next, again.s_next)
    few = held[torch.tensor([3, 5])]
    assert torch.equal(few.s_next, held.s_next[[3, 5]]) and len(few) == 2


def test_a_fit_learns_single_steps_and_leaves_the_encoder(model: LatentWorldJEPA) -> None:
    seen = transitions(model, windows(model), False, 200, 0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    errors = [
        error(fit(model, DETERMINISTIC, seen, updates=n, seed=0, given_z="nothing"), seen, blind=True)
        for n in (1, 60)
    ]
    assert errors[1] < 0.5 * errors[0]
    fitted = fit(model, Mixture(heads=2, hidden=8, distance="l2"), seen, updates=1, seed=0)
    encoder = fitted.model.encoder.state_dict()
    assert encoder and all(torch.equal(value, before[f"encoder.{name}"]) for name, value in encoder.items())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("latent", "first", "last"),
    [
        (Mixture(), "2 heads", "16 heads"),
        (LatentAction(capacity=Codebook()), "2 codes", "64 codes"),
        (LatentAction(capacity=KL(weight=0.02)), "kl weight 2", "kl weight 0.0002"),
        (LatentAction(capacity=Sparse(l1=0.1)), "sparse l1 10", "sparse l1 0.001"),
    ],
)
def test_the_curve_goes_from_little_capacity_to_much(latent: Any, first: str, last: str) -> None:
    names = [name for name, _ in neighbours(latent)]
    assert (names[0], names[-1]) == (first, last)


def test_verdicts_follow_the_numbers(model: LatentWorldJEPA) -> None:
    held = transitions(model, windows(model), True, 40, 0)
    worse, better = (2.0,) * len(COUNTS), (0.5,) * len(COUNTS)

    def verdicts(latent: tuple[float, ...], without: float, free: float) -> dict[str, bool | None]:
        found = judged(Fitted(model), held, BestOfK(latent, (1.0,) * len(COUNTS), 1.0), without, free, 0)
        return {control.name: control.holds for control in found}

    told = error(Fitted(model), held)
    good, bad = verdicts(better, 1.5 * told, 0.5 * told), verdicts(worse, told, 0.5 * told)
    for name in ("capacity", "best of K over codebook", "best of 16 over no z"):
        assert good[name] is True and bad[name] is False
    assert verdicts(better, told / 2, told)["capacity"] is False


def test_the_table_holds_every_control(model: LatentWorldJEPA) -> None:
    ticks: list[int] = []
    table = latent_controls(
        model, EPISODES, updates=2, count=40, progress=lambda text, done, total: ticks.append(done)  # ty: ignore
    )  # fmt: skip
    assert len(table.controls) == 7 and table.transitions == 40 and ticks == [*range(7)]
    text, data = str(table), table.to_dict()
    assert all(control.name in text and control.verdict in text for control in table.controls)
    assert data["counts"] == list(COUNTS) and data["holds"] is table.holds
    assert len(table.best.latent) == len(table.best.codebook) == len(COUNTS)
    assert table.best.latent[0] >= table.best.latent[-1]


def test_a_model_without_z_is_refused(tmp_path: Path) -> None:
    texts = {name: str(value) for name, value in dots.options("pldm").items()}
    with pytest.raises(UserError, match="runs/x has no latent variable"):
        latent_controls(build(configure("pldm", "tiny", texts)), name="runs/x")
