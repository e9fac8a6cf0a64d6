"""From run directories to a table and to `probe.json`."""

import json
import os
from functools import partial

import numpy as np
import pytest
import torch

from openjepa.errors import UserError
from openjepa.evals import ProbeTable, probe_runs
from openjepa.evals.runs import untrained
from openjepa.recipes import build, configure
from openjepa.training import Run, load, start

quick = partial(probe_runs, classical="quick")

SMALL = {
    "signal.size": "8",
    "signal.patch": "2",
    "encoder.width": "16",
    "encoder.depth": "1",
    "encoder.heads": "2",
    "predictor.width": "16",
    "predictor.depth": "1",
    "train.steps": "2",
    "train.batch_size": "8",
}


@pytest.fixture(scope="module")
def data(digits, tmp_path_factory) -> str:
    pixels, labels = digits
    path = tmp_path_factory.mktemp("data") / "digits.npz"
    np.savez(path, x_train=pixels[:300], y_train=labels[:300], x_test=pixels[300:500], y_test=labels[300:500])
    return str(path)


@pytest.fixture(scope="module")
def runs(data, tmp_path_factory) -> list[Run]:
    """Two seeds of one small run."""
    root = tmp_path_factory.mktemp("runs")
    return [
        start(configure("i-jepa", "tiny", SMALL | {"train.seed": str(seed)}), root / str(seed), data=data)
        for seed in (0, 1)
    ]


def test_one_run_is_scored_and_its_table_kept(runs):
    table = quick([runs[0].path], kinds=("linear",), seed=3)
    rows = ("raw pixels", "HOG", "random init", "model", "model + best classical")
    assert [(s.row, s.method) for s in table.scores] == [
        (row, "Wilson over 200 test samples") for row in rows
    ]
    assert ProbeTable.from_dict(json.loads((runs[0].path / "probe.json").read_text())) == table
    assert not [name for name in os.listdir(runs[0].path) if "partial" in name]


def test_runs_of_several_seeds_give_intervals_over_them(runs):
    table = quick([run.path for run in runs], kinds=("knn",))
    assert table.score("model", "knn").method == "Student's t over 2 training seeds"
    assert len(table.score("random init", "knn").values) == 2
    assert table.score("raw pixels", "knn").method == "Wilson over 200 test samples"
    single = [ProbeTable.from_dict(json.loads((run.path / "probe.json").read_text())) for run in runs]
    assert [t.score("model", "knn").mean for t in single] == list(table.score("model", "knn").values)


def test_a_set_without_splits_may_be_the_test_set(runs, digits, tmp_path):
    np.savez(tmp_path / "other.npz", x=digits[0][600:650], y=digits[1][600:650])
    table = quick([runs[0].path], test=str(tmp_path / "other.npz"), kinds=("linear",))
    assert {score.tested for score in table.scores} == {50}


def test_mistakes_are_named(runs, data, digits, tmp_path):
    with pytest.raises(UserError, match="no run to probe"):
        probe_runs([])
    with pytest.raises(UserError, match="holds neither a run nor an exported model"):
        probe_runs([tmp_path])
    other = start(configure("i-jepa", "tiny", SMALL | {"signal.patch": "1"}), tmp_path / "other", data=data)
    with pytest.raises(UserError, match="differ in signal"):
        probe_runs([runs[0].path, other.path])
    np.savez(tmp_path / "unlabelled.npz", x_train=digits[0][:50], x_test=digits[0][50:90])
    with pytest.raises(UserError, match="training set has no labels"):
        probe_runs([runs[0].path], data=str(tmp_path / "unlabelled.npz"))


def test_the_random_encoder_is_the_untrained_one_of_its_seed(runs):
    model = load(runs[0].path)
    ours, same, other = untrained(model.config, 5), build(model.config, 5), untrained(model.config, 6)
    batch = torch.zeros(2, 1, 8, 8, dtype=torch.uint8)
    assert torch.equal(ours.embed(batch), same.embed(batch))
    assert not torch.equal(ours.embed(batch), other.embed(batch))
    assert not torch.equal(ours.embed(batch), model.embed(batch))


def test_published_weights_do_not_enter_the_random_encoder(monkeypatch):
    from openjepa.evals import runs as module

    config = configure("i-jepa", "tiny", {"encoder": "timm"})
    pretrained = config.model_copy(update={"encoder": config.encoder.model_copy(update={"pretrained": True})})
    built = []
    monkeypatch.setattr(module, "build", lambda config, seed: built.append(config) or torch.nn.Identity())
    untrained(pretrained, 0)
    assert built[0].encoder.pretrained is False
