"""Point 2 of the benchmarks of acting at minimal size."""

from pathlib import Path

import pytest
from benchmarks.acting import maze
from benchmarks.acting.common import Data, Settings

from . import dots
from .evals.planning.test_hierarchy import ABOVE

pytest.importorskip("h5py")


def test_flat_two_levels_and_true_sub_goals_play_one_protocol(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maze, "DATA", Data("maze", {"rooms": 3, "size": 16}, episodes=12, steps=12))
    few = {"planner__samples": 8, "planner__elites": 2, "planner__iterations": 1}
    for name, options in maze.METHODS.items():
        small = {"planner__horizon": 3 if "far" in name else 2, "planner__execute": 2}
        monkeypatch.setitem(maze.METHODS, name, {**options, **small, **few})
    train = {name: str(value) for name, value in dots.options("h-jepa", train__steps=2).items()}
    plan = {**ABOVE, "higher.planner.horizon": "2", "budget": "4", "baselines": "[random]"}
    settings = Settings(seeds=(0, 1), episodes=4, train=train, plan=plan, runs=tmp_path)
    found = maze.measure(settings)
    assert list(found["methods"]) == list(maze.METHODS)
    for method in found["methods"].values():
        assert method["episodes"] == 8 and sum(near["episodes"] for near in method["by_distance"]) == 8
        assert method["protocol"]["difficulty"] == {"turns": 2}
    edges = {tuple((b["from"], b["to"]) for b in m["by_distance"]) for m in found["methods"].values()}
    assert len(edges) == 1  # the same problems
    asked = {name: method["predictions"] for name, method in found["methods"].items()}
    assert asked["flat, twice as far"] > asked["flat"] and asked["two levels"] > asked["true sub-goals"]
    text = maze.as_markdown(found)
    assert "| two levels |" in text and "| random policy |" in text and found["far"]["wins"] is False
