"""Open-loop evaluation: its numbers on worlds whose answer is known, and what it refuses."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import openjepa
from openjepa import cli
from openjepa.errors import UserError
from openjepa.evals.planning.cloning import open_windows
from openjepa.evals.world_models import situations
from openjepa.evals.world_models.open_loop import open_loop
from openjepa.evals.world_models.open_loop_table import (
    BLIND,
    CHANGE,
    CHANGE_OTHERS,
    COPY,
    LINEAR,
    MODEL,
    OTHERS,
    READ,
    TRUE,
    VARIABLES,
    OpenLoopTable,
)
from openjepa.evals.world_models.preferences import ALIKE, ANY, of_other_episodes
from openjepa.report.record import read_record
from openjepa.report.shown import Shown
from openjepa.report.world_models.open_loop import open_loop as open_loop_section
from openjepa.worlds.actions import Box
from openjepa.worlds.episodes import Episode, Episodes
from openjepa.worlds.records import EpisodeRecording, Raw, settle
from openjepa.worlds.store import Store

from ... import dots
from ...world_models.test_proprioception import OPTIONS, SHARED
from ...worlds.sets import Memory

pytest.importorskip("h5py")


def walks(count: int = 12, length: int = 16, seed: int = 0) -> list[Episode]:
    """A dot that goes where its actions say; the state is its place, and a number that never changes."""
    rng, made = np.random.default_rng(seed), []
    for _ in range(count):
        actions = rng.uniform(-1.5, 1.5, (length, 2)).astype(np.float32)
        places = [rng.uniform(4, 12, 2)]
        for action in actions:
            places.append(np.clip(places[-1] + action, 2, 14))
        row, column = np.mgrid[:16, :16] + 0.5
        frames = [
            np.repeat((255 * np.exp(-((column - x) ** 2 + (row - y) ** 2) / 4)).astype(np.uint8)[None], 3, 0)
            for x, y in places
        ]
        state = np.concatenate([np.array(places, np.float32), np.ones((length + 1, 1), np.float32)], 1)
        made.append(Episode(np.stack(frames), actions, state))
    return made


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("logs") / "walks"
    store = Store(folder, (3, 16, 16), Box.symmetric(1.5, 2), ("x", "y", "still"), {"world": "dots"})
    store.add(walks())
    store.finish()
    return folder


@pytest.fixture(scope="module")
def run(logs: Path) -> Path:
    out = logs.parent / "run"
    openjepa.train("pldm", data=str(logs), out=out, options=dots.options("pldm", train__steps=3))
    return out


class Oracle(torch.nn.Module):
    """A world model whose states are the places of the dot, and which knows how actions move it."""

    def __init__(self, model: Any, deaf: bool = False) -> None:
        super().__init__()
        self.inner, self.deaf = model, deaf

    def __getattr__(self, name: str) -> Any:
        return super().__getattr__(name) if name in ("inner", "_modules") else getattr(self.inner, name)

    def encode(self, frames: torch.Tensor, actions: Any = None) -> torch.Tensor:
        weight = frames.float().mean(2)
        weight = weight / weight.sum((-2, -1), keepdim=True)
        axis = torch.arange(16) + 0.5
        return torch.stack([(weight.sum(-2) * axis).sum(-1), (weight.sum(-1) * axis).sum(-1)], -1)

    def rollout(
        self, state: torch.Tensor, actions: torch.Tensor, z: Any = None, past: Any = None
    ) -> torch.Tensor:
        moves = torch.zeros_like(actions) if self.deaf else actions
        places = [state[:, None, -1].expand(-1, actions.shape[1], -1)]
        for t in range(actions.shape[2]):
            places.append((places[-1] + moves[:, :, t]).clamp(2, 14))
        return torch.stack(places[1:], 2)

    @property
    def state_layout(self) -> Any:
        return type("Layout", (), {"shape": (2,), "grid": (1, 1)})


def judged(run: Path, deaf: bool = False, **options: Any) -> OpenLoopTable:
    model: Any = Oracle(openjepa.load(run), deaf)
    return open_loop(model, horizon=4, goals=30, candidates=8, **options)


def test_a_model_that_knows_the_world_is_told_from_those_that_do_not(run: Path) -> None:
    table = judged(run)
    assert table.steps == (1, 2, 3, 4) and table.episodes == 4 and table.variables == ("x", "y")
    ours, copied, linear, blind, others = (
        np.array(table.curve(name).values) for name in (MODEL, COPY, LINEAR, BLIND, OTHERS)
    )
    assert (ours < 0.05).all() and (ours < linear).all() and (linear < blind).all() and (copied > 0.1).all()
    assert (others > 5 * ours).all() and table.uses_actions and table.ratio[1] > 5
    physical = {one.name: one.values[-1] for one in table.physical}
    assert physical[CHANGE] < 0.5 < physical[COPY] and physical[READ] < 0.5
    assert physical[CHANGE_OTHERS] > 3 * physical[CHANGE] and physical[TRUE] < physical[COPY]
    assert physical[LINEAR] < physical[BLIND] < physical[COPY] * 1.2
    assert set(table.each) == set(physical) and len(table.each[COPY]) == 2
    chosen = {(one.name, one.among): one for one in table.preferences}
    assert chosen[MODEL, ANY].first > 0.9 and chosen[MODEL, ANY].rank < 1.2
    assert chosen[MODEL, ALIKE].first > 0.8 and chosen[VARIABLES, ANY].first > 0.5
    assert any("still" in note for note in table.notes)


def test_a_model_that_ignores_actions_is_found_out(run: Path) -> None:
    table = judged(run, deaf=True)
    assert not table.uses_actions and table.ratio == pytest.approx((1, 1, 1))
    assert "Nothing shows that it uses the actions" in str(table)
    (model,) = [one for one in table.preferences if (one.name, one.among) == (MODEL, ANY)]
    assert model.first == 0 and model.rank == pytest.approx((table.candidates + 1) / 2)  # all are alike to it
    assert table.curve(MODEL).values == pytest.approx(table.curve(COPY).values)


def test_it_is_the_same_again_and_survives_its_file(run: Path) -> None:
    first, second = judged(run), judged(run)
    assert first == second and OpenLoopTable.from_dict(json.loads(json.dumps(first.to_dict()))) == first
    assert judged(run, seed=1) != first
    damaged = first.to_dict() | {"steps": [1]}
    with pytest.raises(ValueError, match="unequal length"):
        OpenLoopTable.from_dict(damaged)


def test_others_are_of_other_episodes() -> None:
    episode = np.array([0, 0, 1, 1, 2])
    others = of_other_episodes(episode, np.arange(5), 3, np.random.default_rng(0))
    assert (episode[others] != episode[:, None]).all() and all(len(set(row)) == 3 for row in others.tolist())


def test_variables_are_chosen_by_name_and_unknown_ones_left_out(run: Path, logs: Path) -> None:
    assert judged(run, variables=["x"]).variables == ("x",)
    with pytest.raises(UserError, match="records x, y, still, not 'elbow'"):
        judged(run, variables=["elbow"])
    made = walks(seed=1, count=4)
    for one in made:
        one.state[5, 0] = np.nan
    table = judged(run, test=str(saved(logs.parent / "holes", made)))
    assert table.episodes == 4 and any("lack a variable" in note for note in table.notes)
    assert VARIABLES not in {one.name for one in table.preferences}


def test_too_little_is_refused_in_a_sentence(run: Path, logs: Path, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(UserError, match="ask for fewer frames"):
        open_loop(openjepa.load(run), horizon=100)
    one = saved(logs.parent / "uneven", uneven())
    with pytest.raises(UserError, match="only one episode to predict is long enough"):
        judged(run, test=str(one))
    with pytest.raises(SystemExit):
        cli.main(["openloop", str(run), "--horizon", "0"])
    assert "not within 1 and 1000" in capsys.readouterr().err


def uneven() -> list[Episode]:
    """One episode that is long enough, one that is not."""
    made = walks(2, seed=2)
    short = made[1]
    return [made[0], Episode(short.frames[:4], short.actions[:3], short.state[:4])]


def saved(folder: Path, made: list[Episode]) -> Path:
    store = Store(folder, (3, 16, 16), Box.symmetric(1.5, 2), ("x", "y", "still"), {"world": "dots"})
    store.add(made)
    store.finish()
    return folder


def test_the_command_keeps_its_result_and_the_report_shows_it(
    run: Path, capsys: pytest.CaptureFixture
) -> None:
    cli.main(["openloop", str(run), "--horizon", "3", "--goals", "10", "--candidates", "4", "--json"])
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((run / "openloop.json").read_text()) and printed["steps"] == [1, 2, 3]
    shown = Shown(read_record(run), None)
    section = open_loop_section(shown)
    assert section is not None and "beginning alike" in section.html and "chance" in section.html
    assert section.html.count("<svg") == 2 and "Error of 2 recorded variables" in section.html
    (run / "openloop.json").write_text("{}")
    with pytest.raises(UserError, match="is not what `openjepa openloop` writes"):
        open_loop_section(shown)
    (run / "openloop.json").unlink()
    section = open_loop_section(shown)
    assert section is not None and "Not measured yet" in section.html


def test_without_variables_states_alone_are_judged(run: Path) -> None:
    made = walks(12, seed=3)
    raws = [Raw(f"episode {i}", len(e.frames), e.actions) for i, e in enumerate(made)]
    recording: EpisodeRecording = settle("bare", raws, Memory([e.frames for e in made]), [])
    bare = Episodes(recording)
    model = openjepa.train("pldm", data=bare, options=dots.options("pldm", train__steps=2))
    assert open_windows(model, bare).episodes.variables == ()  # ty: ignore[invalid-argument-type]
    table = open_loop(model, bare, horizon=3, goals=8, candidates=4)  # ty: ignore[invalid-argument-type]
    assert not table.physical and not table.variables and len(table.preferences) == 4


@pytest.mark.parametrize("name", ["lewm", "dino-wm with proprioception"])
def test_models_that_look_back_or_hold_proprioception_are_judged(
    name: str, logs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(situations, "COMPONENTS", 12)
    options = dots.options("lewm") if name == "lewm" else {**SHARED, **OPTIONS[name]}
    options |= {"signal.size": 16, "train.steps": 2, "signal.block": 1}
    out = tmp_path / "run"
    openjepa.train(name.split()[0], data=str(logs), out=out, options=options)
    table = open_loop(openjepa.load(out), horizon=3, goals=6, candidates=4, windows=40)
    assert table.steps == (1, 2, 3) and all(np.isfinite(one.values).all() for one in table.states)
    assert table.curve(COPY, physical=True).values[0] > 0
    if name != "lewm":  # joints are given with the state, so they are read off a true one nearly exactly
        assert any("12 principal components" in note for note in table.notes)
        true, copied = (table.curve(curve, physical=True).values[-1] for curve in (TRUE, COPY))
        assert true < 0.3 * copied
