"""Trackers: told what metrics.jsonl has, one log over a resumed run, and never the end of a run."""

import csv
import sys
import types
from typing import ClassVar

import pytest

from openjepa.errors import OpenJEPAWarning, UserError
from openjepa.training import Run, trackers
from openjepa.training.loop import Trainer, fit
from openjepa.training.trackers import TRACKERS

from . import small

STEPS = 6


def configured(*names: str, **changes: object):
    dotted = {"train__log": f"[{','.join(names)}]", "train__steps": STEPS, **changes}
    return small.config(**dotted)


def trained(path, *names: str) -> Run:
    run = small.new_run(path, configured(*names))
    fit(run.config, small.images(), run=run)
    return run


def interrupted(path, monkeypatch, *names: str, at: int = 5) -> Run:
    """A run that was killed in the middle of a step, after its checkpoint of step 4, and then resumed."""
    run = small.new_run(path, configured(*names))
    step = Trainer.step

    def killed(self, stream):
        step(self, stream)
        if self.state.step == at:
            raise OSError("power cut")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="power cut"):
        patch.setattr(Trainer, "step", killed)
        fit(run.config, small.images(), run=run)
    again = Run.open(path)
    fit(again.config, small.images(), run=again, resume=True)
    return again


def table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


class Counting:
    """A tracker of one's own."""

    needs = None
    seen: ClassVar[list[int]] = []

    def __init__(self, folder, config, step): ...
    def log(self, kind, step, numbers):
        self.seen.extend([step] if kind == "train" else [])

    def tell(self, kind, step, text): ...
    def close(self): ...


def test_a_tracker_of_ones_own_and_an_unknown_one(tmp_path, monkeypatch):
    monkeypatch.setitem(TRACKERS, "counting", Counting)
    trained(tmp_path / "run", "counting")
    assert Counting.seen == list(range(STEPS))
    with pytest.raises(UserError, match=r"train.log 'paper' is none of csv, tensorboard"):
        small.new_run(tmp_path / "other", configured("paper"))
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("resumed", [False, True])
def test_csv_has_every_line_once(tmp_path, monkeypatch, resumed):
    run = interrupted(tmp_path / "run", monkeypatch, "csv") if resumed else trained(tmp_path / "run", "csv")
    for kind, name in (("train", "loss"), ("health", "rank/context")):
        lines = list(run.records(kind))
        rows = table(tmp_path / "run/logs/csv" / f"{kind}.csv")
        assert [int(row["step"]) for row in rows] == [line["step"] for line in lines]
        assert [float(row[name]) for row in rows] == pytest.approx([line[name] for line in lines])


def test_a_number_that_comes_later_gets_a_column(tmp_path):
    tracker = TRACKERS["csv"](tmp_path / "csv", {}, 0)
    tracker.log("health", 0, {"a": 1.0})
    tracker.log("health", 1, {"a": 2.0, "b": 3.0})
    tracker.log("health", 2, {"b": 4.0})
    assert [list(row.values()) for row in table(tmp_path / "csv/health.csv")] == [
        ["0", "1.0", ""],
        ["1", "2.0", "3.0"],
        ["2", "", "4.0"],
    ]


def test_tensorboard_shows_one_curve_of_a_resumed_run(tmp_path, monkeypatch):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = interrupted(tmp_path / "run", monkeypatch, "tensorboard", "csv")
    events = EventAccumulator(str(tmp_path / "run/logs/tensorboard")).Reload()
    for kind, name in (("train", "loss"), ("health", "rank/context")):
        shown = [(e.step, e.value) for e in events.Scalars(f"{kind}/{name}")]
        expected = [(line["step"], line[name]) for line in run.records(kind)]
        assert [step for step, _ in shown] == [step for step, _ in expected]
        assert [v for _, v in shown] == pytest.approx([v for _, v in expected], rel=1e-5)
    assert "verdict/text_summary" in events.Tags()["tensors"]
    assert len(table(tmp_path / "run/logs/csv/train.csv")) == STEPS


class Recorded:
    """What a service would have been told."""

    def __init__(self):
        self.begun, self.lines, self.summary, self.ended = [], [], {}, 0

    def init(self, **options):
        self.begun.append(options)
        return self

    def log(self, values, step):
        self.lines.append((step, values))

    def finish(self):
        self.ended += 1


@pytest.fixture
def service(request, monkeypatch):
    """A module of the library's name that records."""
    fake, module = Recorded(), types.ModuleType(request.param)
    for name in ("init", "log", "finish"):
        setattr(module, name, getattr(fake, name))
    monkeypatch.setitem(sys.modules, request.param, module)
    monkeypatch.setattr(trackers, "find_spec", lambda name: object())
    return request.param, fake


@pytest.mark.parametrize("service", ["wandb", "trackio"], indirect=True)
def test_a_service_knows_a_resumed_run_again(tmp_path, monkeypatch, service):
    name, fake = service
    interrupted(tmp_path / "run", monkeypatch, name)
    first, second = fake.begun
    assert first == second and first["resume"] == "allow" and first["project"] == "openjepa"
    assert first["name"].startswith("run") and first["config"]["train"]["log"] == [name]
    steps = [step for step, values in fake.lines if "train/loss" in values]
    assert steps == [0, 1, 2, 3, 4, 4, 5]  # step 4 was done again, after the checkpoint
    assert fake.ended == 2


@pytest.mark.parametrize("service", ["wandb"], indirect=True)
@pytest.mark.parametrize("broken", ["init", "log", "finish"])
def test_one_that_fails_ends_no_run_and_silences_no_other(tmp_path, monkeypatch, service, broken):
    def fails(*_, **__):
        raise ConnectionError("no network")

    name, fake = service
    monkeypatch.setattr(fake, broken, fails)
    monkeypatch.setattr(sys.modules[name], broken, fails)
    with pytest.warns(OpenJEPAWarning, match=r"wandb has failed \(ConnectionError: no network\)"):
        run = trained(tmp_path / "run", name, "csv")
    assert (tmp_path / "run/model").is_dir()
    assert len(table(tmp_path / "run/logs/csv/train.csv")) == len(list(run.records("train"))) == STEPS


def test_a_missing_library_is_named_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"train.log wandb needs wandb: pip install 'openjepa\[wandb\]'"):
        small.new_run(tmp_path / "run", configured("csv", "wandb"))
    assert not (tmp_path / "run").exists()


def test_the_command_line_names_several():
    from openjepa.cli import train
    from openjepa.cli.parsing import parse

    for words in ("--log csv,tensorboard", "--log csv --log tensorboard", "--train.log [csv,tensorboard]"):
        config = train.configure(parse(["train", "i-jepa", *words.split()]))
        assert config.train.log == ("csv", "tensorboard")
