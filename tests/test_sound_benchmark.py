"""The benchmark of sounds: nobody is trained on and scored, folds are those of the data, tables are kept."""

import json
from pathlib import Path

import numpy as np
import pytest
from benchmarks.folds import averaged, measured
from benchmarks.sound_choices import MASKS, compared
from benchmarks.sounds import split, study

from openjepa.evals.table import ProbeTable, Score
from openjepa.signals.audio import AudioSignal

soundfile = pytest.importorskip("soundfile")


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for digit in range(3):
        for speaker in range(6):
            for take in range(3):
                time = np.arange(4000) / 8000
                sound = 0.3 * np.sin(2 * np.pi * (300 + 300 * digit + 10 * speaker) * time) + rng.normal(
                    0, 0.01, 4000
                )
                soundfile.write(tmp_path / f"{digit}_s{speaker}_{take}.wav", sound, 8000)
    return tmp_path


def test_every_speaker_is_left_out_once(digits: Path):
    signal = AudioSignal(seconds=0.32, bands=32, patch=8, names="{label}_{group}_{take}")
    samples, seen = signal.open(digits), []
    for fold in range(6):
        others, held = split(samples, fold)
        assert len(others) == 45 and len(held) == 9
        assert not set(others.labels.groups) & set(held.labels.groups) and len(set(held.labels.groups)) == 1
        seen.append(held.labels.groups[0])
    assert len(set(seen)) == 6


def test_a_fold_is_trained_probed_and_kept(digits: Path, tmp_path: Path):
    options = {"train.steps": "2", "train.batch_size": "8", "train.precision": "fp32"}
    asked = study("fsdd", digits, "a-jepa", "tiny", options)
    out = tmp_path / "out"
    assert measured(asked, out, fold=1) is None
    kept = json.loads((out / "fold1.json").read_text())
    rows = {score["row"] for score in kept["scores"]}
    assert {"model", "random init", "MiniRocket", "k-means codes", "model + best classical"} <= rows
    before = (out / "fold1.json").stat().st_mtime_ns
    measured(asked, out, fold=1)
    assert (out / "fold1.json").stat().st_mtime_ns == before


def test_averages_and_gains_are_over_folds():
    def table(shift: float) -> ProbeTable:
        rows = {"HOG": 0.5, "random init": 0.4, "model": 0.6, "model + best classical": 0.7}
        scores = [
            Score(row=row, kind="linear", labels=1.0, values=(value + shift,), tested=100, per_class=n)
            for row, value in rows.items()
            for n in (0, 10)
        ]
        return ProbeTable(scores=scores)

    text = averaged([table(0.0), table(0.1), table(0.2)], "accuracy")
    assert "| model | 70.0 [" in text and "(60.0, 70.0, 80.0)" in text
    assert "| model over random init | 20.0 [20.0, 20.0] (20.0, 20.0, 20.0) |" in text
    assert "| model + best classical over HOG | 20.0" in text


def test_the_comparison_has_a_row_for_every_mask_and_target_view(digits: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setattr("benchmarks.sound_choices.DURATIONS", (0.48,))
    monkeypatch.setattr("benchmarks.sound_choices.MASKS", {"blocks": MASKS["blocks"]})
    options = {"train.steps": "1", "train.batch_size": "8", "train.precision": "fp32"}
    text = compared(digits, tmp_path / "out", 1, "tiny", options)
    head, *rows = (line.strip("| ").split(" | ") for line in text.split("\n\n")[0].splitlines())
    assert head == ["mask", "target sees", "0.48 s", "0.48 s, 10 per class"]
    assert [row[:2] for row in rows[1:3]] == [["blocks", "hidden patches"], ["blocks", "all patches"]]
    assert len(rows) == 4 and rows[3][0] == "untrained"
    means = dict(line.strip("| ").split(" | ")[:2] for line in text.split("\n\n")[1].splitlines())
    scores = [float(row[2].split()[0]) for row in rows[1:3]]
    assert float(means["blocks"]) == pytest.approx(np.mean(scores), abs=0.11)
    assert float(means["all patches"]) == scores[1]
    assert compared(digits, tmp_path / "out", 1, "tiny", options) == text  # kept, not computed again
