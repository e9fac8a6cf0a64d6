"""V-JEPA 2-AC: from films and logs to an action, as the docs have it."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("h5py")


@pytest.mark.filterwarnings("ignore::openjepa.OpenJEPAWarning")
def test_the_documented_lines_lead_from_films_and_logs_to_an_action(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parents[2] / "docs" / "video.md").read_text()
    (code,) = [c for c in re.findall(r"^```py\n(.*?)^```$", page, flags=re.M | re.S) if "vjepa2-ac" in c]
    known: dict[str, Any] = {}
    exec(compile(code, "<documentation>", "exec"), known)
    action, world = known["action"], known["world"]
    assert action.shape == (1, 3) and np.isfinite(action).all()
    assert (action >= world.actions.low - 1e-6).all() and (action <= world.actions.high + 1e-6).all()
    assert known["model"].encoder.grid == (8, 8)
    moved = world.step(known["start"], action, np.random.default_rng(0))
    assert np.abs(moved.values - known["start"].values).sum() > 0
