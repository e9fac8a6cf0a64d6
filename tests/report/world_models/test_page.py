"""A world model's page: its plans, films, memory and windows; and what it says where something is missing."""

import json
import re
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from openjepa.errors import UserError
from openjepa.evals.planning.cloning import open_windows
from openjepa.evals.world_models.decoder import fit_decoder, moving
from openjepa.report import write_report
from openjepa.report.record import read_record
from openjepa.report.shown import Shown
from openjepa.report.world_models import decoding
from openjepa.report.world_models.decoding import LinearReading
from openjepa.report.world_models.page import WorldPage, open_world_page
from openjepa.report.world_models.planning import bar, read_acting
from openjepa.training import load

from ... import dots
from ..test_page import Outline

pytest.importorskip("h5py")


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is drawn need not be like the frames."""
    monkeypatch.setattr(decoding, "fit_decoder", partial(fit_decoder, updates=2))


@pytest.fixture
def run(world_run: Path, tmp_path: Path) -> Path:
    """A run that the test may change."""
    return Path(shutil.copytree(world_run, tmp_path / "run"))


def world_page(run: Path, data: str | None = None) -> WorldPage:
    found = read_acting(run)
    return open_world_page(Shown(read_record(run), load(run), data=data), found.result if found else None)


def test_the_page_is_whole(world_page: Path) -> None:
    text = world_page.read_text()
    outline = Outline(text)
    wanted = ["verdict", "planning", "episodes", "memory", "knows", "choices", "curves", "prediction", "data"]
    assert [name for name in outline.ids if name in wanted] == wanted
    assert outline.bare == 0 and all(a.startswith(("data:", "#")) for a in outline.addresses)
    assert text.count('class="plan" d="M') >= 3 and text.count("data:image/gif") == 2 * 3
    for said in ("behaviour cloning", "oracle planner", "Success by distance", "How far ahead", "imagined"):
        assert said in text
    assert not re.search(r"\bnan\b", text)


def test_without_a_plan_the_page_says_how_to_get_one(run: Path) -> None:
    (run / "plan.json").unlink()
    shutil.rmtree(run / "model")
    shutil.rmtree(run / "checkpoints")
    text = write_report(run).read_text()
    assert f"openjepa plan {run}" in text and 'id="episodes"' not in text and 'id="memory"' not in text
    assert "There are no pictures" in text and Outline(text).ids


def test_without_films_there_are_windows(run: Path) -> None:
    (run / "plan.films").unlink()
    shown = world_page(run)
    assert "No episodes were filmed" in shown.missing and shown.memory is None and not shown.episode_cards
    assert shown.rollouts is not None and len(shown.rollouts.windows[0]) == 5
    assert shown.rollouts.windows[0][0].ratio == 0 and shown.rollouts.windows[0][-1].arrow is None


def test_episodes_that_are_gone_leave_the_films(run: Path) -> None:
    config = json.loads((run / "model" / "config.json").read_text())
    (run / "model" / "config.json").write_text(json.dumps({**config, "data": "gone/away"}))
    shown = world_page(run)
    assert "There are no pictures: gone/away does not exist" in shown.blind and shown.rollouts is None
    assert len(shown.episode_cards) == 3 and shown.memory is not None
    for one in shown.episode_cards:
        assert one.panels == ["real", "goal"] and one.route is not None and not one.route.plans
    with pytest.raises(UserError, match="also/gone"):
        world_page(run, data="also/gone")


def test_films_of_other_weights_are_not_imagined(run: Path) -> None:
    plan = json.loads((run / "plan.json").read_text())
    plan["protocol"]["models"][0]["weights"] = "0" * 64
    (run / "plan.json").write_text(json.dumps(plan))
    shown = world_page(run)
    assert "played with other weights" in shown.missing and shown.rollouts is not None
    assert all(one.panels == ["real", "goal"] for one in shown.episode_cards)


def test_a_damaged_plan_is_one_sentence(run: Path) -> None:
    (run / "plan.json").write_text('{"protocol": {}}')
    with pytest.raises(UserError, match=r"plan\.json is not what"):
        read_acting(run)


def test_the_numbers_are_those_of_the_plan(world_run: Path) -> None:
    found = read_acting(world_run)
    assert found is not None
    assert [row.name for row in found.success] == [row.method for row in found.result.rows]
    for shown, row in zip(found.success, found.result.rows, strict=True):
        assert float(shown.mean) == pytest.approx(100 * row.rate, abs=0.05)
        assert shown.left == pytest.approx(100 * row.interval[0], abs=0.01)
    assert bar("x", 0.5, (0.25, 0.75)).left == 25 and bar("x", 0.5, (0.25, 0.75)).width == 50
    assert bar("x", -3, (-4, 0.5)).left == 0  # R² may be far below the axis


def test_the_model_is_left_as_it_is(world_run: Path) -> None:
    model = load(world_run)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    decoding.StateViewer.of(model, open_windows(model))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_decoder_draws_what_is_in_the_states(world_run: Path) -> None:
    model, window = load(world_run), dots.windows(64, 3)
    frames, states = window.frames, model.encode(window.frames).detach()
    decoder = fit_decoder(model, frames, states, updates=150)
    drawn = decoder.draw(states)
    assert drawn.shape == frames.shape and drawn.dtype == torch.uint8
    errors = (drawn.float() - frames.float()).square().mean((2, 3, 4))
    usual = frames.float().mean((0, 1), keepdim=True)
    assert errors.mean() < 0.5 * (usual - frames.float()).square().mean()
    assert torch.equal(drawn, fit_decoder(model, frames, states, updates=150).draw(states))


def test_what_moves_counts_as_much_as_what_stands() -> None:
    windows = torch.zeros(2, 5, 3, 8, 8)
    windows[:, 2, :, 3, 3] = 1.0
    weights = moving(windows)
    assert weights.shape == (2, 5, 1, 8, 8) and weights.mean() == pytest.approx(2)
    assert weights[0, 0, 0, 3, 3] == 1 and weights[0, 2, 0, 3, 3] == pytest.approx(1 + 5 * 64)


def test_places_are_read_off_states() -> None:
    random = torch.Generator().manual_seed(0)
    states, mixing = torch.randn(200, 3, 4, generator=random), torch.randn(12, 2, generator=random)
    truth = (states.flatten(1) @ mixing).numpy()
    read = LinearReading(states[:150], truth[:150])(states[150:])
    assert np.abs(read - truth[150:]).max() < 0.2


def test_imagination_follows_the_actions_and_looks_again(world_run: Path) -> None:
    model = load(world_run)
    looking = decoding.StateViewer(model, None, None, [], None)  # ty: ignore[invalid-argument-type]
    window = dots.windows(1, 6)
    states, actions = looking.encode(window.frames[0], window.state[0]), window.actions[0]
    whole, each = looking.follow(states, actions, 5), looking.follow(states, actions, 1)
    assert whole.shape == each.shape == states.shape
    assert torch.allclose(whole[:2], each[:2], atol=1e-6) and not torch.allclose(
        whole[3:], each[3:], atol=1e-4
    )
    alone = model.rollout(states[None, 2:3], actions[None, None, 2:3])[0, 0]
    assert torch.allclose(each[3:4], alone, atol=1e-6)
