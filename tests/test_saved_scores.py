"""Saved runs load and score as they did when they were recorded (see `benchmarks.saved_scores`)."""

import json

import pytest
import torch
from benchmarks.saved_scores import RECORD, RUNS, close, recipes, scores

from openjepa.recipes import registered


@pytest.fixture
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_every_recipe_has_a_saved_run():
    assert set(recipes()) == set(registered()) == set(json.loads(RECORD.read_text()))


@pytest.mark.parametrize("name", recipes())
def test_a_saved_run_has_the_recorded_scores(name, one_thread):
    recorded = json.loads(RECORD.read_text())[name]
    found = scores(name)
    assert close(found, recorded), (found, recorded)


def test_other_scores_are_noticed():
    recorded = json.loads(RECORD.read_text())
    for known in recorded.values():
        for key, value in known.items():
            assert not close(known | {key: 1.2 * value + 0.1}, known)


def test_weights_beside_the_tests_are_small():
    assert sum(path.stat().st_size for path in RUNS.rglob("*") if path.is_file()) < 1_300_000
