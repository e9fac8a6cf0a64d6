"""Benchmarks of acting at minimal sizes: every point measures and is written down; nothing is done twice."""

import json
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
from benchmarks import acting
from benchmarks.acting import __main__ as command
from benchmarks.acting import agents, arm, common, configurator, critic, latency, policy, surprise, two_rooms
from benchmarks.acting.agents import Turn, Way
from benchmarks.acting.common import Data, Settings
from benchmarks.acting.modules import Learning

from openjepa.agent import Task

from . import dots

pytest.importorskip("h5py")

PLAN = {
    "planner.horizon": "3",
    "planner.samples": "8",
    "planner.elites": "2",
    "planner.iterations": "1",
    "oracle.samples": "4",
    "oracle.elites": "2",
    "oracle.iterations": "1",
    "cloning.updates": "2",
    "cloning.hidden": "8",
    "budget": "3",
    "planner.execute": "1",
}

BESIDE = ["doing nothing", "random policy", "behaviour cloning", "expert", "oracle planner"]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    train = {name: str(value) for name, value in dots.options("pldm", train__steps=2).items()}
    runs = tmp_path_factory.mktemp("acting")
    return Settings(
        seeds=(0, 1), episodes=2, recipes=("pldm",), planners=("cem",), train=train, plan=PLAN, runs=runs
    )


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    rooms = Data("two-rooms", {"vary": ["wall", "door", "hazard"], "size": 16}, episodes=24, steps=12)
    for module, name in ((two_rooms, "DATA"), (agents, "HAZARDS")):
        monkeypatch.setattr(module, name, rooms)
    brief = {
        "plans": 6,
        "distilled": 3,
        "optimised": 2,
        "horizon": 2,
        "rounds": 1,
        "worlds": 8,
        "improved": 2,
    }
    monkeypatch.setattr(agents, "LEARNING", Learning(**brief))
    monkeypatch.setattr(configurator, "STEPS", 5)
    monkeypatch.setattr(latency, "DECISIONS", 4)
    monkeypatch.setattr(latency, "TURN", 2)


def test_every_point_is_known_to_the_command() -> None:
    assert {"two-rooms", "critic", "policy", "configurator", "surprise", "state", "latency"} <= set(
        command.POINTS
    )
    for name in command.POINTS:
        module = command.point(name)
        assert callable(module.measure) and callable(module.as_markdown) and module.__doc__
    assert acting.__doc__


def test_two_rooms_compares_methods_and_does_nothing_twice(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(two_rooms, "ABLATIONS", {"last-step cost": ({}, {"cost__reduce": "last"})})
    words = ["two-rooms", "--seeds", "0", "1", "--episodes", "2", "--recipes", "pldm", "--planners", "cem"]
    words += ["--runs", str(settings.runs), "--results", str(tmp_path), "--set"]
    words += [f"{name}={value}" for name, value in settings.train.items()]
    words += ["--plan", *(f"{name}={value}" for name, value in PLAN.items())]
    command.main(words)
    found = json.loads((tmp_path / "acting-two-rooms.json").read_text())
    assert set(found["methods"]) == {"pldm, cem", "pldm, cem, last-step cost"}
    first = found["methods"]["pldm, cem"]
    assert (
        first["episodes"] == 4
        and len(first["rates"]) == 2
        and first["low"] <= first["success"] <= first["high"]
    )
    assert {row["method"] for row in first["baselines"]} >= {
        "random policy",
        "oracle planner",
        "behaviour cloning",
    }
    assert first["protocol"]["cost"]["reduce"] == "sum"
    text = (tmp_path / "acting-two-rooms.md").read_text()
    assert "| pldm, cem, last-step cost |" in text and text in capsys.readouterr().out
    before = {path: path.stat().st_mtime_ns for path in settings.runs.rglob("*") if path.is_file()}
    command.main(words)
    assert before == {path: path.stat().st_mtime_ns for path in settings.runs.rglob("*") if path.is_file()}


def test_the_arm_compares_world_models_on_frozen_encoders_trained_on_its_films(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = {"train.steps": 2, "train.batch_size": 8, "train.precision": "fp32", "train.attention": "fused"}
    monkeypatch.setattr(arm, "DATA", Data("arm", {"size": 64}, "scripted", episodes=24, steps=12))
    monkeypatch.setattr(
        arm, "ENCODERS", {name: (r, p, {**o, **small}) for name, (r, p, o) in arm.ENCODERS.items()}
    )
    monkeypatch.setattr(
        arm, "MODELS", {name: (r, e, {**o, **small}) for name, (r, e, o) in arm.MODELS.items()}
    )
    monkeypatch.setattr(arm, "DECISIONS", 2)
    names = ("vjepa2-ac on v-jepa-2", "dino-wm on lejepa")
    few = {"planner.samples": "4", "planner.elites": "2", "planner.iterations": "1", "cloning.updates": "2"}
    few |= {"budget": "3", "oracle.samples": "4", "oracle.elites": "2", "oracle.iterations": "1"}
    settings = Settings(seeds=(0,), episodes=2, recipes=names, plan=few, runs=tmp_path)
    found = arm.measure(settings)
    assert set(found["methods"]) == set(names)
    first = found["methods"][names[0]]
    assert {row["method"] for row in first["baselines"]} == set(BESIDE)
    assert 0 < first["seconds"]["p50"] <= first["seconds"]["p99"]
    sources = {run.parent.name for run in tmp_path.glob("*/model")}
    assert len(sources) == 4 and sum("v-jepa-2-tiny" in name for name in sources) == 1
    text = arm.as_markdown(found)
    assert all(f"| {name} |" in text for name in (*names, *BESIDE))


def test_what_is_trained_differently_is_another_run(settings: Settings) -> None:
    data = common.collected(settings, two_rooms.DATA)
    one = replace(settings, seeds=(0,))
    plain, other = common.trained(one, "pldm", data), common.trained(one, "pldm", data, {"terms.inverse": 0})
    assert plain[0].path != other[0].path
    assert common.trained(one, "pldm", data, {"terms.inverse": 0}) == other
    assert plain[0].minutes > 0 and plain[0].verdict


def test_a_critic_is_measured_beside_horizons_and_danger_by_weight(settings: Settings) -> None:
    found = critic.measure(settings)
    assert list(found["critic"]) == [
        "horizon 3",
        "horizon 1",
        "horizon 1 and critic",
        "horizon 1, critic and policy",
    ]
    long, short, ours, _ = found["critic"].values()
    assert long["predictions"] > 2 * short["predictions"] and short["predictions"] == ours["predictions"]
    assert list(found["danger"]) == ["danger weighs 0", "danger weighs 1", "danger weighs 10"]
    assert list(found["baselines"]) == [*BESIDE, "cautious expert"]
    text = critic.as_markdown(found)
    assert "| horizon 1 and critic |" in text and text.count("| oracle planner |") == 2
    kept = {path: path.stat().st_mtime_ns for path in settings.runs.glob("modules/*")}
    assert len(kept) == 4  # a critic with its policy, and a detector, of each seed
    for path in settings.runs.glob("plans/*"):
        path.unlink()
    assert (
        critic.measure(settings)["danger"]["danger weighs 1"]["final"]
        == found["danger"]["danger weighs 1"]["final"]
    )
    assert kept == {path: path.stat().st_mtime_ns for path in settings.runs.glob("modules/*")}


def test_mode_1_is_measured_beside_mode_2(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(two_rooms, "ABLATIONS", {})
    two_rooms.measure(settings)
    before = set(settings.runs.glob("plans/*"))
    found = policy.measure(settings)
    assert len(set(settings.runs.glob("plans/*")) - before) == 4  # mode 1 alone is new, of each seed
    rows = found["rows"]
    assert list(rows) == ["mode 2", "mode 1", "mode 1 without exploration noise"]
    assert list(found["baselines"]) == BESIDE
    asked = [rows[name]["predictions"] for name in reversed(rows)]
    assert (
        asked == sorted(asked) and asked[0] == 0 < asked[1] < 0.1 * asked[2]
    )  # it foresees each step that it takes
    assert found["times as fast"] > 1
    assert "| mode 1 |" in policy.as_markdown(found)


def test_one_agent_is_given_three_tasks(settings: Settings) -> None:
    found = configurator.measure(settings)
    assert list(found["rows"]) == ["reach", "reach while avoiding", "explore"]
    assert list(found["baselines"]) == [*BESIDE, "cautious expert"]
    assert set(found["cells"]) == {"explore", "random walk", "uniform"}
    assert len(found["cells"]["explore"]["shares"]) == 4
    assert "| explore |" in configurator.as_markdown(found)


def test_turns_travel_to_other_processes_and_are_kept_by_what_they_depend_on(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = agents.runs(settings, agents.HAZARDS)
    chosen = agents.protocol(settings, runs, budget=2)
    ways = {"reach": Way(Task.reach()), "wary": Way(Task.avoid(), ("danger",))}
    rows = agents.played(settings, chosen, runs, ways)
    assert rows["reach"]["episodes"] == 4 and len(rows["reach"]["rates"]) == 2
    turns: list[Turn] = []
    monkeypatch.setattr(common, "each", lambda settings, work, items: turns.extend(items))
    assert agents.played(settings, chosen, runs, ways) == rows and not turns
    with pytest.raises(FileNotFoundError):
        agents.played(settings, chosen, runs, {**ways, "warier": Way(Task.avoid(99), ("danger",))})
    assert [turn.seed for turn in turns] == [0, 1] and [turn.part.first for turn in turns] == [0, 1]
    path = turns[0].ways["warier"][1]
    for turn in turns:
        agents._play(pickle.loads(pickle.dumps(turn)))
    assert path.is_file() and json.loads(path.read_text())["outcomes"][0]["number"] == 0
    turns.clear()
    monkeypatch.setattr(agents, "LEARNING", replace(agents.LEARNING, optimised=3))
    assert agents.played(settings, chosen, runs, ways) == rows and not turns  # what no detector reads
    monkeypatch.setattr(agents, "LEARNING", replace(agents.LEARNING, relabelled=4))
    with pytest.raises(FileNotFoundError):
        agents.played(settings, chosen, runs, ways)
    assert len(turns) == 2


def test_surprise_is_scored_for_every_seed(settings: Settings) -> None:
    found = surprise.measure(settings)
    scores = found["recipes"]["pldm"]["scores"]
    assert len(scores) == 2 and {score["violation"] for score in scores[0]} == {"teleport", "wall"}
    assert "| pldm | wall | model |" in surprise.as_markdown(found)


def test_decisions_are_timed(settings: Settings) -> None:
    found = latency.measure(settings)
    assert set(found["seconds"]) == {"mode 2", "mode 1"}
    assert all(0 < one["p50"] <= one["p99"] for one in found["seconds"].values())
    assert "| mode 1 |" in latency.as_markdown(found)
