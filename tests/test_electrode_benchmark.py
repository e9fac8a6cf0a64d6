"""The benchmark of electrodes: nobody is trained on and scored, and windows are in microvolts."""

import lzma
from pathlib import Path

import numpy as np
import pytest
from benchmarks.electrodes import FOLDS, cut, read, split
from benchmarks.trials import Trials, blocks, trials

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


def test_trials_are_the_files_own_parts_with_the_electrodes_named(tmp_path: Path):
    folder = tmp_path / "Toy"
    folder.mkdir()
    random = np.random.default_rng(0)
    for part, count in (("TRAIN", 6), ("TEST", 4)):
        head = "@problemName Toy\n@timestamps false\n@univariate false\n@dimension 2\n@classLabel true a b\n@data\n"
        trial = [[",".join(map(str, random.normal(0, 20, 100))) for _ in range(2)] for _ in range(count)]
        rows = [":".join([*one, "ab"[i % 2]]) for i, one in enumerate(trial)]
        (folder / f"Toy_{part}.ts").write_text(head + "\n".join(rows) + "\n")
    signal = ElectrodeSignal(rate=100, seconds=1, patch=10, overlap=0, band=None)
    data, train, test = trials(Trials("toy", "C3 C4", 100.0), folder, signal)
    assert (len(data), len(train), len(test)) == (6, 6, 4) and train.channels == ("C3", "C4")
    assert train.labels is not None and train.labels.groups is None
    assert [train.classes[i] for i in train.labels.values] == ["a", "b"] * 3


def test_windows_that_are_scored_lie_between_those_that_are_fitted_with_a_gap():
    labels = np.repeat([0, 1], 30)
    fitted, scored = blocks(labels)
    assert len(scored) == 20 and not set(fitted) & set(scored)
    assert min(abs(f - s) for f in fitted for s in scored if labels[f] == labels[s]) == 2
