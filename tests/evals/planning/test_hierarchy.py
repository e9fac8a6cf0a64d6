"""Flat planning, level 2's sub-goals and the truth's, on one protocol."""

from pathlib import Path

import pytest

import openjepa
from openjepa import cli
from openjepa.errors import UserError
from openjepa.evals.planning import evaluate, protocol_for
from openjepa.evals.planning.players import Planned
from openjepa.evals.planning.protocol import load_world_model

from ... import dots
from .test_protocol import SMALL

pytest.importorskip("h5py")

TINY = {
    name: value
    for name, value in SMALL.items()
    if name.startswith(("planner", "episodes", "budget", "batch"))
}
WANTED = {**TINY, "baselines": "[]", "planner.execute": "2"}
ABOVE = {"higher.planner.samples": "6", "higher.planner.elites": "2", "higher.planner.iterations": "2"}
LEVEL2 = {**WANTED, **ABOVE, "higher.planner.horizon": "2", "level": "2"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("hierarchy")
    collect = ["collect", "maze", "--episodes", "12", "--steps", "8", "--size", "16"]
    cli.main([*collect, "--out", str(folder / "episodes"), "--json"])
    for recipe in ("h-jepa", "pldm"):
        options = dots.options(recipe, train__steps=2)
        openjepa.train(recipe, data=str(folder / "episodes"), out=folder / recipe, options=options)
    return {recipe: str(folder / recipe) for recipe in ("h-jepa", "pldm")}


def test_levels_play_the_same_problems_and_every_prediction_counts(runs: dict[str, str]) -> None:
    run = [runs["h-jepa"]]
    flat = evaluate(protocol_for(run, changes=WANTED)).rows[0]
    chosen = protocol_for(run, changes=LEVEL2)
    planned = evaluate(chosen)
    oracle = evaluate(protocol_for(run, changes=LEVEL2 | {"higher.subgoals": "oracle"})).rows[0]
    rows = [flat, planned.rows[0], oracle]
    assert len({tuple(outcome.distance for outcome in row.outcomes) for row in rows}) == 1
    each, above = 3 * (8 * 2 + 1), 2 * (6 * 2 + 1)  # horizon times samples, iterations and the answer
    for row, asked in zip(rows, (each, each + above + 1, each), strict=True):
        for outcome in row.outcomes:
            assert outcome.predictions == asked * -(-outcome.steps // 2)
    assert evaluate(chosen).same_outcomes(planned)


def test_an_episode_alone_goes_as_among_others(runs: dict[str, str]) -> None:
    for changes in ({}, {"higher.subgoals": "oracle"}):
        together, alone = (
            evaluate(protocol_for([runs["h-jepa"]], changes=LEVEL2 | changes | {"batch": batch}))
            for batch in ("3", "1")
        )
        assert together.rows[0].outcomes == alone.rows[0].outcomes


def test_the_truth_can_guide_a_model_of_one_level(runs: dict[str, str]) -> None:
    wanted = WANTED | {"level": "2", "higher.subgoals": "oracle", "higher.ahead": "3"}
    assert len(evaluate(protocol_for([runs["pldm"]], changes=wanted)).rows[0].outcomes) == 3
    protocol = protocol_for([runs["pldm"]], changes=WANTED | {"level": "2"})
    with pytest.raises(UserError, match="one level: train h-jepa"):
        Planned(load_world_model(runs["pldm"]), protocol)


def test_the_command_line_chooses_the_level(
    runs: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [word for name, value in LEVEL2.items() for word in (f"--{name}", value)]
    cli.main(["plan", runs["h-jepa"], *words, "--out", str(tmp_path / "plan.json")])
    assert "planning" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        cli.main(["plan", runs["h-jepa"], "--level", "3"])
    assert "level" in capsys.readouterr().err
