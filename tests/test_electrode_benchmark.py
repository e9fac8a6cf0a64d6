"""The benchmark of electrodes: nobody is trained on and scored, and windows are in microvolts."""

import lzma
from pathlib import Path

import numpy as np
import pytest
from benchmarks.electrodes import FOLDS, cut, read, split

from openjepa.signals.electrodes import ElectrodeSignal


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    random, people, length = np.random.default_rng(0), 7, 1500
    x = random.normal(0, 20, (3, 2 * people * length)).astype(np.int16)
    with lzma.open(tmp_path / "eegmat-128hz.npy.xz", "wb") as file:
        np.save(file, x)
    np.savez(
        tmp_path / "eegmat-index.npz",
        offset=np.arange(2 * people + 1) * length,
        subject=np.repeat(np.arange(people), 2),
        task=np.tile([0, 1], people),
        channels=["Fz", "T3", "O1"],
    )
    return tmp_path


def test_every_person_is_held_out_once_and_never_trained_on_then(folder: Path):
    recordings, seen = read(folder), []
    for fold in range(FOLDS):
        others, held = split(recordings, fold)
        assert len(others) + len(held) == 14
        assert not {r.subject for r in others} & {r.subject for r in held}
        seen += [r.subject for r in held]
    assert sorted(seen) == sorted(r.subject for r in recordings)


def test_windows_hold_both_classes_and_microvolts(folder: Path):
    found = cut(read(folder), ElectrodeSignal(seconds=4), 2.0)
    assert found.classes == ["arithmetic", "rest"] and found.channels == ("Fz", "T7", "O1")
    assert found.shape == (3, 280) and found.read([0]).values.std() == pytest.approx(10, rel=0.3)
