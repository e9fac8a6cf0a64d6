"""A protocol: from a run to a table, saved, and played again to the same outcomes."""

import errno
import json
import warnings
from pathlib import Path

import pytest
import torch

import openjepa
from openjepa import cli
from openjepa.agent.planners import CEM
from openjepa.common.progress import Waiting
from openjepa.config import override
from openjepa.errors import UserError
from openjepa.evals.planning import (
    PlanningProtocol,
    PlanningResult,
    evaluate,
    fingerprint,
    protocol_for,
    quick,
    surprises,
)
from openjepa.evals.planning.film import Camera, films_beside
from openjepa.evals.planning.players import Cloned, Planned
from openjepa.evals.planning.playing import problems
from openjepa.evals.planning.protocol import Trained, load_world_model
from openjepa.recipes import build, configure
from openjepa.recipes.worlds import WorldRecipe
from openjepa.worlds import make
from openjepa.worlds.collect import collect

from ... import dots

pytest.importorskip("h5py")

SMALL = dots.PLAN | {"budget": "4", "batch": "2"}
WORDS = [word for name, value in SMALL.items() for word in (f"--{name}", value)]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("planning")
    collect = ["collect", "two-rooms", "--episodes", "12", "--steps", "8", "--size", "16"]
    cli.main([*collect, "--out", str(folder / "episodes"), "--json"])
    for seed in (0, 1):
        options = dots.options("pldm", train__steps=2, train__seed=seed)
        openjepa.train("pldm", data=str(folder / "episodes"), out=folder / f"run-{seed}", options=options)
    return [str(folder / f"run-{seed}") for seed in (0, 1)]


def test_a_protocol_takes_world_and_options_from_the_run(runs: list[str]) -> None:
    protocol = protocol_for(runs, changes={"planner": "mppi", "planner.horizon": "2", "cost.reduce": "last"})
    assert protocol.env == "two-rooms" and protocol.world().frame == (3, 16, 16)
    assert (
        protocol.planner.kind == "mppi" and protocol.planner.horizon == 2 and protocol.cost.reduce == "last"
    )
    assert [model.weights for model in protocol.models] == [
        fingerprint(load_world_model(run)) for run in runs
    ]
    assert protocol.models[0].weights != protocol.models[1].weights
    maze = protocol_for(runs[:1], env="maze")
    assert maze.world().frame == (3, 16, 16)


def test_plans_are_made_as_the_preset_was_measured_unless_something_else_is_asked_for(
    runs: list[str],
) -> None:
    protocol = protocol_for(runs[:1])
    assert (
        protocol.planner.kind == "mppi" and protocol.planner.horizon == 18 and protocol.planner.action_repeat
    )
    assert protocol.cost.prediction_error == 2.0 and protocol.episodes == 100
    other = protocol_for(runs[:1], changes={"planner": "cem", "cost.prediction_error": "0"})
    assert other.planner == CEM() and other.cost.prediction_error == 0
    first = protocol_for(runs[:1], changes=quick({}))
    assert first.episodes == 10 and first.baselines == ("nothing", "random")
    asked = protocol_for(runs[:1], changes=quick({"episodes": "3", "baselines": "[expert]"}))
    assert asked.episodes == 3 and asked.baselines == ("expert",)


@pytest.mark.parametrize("recipe", ["pldm", "lewm"])
def test_a_preset_is_not_warned_of_its_own_plans(recipe: str) -> None:
    bounds = {"condition.low": "[-2.45, -2.45]", "condition.high": "[2.45, 2.45]"}
    config = configure(recipe, "tiny", bounds)
    assert isinstance(config, WorldRecipe)
    plain = {"models": [{"run": "r"}], "env": "two-rooms"}
    protocol = PlanningProtocol.parse(override(PlanningProtocol, plain, config.plans["tiny"]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Planned(build(config), protocol)  # ty: ignore[invalid-argument-type]


def test_a_first_try_plays_few_episodes_and_shows_a_bar_at_once(
    runs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    moved: list[tuple[str, int, int]] = []
    shown = Waiting.__call__

    def watch(self: Waiting, what: str, done: int, total: int) -> None:
        moved.append((what, done, total))
        shown(self, what, done, total)

    monkeypatch.setattr(Waiting, "__call__", watch)
    words = ["--planner.samples", "4", "--planner.elites", "2", "--planner.horizon", "2", "--budget", "2"]
    cli.main(
        ["plan", runs[0], "--quick", "--episodes", "2", *words, "--out", str(tmp_path / "x.json"), "--json"]
    )
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["method"] for row in rows] == ["planning", "doing nothing", "random policy"]
    assert moved[0] == ("loading", 0, 1) and ("episodes of planning", 0, 2) in moved


def test_it_is_saved_and_played_again_to_the_same_outcomes(
    runs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = tmp_path / "first.json"
    cli.main(["plan", *runs, *WORDS, "--out", str(first), "--json"])
    said = json.loads(capsys.readouterr().out)
    result = PlanningResult.from_dict(json.loads(first.read_text()))
    assert said == json.loads(first.read_text())
    protocol = PlanningProtocol.read(first)
    assert protocol == result.protocol
    protocol.save(tmp_path / "protocol.json")
    cli.main(
        [
            "plan",
            "--protocol",
            str(tmp_path / "protocol.json"),
            "--out",
            str(tmp_path / "second.json"),
            "--json",
        ]
    )
    capsys.readouterr()
    again = PlanningResult.from_dict(json.loads((tmp_path / "second.json").read_text()))
    assert again.same_outcomes(result) and again.protocol == protocol
    parts = [evaluate(part) for part in protocol.parts()]
    assert PlanningResult.joined(protocol, parts).same_outcomes(result)
    methods = [row.method for row in result.rows]
    beside = ["doing nothing", "random policy", "behaviour cloning", "expert", "oracle planner"]
    assert methods == ["planning", *beside]
    for row in result.rows:
        assert [outcome.number for outcome in row.outcomes] == [0, 1, 2, 3, 4, 5] and row.runs == 2
        assert [o.distance for o in row.outcomes] == [o.distance for o in result.rows[0].outcomes]
    planned = result.row().outcomes[0]
    assert planned.steps == 4 and planned.predictions == 4 * 3 * (2 * 8 + 1)


def test_other_seeds_are_other_outcomes(runs: list[str]) -> None:
    results = [
        evaluate(protocol_for(runs[:1], changes=SMALL | {"baselines": "[]", "seed": seed}))
        for seed in ("0", "1")
    ]
    assert not results[0].same_outcomes(results[1])


def test_the_table_with_surprise_and_probes(runs: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    changes = ["--baselines", "[random]"]
    cli.main(["plan", runs[0], *WORDS, *changes, "--probes", "2", "--surprise"])
    said = capsys.readouterr().out
    assert "random policy" in said and "Wilson" in said and "AUROC" in said and "R²" in said
    kept = json.loads((Path(runs[0]) / "plan.json").read_text())
    assert {score["violation"] for score in kept["surprise"][0]["scores"]} == {"teleport", "wall"}
    assert {fit["variable"] for fit in kept["state"][0]["fits"]} == {"x", "y"}


def test_a_planned_episode_is_the_same_alone_and_in_a_batch(runs: list[str]) -> None:
    protocol = protocol_for(runs[:1], changes=SMALL)
    model, world = load_world_model(runs[0]), protocol.world()
    first = []
    for numbers in ([5], [4, 5, 6]):
        given, player = problems(world, 0, numbers, {}, {}), Planned(model, protocol)
        player.begin(given)
        active = (torch.ones(len(numbers)) > 0).numpy()
        first.append(player.act(given.start, world.render(given.start), active)[numbers.index(5)])
    assert first[0] == pytest.approx(first[1], abs=1e-4)


def test_a_long_horizon_warns(runs: list[str]) -> None:
    protocol = protocol_for(runs[:1], changes=SMALL | {"planner.horizon": "99", "baselines": "[]"})
    with pytest.warns(UserWarning, match="planning 99 steps ahead"):
        evaluate(protocol)


def test_mistakes_are_one_sentence(runs: list[str], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'episodes'"):
        protocol_for(runs, changes={"episode": "3"})
    with pytest.raises(UserError, match="greater than or equal to 1"):
        protocol_for(runs, changes={"episodes": "0"})
    with pytest.raises(UserError, match="name at least one run"):
        protocol_for([])
    with pytest.raises(UserError, match="cannot be read"):
        PlanningProtocol.read(tmp_path / "nothing.json")
    protocol = protocol_for(runs, changes=SMALL)
    other = Trained(run=runs[0], weights=protocol.models[1].weights)
    with pytest.raises(UserError, match="other weights"):
        evaluate(protocol.model_copy(update={"models": (other,)}))
    with pytest.raises(UserError, match="trained on frames"):
        evaluate(protocol.model_copy(update={"options": {"size": 32}}))
    with pytest.raises(UserError, match="discrete"):
        evaluate(protocol.model_copy(update={"options": {"size": 16, "headings": 4}, "baselines": ()}))
    with pytest.raises(UserError, match="unknown world"):
        evaluate(protocol.model_copy(update={"env": "two-room"}))
    with pytest.raises(UserError, match="nowhere"):
        evaluate(protocol.model_copy(update={"data": "nowhere"}))
    with pytest.raises(UserError, match="give no run or option"):
        cli.plan.run(cli.parsing.parse(["plan", runs[0], "--protocol", "x.json"]))
    with pytest.raises(UserError, match="searches discrete actions"):
        changes = {name: value for name, value in SMALL.items() if name != "planner.horizon"}
        evaluate(protocol_for(runs, changes=changes | {"planner": "categorical-cem"}))


def test_a_cloned_policy_acts_in_whole_blocks(runs: list[str]) -> None:
    from openjepa.evals.planning.cloning import clone, open_windows

    model = load_world_model(runs[0])
    protocol = protocol_for(runs[:1], changes=SMALL)
    player = Cloned(model, clone(model, open_windows(model), protocol.cloning, 0))
    given = problems(protocol.world(), 0, [0, 1], {}, {})
    player.begin(given)
    frames = given.world.render(given.start)
    actions = player.act(given.start, frames, given.start.values[:, 0] > 0)
    assert actions.shape == (2, 2) and abs(actions).max() <= given.world.actions.high[0] + 1e-6  # ty: ignore


@pytest.mark.parametrize(
    ("recipe", "headings", "planner"), [("lewm", 0, "cem"), ("pldm", 4, "categorical-cem")]
)
def test_blocks_of_actions_and_discrete_ones_are_played_and_judged(
    recipe: str, headings: int, planner: str, tmp_path: Path
) -> None:
    world = make("two-rooms", size=32, headings=headings)  # the model sees half of that
    collect(world, "random-walk", 12, 0, tmp_path / "episodes", steps=8)
    options = dots.options(recipe, train__steps=2)
    openjepa.train(recipe, data=str(tmp_path / "episodes"), out=tmp_path / "run", options=options)
    run = str(tmp_path / "run")
    changes = SMALL | {"planner": planner, "planner.horizon": "1"}
    protocol = protocol_for([run], changes=changes)
    assert protocol.options["headings"] == headings and protocol.options["size"] == 16
    assert ("oracle" in protocol.baselines) == (headings == 0)
    result = evaluate(protocol)
    assert all(not outcome.error and outcome.steps == 4 for outcome in result.row().outcomes)
    plans = 4 // load_world_model(run).block
    assert result.row().outcomes[0].predictions == plans * (2 * 8 + 1 - (headings > 0))
    assert evaluate(protocol).same_outcomes(result)
    scores = surprises(protocol, clips=4)[0].scores
    assert len(scores) == 6 and all(0 <= score.auroc <= 1 for score in scores)


def test_a_result_is_written_before_films_which_may_fail(
    runs: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "plan.json"
    films_beside(out).write_bytes(b"of another result")

    def develop(camera: Camera, outcomes: object) -> None:
        assert out.is_file() and camera.steps
        raise RuntimeError("no display")

    monkeypatch.setattr(Camera, "develop", develop)
    cli.main(["plan", runs[0], *WORDS, "--baselines", "[]", "--out", str(out), "--json"])
    said = capsys.readouterr()
    assert json.loads(said.out) == json.loads(out.read_text()) and not films_beside(out).exists()
    assert said.err.endswith(
        "openjepa: the episodes were not filmed (no display); the result is whole without\n"
    )


@pytest.mark.parametrize("command", [["--json"], ["--surprise"]])
def test_a_result_that_cannot_be_kept_is_printed(
    command: list[str],
    runs: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def full(path: Path, data: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("openjepa.common.files.write_json", full)
    with pytest.raises(SystemExit) as ended:
        cli.main(["plan", runs[0], *WORDS, "--baselines", "[]", "--out", str(tmp_path / "x.json"), *command])
    said = capsys.readouterr()
    assert ended.value.code == 2 and "planning" in said.out
    assert said.err.splitlines()[-1].endswith(
        "x.json cannot be written (No space left on device): name another file"
    )
