"""The benchmark of waiting for clips: both ways are measured, and what is waited for counts."""

import json
import time
from pathlib import Path

import pytest
from benchmarks import clip_wait

from openjepa.signals.video import clips

from .signals.video.films import film, write


def test_both_ways_are_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clips, "IN_MEMORY_BYTES", clips.IN_MEMORY_BYTES)
    write(tmp_path / "films", {f"a/{i}-0.mp4": film(16) for i in range(20)})
    small = [
        "--data",
        str(tmp_path / "films"),
        "--preset",
        "tiny-vit",
        "--batch",
        "2",
        "--steps",
        "2",
        "--rounds",
        "1",
    ]
    clip_wait.main([*small, "--results", str(tmp_path)])
    found = json.loads((tmp_path / "clip-wait-v-jepa-tiny-vit.json").read_text())
    assert found["clips"] == 20 and len(found["cpu_seconds"]["decoding"]) == 1
    assert all(0 <= share < 1 for shares in found["shares"].values() for share in shares)
    text = (tmp_path / "clip-wait-v-jepa-tiny-vit.md").read_text()
    assert "| held in memory |" in text and "| decoded by workers |" in text


def test_waiting_is_what_the_next_item_takes() -> None:
    def slow():
        for i in range(3):
            time.sleep(0.05)
            yield i

    waits = clip_wait.Waits(slow())
    assert list(waits) == [0, 1, 2] and 0.15 <= waits.seconds < 5
