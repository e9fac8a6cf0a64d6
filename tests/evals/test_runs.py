"""From run directories to a table and to `probe.json`."""

import json
import os
import shutil
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from openjepa.errors import UserError
from openjepa.evals import Comparison, ComputeCost, ProbeTable, probe_runs
from openjepa.evals.runs import _sets, training_cost, untrained
from openjepa.recipes import build, configure
from openjepa.signals.base import Labels
from openjepa.signals.label_table import LabelTable
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
        start(configure("i-jepa", "tiny-vit", SMALL | {"train.seed": str(seed)}), root / str(seed), data=data)
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


def test_the_table_tells_what_training_has_cost(runs):
    lines = list(runs[0].records("train"))
    spent = [line["cpu_seconds"] for line in (*lines, *runs[0].records("verdict"))]
    steps = sum(line["cpu_seconds"] for line in lines)
    assert min(spent) > 0 and [line["views"] for line in lines] == [
        16,
        16,
    ]  # a context and a target of 8 images
    assert training_cost(runs[0].path) == ComputeCost(
        pytest.approx(sum(spent) / 60), pytest.approx(32 / steps)
    )
    table = quick([runs[0].path], kinds=("knn",))
    cost = table.costs["model"]
    assert (cost.minutes, cost.views_per_second) == (training_cost(runs[0].path).minutes, 32 / steps)
    assert table.costs["random init"].minutes == 0 and table.costs["random init"].views_per_second is None
    assert table.costs["model + best classical"].minutes > cost.minutes
    titles, *rows = table.cells()
    assert titles[-3:] == ["CPU minutes", "training views/s", "images/s"]
    assert [row[0] for row in rows if row[-2] != "–"] == ["model"]


def test_what_was_not_recorded_is_not_told(runs, tmp_path):
    """A run of before, one that an older version has begun, one that was cut off, and a model alone."""
    lines = [json.loads(line) for line in (runs[0].path / "metrics.jsonl").read_text().splitlines()]
    assert training_cost(runs[0].path).minutes
    for name, steps in (("before", (0, 1)), ("begun before", (0,))):
        shutil.copytree(runs[0].path, tmp_path / name)
        with (tmp_path / name / "metrics.jsonl").open("w") as file:
            for line in lines:
                gone = line["step"] in steps and line["kind"] == "train"
                file.write(
                    json.dumps({k: v for k, v in line.items() if not (gone and k == "cpu_seconds")}) + "\n"
                )
        assert training_cost(tmp_path / name) == ComputeCost()
    shutil.copytree(runs[0].path / "model", tmp_path / "model")
    assert training_cost(tmp_path / "model") == ComputeCost()
    shutil.copytree(runs[0].path, tmp_path / "cut")
    shutil.rmtree(tmp_path / "cut" / "model")
    shutil.rmtree(max((tmp_path / "cut" / "checkpoints").iterdir()))  # back to step 1 of 2
    kept = [
        line["cpu_seconds"]
        for line in lines
        if "cpu_seconds" in line and line["step"] + (line["kind"] == "train") <= 1
    ]
    assert training_cost(tmp_path / "cut").minutes == pytest.approx(sum(kept) / 60)


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


def test_fewer_labelled_images_are_a_fair_share_of_each_class(runs, data, monkeypatch):
    seen = []

    class Seen(Comparison):
        def __init__(self, train, *rest, **options):
            seen.append(np.bincount(train.labels.values))
            super().__init__(train, *rest, **options)

    monkeypatch.setattr("openjepa.evals.runs.Comparison", Seen)
    for most in (None, 60, 60, 1000):
        quick([runs[0].path], kinds=("linear",), classical="none", most=most)
    everything, drawn, again, more = seen
    assert drawn.sum() == 60 and (abs(drawn - everything / 5) < 1).all()
    assert (again == drawn).all() and (more == everything).all()
    with pytest.raises(UserError, match="at least one sample of each class"):
        quick([runs[0].path], kinds=("linear",), classical="none", most=4)


def test_mistakes_are_named(runs, data, digits, tmp_path):
    with pytest.raises(UserError, match="no run to probe"):
        probe_runs([])
    with pytest.raises(UserError, match="holds neither a run nor an exported model"):
        probe_runs([tmp_path])
    other = start(
        configure("i-jepa", "tiny-vit", SMALL | {"signal.patch": "1"}), tmp_path / "other", data=data
    )
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

    config = configure("i-jepa", "tiny-vit", {"encoder": "timm"})
    pretrained = config.model_copy(update={"encoder": config.encoder.model_copy(update={"pretrained": True})})
    built = []
    monkeypatch.setattr(module, "build", lambda config, seed: built.append(config) or torch.nn.Identity())
    untrained(pretrained, 0)
    assert built[0].encoder.pretrained is False


class People:
    """Samples of a signal whose data have no test split."""

    name, noun, in_memory = "people", "recordings", True

    def __init__(self, groups):
        self.labels = Labels(np.arange(80) % 2, ("rest", "task"), groups)

    def __len__(self):
        return 80

    def read(self, indices, rng=None):
        return torch.as_tensor(indices)


def test_without_a_test_split_whole_groups_are_tested_on():
    groups = np.arange(80) // 8

    def samples(data, split):
        if split != "train":
            raise UserError("no split 'test', only 'train'")
        return People(groups if data == "grouped" else None)

    config = SimpleNamespace(data="grouped", samples=samples)
    train, test, notes = _sets(config, None, None, 0, LabelTable())
    assert len(train) + len(test) == 80 and 16 <= len(test) <= 24
    assert not set(train.labels.groups) & set(test.labels.groups)
    assert set(groups[test.read(range(len(test))).numpy()]) == set(test.labels.groups)
    assert "of 10 groups, drawn by seed 0, are tested on" in notes[0]
    again, other = (
        _sets(config, None, None, seed, LabelTable())[1].labels.groups.tolist() for seed in (0, 1)
    )
    assert again == test.labels.groups.tolist() != other
    with pytest.raises(UserError, match="no split 'test'"):
        _sets(config, "ungrouped", None, 0, LabelTable())
