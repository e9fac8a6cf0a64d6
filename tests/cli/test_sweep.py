"""Sweeps: a grid with seeds, resumed, shared between processes, judged in one table; several runs on one page."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import openjepa
from openjepa.cli import main
from openjepa.common.lock import in_use, sole_writer
from openjepa.errors import UserError
from openjepa.evals.sweep import SweepPoint, alike, grid
from openjepa.evals.table import ProbeTable, Score
from openjepa.recipes import configure
from openjepa.report.compare import comparison, differences, names
from openjepa.report.record import Record, read_record
from openjepa.training.loop import Trainer

SIZES = """--preset tiny-vit --signal.size 16 --train.batch_size 8 --train.precision fp32 --encoder.depth 1
    --encoder.width 16 --encoder.heads 2 --predictor.width 16 --predictor.depth 1 --predictor.heads 2"""
RUNS = [f"train.lr={lr}_seed={seed}" for seed in (0, 1) for lr in ("1e-3", "3e-3")]

pytestmark = pytest.mark.filterwarnings("ignore::openjepa.errors.OpenJEPAWarning")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """1,700 stripes at random angles."""
    folder = tmp_path_factory.mktemp("stripes")
    y, x = np.mgrid[-1:1:16j, -1:1:16j]
    angle = np.random.default_rng(0).uniform(0, np.pi, (1700, 1, 1))
    waves = 127 + 127 * np.sin(6 * (x * np.cos(angle) + y * np.sin(angle)))
    np.save(folder / "x.npy", waves.astype(np.uint8))
    return str(folder / "x.npy")


def sweep(data, out, *more, lr="1e-3,3e-3", seeds="0 1", steps="4"):
    over = [f"--over=train.lr={lr}"] if lr else []
    named = ["--data", data, *over, "--seeds", *seeds.split(), "--out", str(out), "--steps", steps]
    main(["sweep", "i-jepa", *named, *SIZES.split(), "--json", *more])


@pytest.fixture(scope="module")
def swept(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("sweep") / "out"
    sweep(data, out)
    return out


def trained(out):
    """Steps of every run's `train` lines."""
    found = {}
    for path in sorted(out.glob("*/metrics.jsonl")):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        found[path.parent.name] = [line["step"] for line in lines if line["kind"] == "train"]
    return found


def test_one_precision_is_measured_for_all_runs(data, tmp_path, monkeypatch):
    measured = []

    def chosen(config, samples):
        measured.append(config)
        way = {"precision": "fp32", "attention": ("math", "fused")[len(measured) % 2]}
        return config.model_copy(update={"train": config.train.model_copy(update=way)}), ""

    monkeypatch.setattr("openjepa.evals.sweep.chosen", chosen)
    points = [
        SweepPoint(
            {"train.lr": lr},
            0,
            configure("i-jepa", "tiny", {"data": str(data), "train.lr": lr}),
            tmp_path / lr,
        )
        for lr in ("1e-3", "2e-3")
    ]
    first, again = alike(tmp_path, points), alike(tmp_path, points[1:])
    assert len(measured) == 1
    assert {(p.config.train.precision, p.config.train.attention) for p in (*first, *again)} == {
        ("fp32", "fused")
    }
    fixed = replace(points[0], config=first[0].config)
    assert alike(tmp_path / "other", [fixed]) == [fixed] and not (tmp_path / "other").exists()


def test_a_grid_is_every_combination():
    assert grid(["train.lr=1e-3,3e-3", "guard=vicreg,sigreg"]) == [
        {"train.lr": lr, "guard": guard} for lr in ("1e-3", "3e-3") for guard in ("vicreg", "sigreg")
    ]
    assert grid(["hiding.target_scale=[0.1,0.2],[0.2,0.3]"]) == [
        {"hiding.target_scale": value} for value in ("[0.1,0.2]", "[0.2,0.3]")
    ]
    assert grid([]) == [{}]
    for wrong in (["train.lr"], ["train.lr=1,"], ["train.lr=1,1"], ["train.lr=1", "train.lr=2"]):
        with pytest.raises(UserError):
            grid(wrong)


def test_every_run_is_trained_once_and_has_its_own_options(swept, data, capsys):
    assert trained(swept) == {name: [0, 1, 2, 3] for name in RUNS}
    for name in RUNS:
        config = json.loads((swept / name / "config.json").read_text())["train"]
        assert name == f"train.lr={'1e-3' if config['lr'] == 1e-3 else '3e-3'}_seed={config['seed']}"
    before = {path: path.stat().st_mtime_ns for path in swept.glob("*/*") if path.name != ".lock"}
    capsys.readouterr()
    sweep(data, swept)
    table = json.loads(capsys.readouterr().out)
    assert before == {path: path.stat().st_mtime_ns for path in swept.glob("*/*") if path.name != ".lock"}
    assert [row["settings"]["train.lr"] for row in table["rows"]] in (["1e-3", "3e-3"], ["3e-3", "1e-3"])
    for row in table["rows"]:
        assert row["scores"].keys() == {"0", "1"} and row["low"] < row["mean"] < row["high"]
        assert row["states"] == {"ended": 2} and sum(row["verdicts"].values()) == 2 and row["minutes"] > 0
        assert row["mean"] == pytest.approx(sum(row["scores"].values()) / 2)
    with (swept / "sweep.csv").open(newline="") as file:
        assert [row["train.lr"] for row in csv.DictReader(file)] == [
            row["settings"]["train.lr"] for row in table["rows"]
        ]


def test_more_seeds_train_only_what_is_missing(swept, data, capsys):
    sweep(data, swept, lr="1e-3", seeds="1 2")
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert row["scores"].keys() == {"1", "2"}
    assert trained(swept).keys() == {*RUNS, "train.lr=1e-3_seed=2"}


def test_other_options_are_noticed(swept, data, capsys):
    for more, said in (({"steps": "5"}, "options train.steps 4"), ({"data": "other"}, "data")):
        with pytest.raises(SystemExit) as stopped:
            sweep(**({"data": data, "out": swept} | more))
        assert stopped.value.code == 2
        assert f"holds a sweep with {said}" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        sweep(data, swept, "--over", "train.bread=1,2")
    assert "unknown option 'train.bread'" in capsys.readouterr().err


def test_an_interrupted_sweep_goes_on_bit_for_bit(swept, data, tmp_path, monkeypatch, capsys):
    step, done = Trainer.step, []

    def interrupted(self, stream):
        step(self, stream)
        done.append(self.state.step)
        if len(done) == 6:  # of the second run the second step
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(SystemExit) as stopped:
        patch.setattr(Trainer, "step", interrupted)
        sweep(data, tmp_path / "out", "--train.save_every", "0.25")
    assert stopped.value.code == 130
    sweep(data, tmp_path / "out", "--train.save_every", "0.25")
    assert json.loads(capsys.readouterr().out)["rows"][0]["states"] == {"ended": 2}
    assert trained(tmp_path / "out") == {name: [0, 1, 2, 3] for name in RUNS}
    for name in RUNS:
        one, other = (openjepa.load(out / name).state_dict() for out in (swept, tmp_path / "out"))
        assert all(torch.equal(one[key], other[key]) for key in one)


def test_what_another_process_trains_is_left_to_it(data, tmp_path, capsys):
    held = tmp_path / "out" / "train.lr=1e-3_seed=0"
    with sole_writer(held):
        assert in_use(held)
        sweep(data, tmp_path / "out", seeds="0")
        states = {r["settings"]["train.lr"]: r["states"] for r in json.loads(capsys.readouterr().out)["rows"]}
        assert states == {"1e-3": {"running": 1}, "3e-3": {"ended": 1}}
    assert not in_use(held)
    sweep(data, tmp_path / "out", seeds="0")
    assert all(row["states"] == {"ended": 1} for row in json.loads(capsys.readouterr().out)["rows"])


def test_one_that_fails_stops_no_other(data, tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        sweep(data, tmp_path / "out", lr="1e30,1e-3", seeds="0")
    said = capsys.readouterr()
    table = json.loads(said.out)
    assert stopped.value.code == 2 and "1 of 2 runs failed" in said.err
    assert [row["states"] for row in table["rows"]] == [{"ended": 1}, {"failed": 1}]
    assert "not finite" in table["failures"]["train.lr=1e30_seed=0"]


@pytest.mark.slow
def test_jobs_share_the_work(data, tmp_path, capsys):
    sweep(data, tmp_path / "out", "--jobs", "2", steps="6")
    assert trained(tmp_path / "out") == {name: list(range(6)) for name in RUNS}
    table = json.loads(capsys.readouterr().out)
    assert all(row["states"] == {"ended": 2} for row in table["rows"]) and not table["failures"]


def test_a_probe_is_the_score_where_it_is_asked_for(data, tmp_path, capsys):
    from PIL import Image

    images = np.load(data)
    for split, rows in (("train", range(60)), ("test", range(60, 100))):
        for i in rows:
            folder = tmp_path / "labelled" / split / str(i % 2)
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(images[i]).save(folder / f"{i}.png")
    options = ["--score", "knn", "--labelled", str(tmp_path / "labelled")]
    sweep(data, tmp_path / "out", *options, seeds="0", lr="1e-3")
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    probe = json.loads((tmp_path / "out/train.lr=1e-3_seed=0/probe.json").read_text())
    (score,) = [s for s in probe["scores"] if s["row"] == "model" and s["kind"] == "knn"]
    assert row["mean"] == score["mean"] and (row["low"], row["high"]) == (score["low"], score["high"])
    kept = tmp_path / "out/train.lr=1e-3_seed=0/sweep-scores.json"
    written = kept.stat().st_mtime_ns
    sweep(data, tmp_path / "out", *options, seeds="0", lr="1e-3")
    assert kept.stat().st_mtime_ns == written  # nothing was probed again
    (tmp_path / "labels.csv").write_text("id,label\n" + "\n".join(f"{i},{i % 2}" for i in range(100)))
    sweep(data, tmp_path / "out", *options, "--labels", str(tmp_path / "labels.csv"), seeds="0", lr="1e-3")
    assert len(json.loads(kept.read_text())) == 2  # other labels are another question
    capsys.readouterr()
    with pytest.raises(SystemExit):  # data without labels: the runs stay, and why they have no score is said
        sweep(data, tmp_path / "out", "--score", "knn", seeds="0", lr="1e-3")
    table = json.loads(capsys.readouterr().out)
    assert table["rows"][0]["states"] == {"ended": 1} and table["rows"][0]["mean"] is None
    assert "no labels to probe with" in table["failures"]["train.lr=1e-3_seed=0"]


def test_the_page_has_every_run_and_every_difference(swept, tmp_path, capsys):
    runs = [str(swept / name) for name in RUNS]
    main(["compare", *runs, "--out", str(tmp_path / "page.html")])
    page = (tmp_path / "page.html").read_text()
    assert all(page.count(name) > 5 for name in RUNS)
    assert "train.lr" in page and "0.003" in page and "train.seed" in page
    assert "Effective rank" in page and "Neighbours look alike" in page and "<script" not in page
    with pytest.raises(SystemExit):
        main(["compare", runs[0], "--out", str(tmp_path / "other.html")])
    assert "a comparison takes 2 to 18" in capsys.readouterr().err


def test_scores_of_two_tasks_stand_side_by_side(swept):
    scores = [
        Score("model", "linear", 1.0, (value,), 100, task=task) for task, value in (("a", 0.6), ("b", 0.7))
    ]
    probe = ProbeTable(scores).to_dict()
    page = comparison([replace(read_record(swept / name), probe=probe) for name in RUNS[:2]])
    for score in scores:
        assert page.count(f">{score.task} (accuracy): linear<") == 1 and page.count(score.told) == 2


def test_differences_are_what_is_not_alike():
    signal = {"mean": [0.1]}
    one = {"recipe": "a", "guard": {"kind": "none"}, "train": {"lr": 1, "log": ["csv"]}, "signal": signal}
    other = {
        "recipe": "a",
        "guard": {"kind": "vicreg", "std": 2},
        "train": {"lr": 1},
        "signal": {"mean": [0.2]},
    }
    third = other | {"guard": {"kind": "vicreg", "std": 3}}
    assert dict(differences([one, other])) == {"guard": ["none", "vicreg"], "guard.std": ["", "2"]}
    expected = {"guard": ["none", "vicreg", "vicreg"], "guard.std": ["", "2", "3"]}
    assert dict(differences([one, other, third])) == expected


def test_names_are_as_long_as_needed(swept, tmp_path):
    record = read_record(swept / RUNS[0])
    records = [Record(tmp_path / a / "run", record.config) for a in ("one", "other")]
    assert names(records) == ["one/run", "other/run"]
    assert names([record, read_record(swept / RUNS[1])]) == RUNS[:2]
