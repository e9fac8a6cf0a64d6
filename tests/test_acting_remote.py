"""Point 3 of the benchmarks of acting at minimal size."""

from dataclasses import replace
from pathlib import Path

import pytest
from benchmarks.acting import common, remote
from benchmarks.acting.common import Settings

from openjepa.evals.planning import RemoteProtocol
from openjepa.evals.planning import remote as evaluate

from . import dots
from .evals.planning.test_remote import SMALL

pytest.importorskip("h5py")


def test_success_is_written_beside_transmissions_and_played_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = {"options": {"begin": "upright", "size": 16}, "episodes": 12, "steps": 10}
    monkeypatch.setattr(remote, "DATA", replace(remote.DATA, **small))
    train = {name: str(value) for name, value in dots.options("remote-jepa", train__steps=2).items()}
    plan = {name: value for name, value in SMALL.items() if name not in ("episodes", "loss")}
    settings = Settings(seeds=(0, 1), episodes=3, train=train, plan=plan, runs=tmp_path)
    found = remote.measure(settings)
    assert found["protocol"]["difficulty"] == {"target": [0, 0]} and len(found["protocol"]["models"]) == 2
    assert list(found["receivers"]) == ["predicts", "keeps the last"]
    for rows in found["receivers"].values():
        assert rows[0]["schedule"] == "always" and rows[0]["share"] == 1 and rows[0]["sent"] == 7
        assert {row["schedule"] for row in rows} >= {"every 3 steps"}
        assert all(row["episodes"] == 6 and len(row["rates"]) == 2 for row in rows)
    assert [row["method"] for row in found["baselines"]] == ["doing nothing", "random policy", "expert"]
    assert found["fewest"]["predicts"]["share"] <= 1
    text = remote.as_markdown(found)
    assert "| keeps the last | every 3 steps | 42.9 | 3.0 |" in text and "| expert |" in text
    monkeypatch.setattr(common, "_play", None)
    assert remote.measure(settings) == found
    protocol = RemoteProtocol.parse(found["protocol"])
    joined = common.played(settings, {"again": protocol})["again"]
    assert joined.protocol == protocol and joined.same_outcomes(evaluate(protocol))


def test_the_fewest_transmissions_that_are_not_told_apart() -> None:
    shared = {"sent": 1.0, "success": 0.5}
    rows = [
        {**shared, "schedule": name, "share": share, "low": low, "high": high}
        for name, share, low, high in (("a", 1, 0.8, 0.9), ("b", 0.5, 0.7, 0.8), ("c", 0.2, 0.6, 0.7))
    ]
    assert remote._fewest(rows)["schedule"] == "b"
