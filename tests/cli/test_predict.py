"""A saved probe answers for new samples, says which they are, and flags what it has never seen."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import openjepa
from openjepa.errors import OpenJEPAWarning, UserError
from openjepa.evals.saved import load_probe

from ..training import small


def pixels(count: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Grey images whose mean is their level, of two classes that anyone tells apart."""
    random = np.random.default_rng(seed)
    level = np.where(np.arange(count) % 2, random.uniform(140, 190, count), random.uniform(60, 110, count))
    values = random.uniform(-40, 40, (count, 16, 16)) + level[:, None, None]
    return values.clip(0, 255).astype(np.uint8), np.arange(count) % 2, level


def folder_of(path: Path, count: int, seed: int) -> Path:
    """Images, and beside them a table of their classes, levels and people."""
    images, classes, level = pixels(count, seed)
    path.mkdir()
    with open(path.with_suffix(".csv"), "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file", "kind", "level", "person"])
        for i, image in enumerate(images):
            Image.fromarray(image).save(path / f"{i:03}.png")
            table.writerow([f"{i:03}.png", ("dark", "light")[classes[i]], f"{level[i]:.3f}", f"p{i // 4}"])
    return path


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders `old` and `new` with their tables."""
    root = tmp_path_factory.mktemp("data")
    folder_of(root / "old", 160, 0)
    folder_of(root / "new", 60, 1)
    return root


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "run"
    openjepa.train("i-jepa", preset="tiny-vit", data=data / "old", out=run, options=small.options())
    return run


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


@pytest.fixture(scope="module")
def kept(trained: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run with a saved probe of its classes."""
    run = Path(shutil.copytree(trained, tmp_path_factory.mktemp("kept") / "run"))
    columns = {"labels": data / "old.csv", "label": "kind", "group": "person"}
    openjepa.probe(run, data=data / "old", kinds=["linear"], classical="none", save=True, **columns)
    return run


def test_from_labels_to_predictions_of_new_samples(run, data, said, tmp_path):
    table = ["--labels", data / "old.csv", "--label", "kind", "--group", "person"]
    quick = ["--kinds", "linear", "--classical", "none", "--save"]
    printed = said("probe", run, "--data", data / "old", *table, *quick)
    assert "The linear probe is saved in the run." in printed and "5% false alarms" in printed
    assert sorted(file.name for file in (run / "probe").iterdir()) == ["probe.json", "probe.safetensors"]
    out = tmp_path / "p.csv"
    said("predict", run, data / "new", "-o", out)
    rows = rows_of(out)
    assert list(rows[0]) == ["sample", "label", "probability", "unlike", "rarity"] and len(rows) == 60
    assert [row["sample"] for row in rows] == [f"{i:03}.png" for i in range(60)]
    assert [row["label"] for row in rows] == ["dark", "light"] * 30
    assert all(0.5 <= float(row["probability"]) <= 1 for row in rows)
    assert sum(row["unlike"] == "true" for row in rows) <= 9  # 3 of 60 expected


def test_the_probe_that_is_saved_is_the_one_that_was_scored(run, data, said):
    table = ["--labels", data / "old.csv", "--label", "level", "--group", "person"]
    options = ["--kinds", "linear", "--classical", "none", "--test", data / "new", "--save", "--json"]
    (data / "both.csv").write_text(
        (data / "old.csv")
        .read_text()
        .replace("\n", "\nold/")
        .removesuffix("old/")
        .replace("old/file", "file")
        + "".join(f"new/{line}\n" for line in (data / "new.csv").read_text().splitlines()[1:]).replace(
            ",p", ",q"
        )
    )
    table[1] = data / "both.csv"
    found = json.loads(said("probe", run, "--data", data / "old", *table, *options))
    score = next(s["values"][0] for s in found["scores"] if s["row"] == "model")
    predicted = openjepa.predict(run, data / "new", labels=data / "new.csv", label="level")
    assert predicted.metric == "R²" and predicted.score == pytest.approx(score, abs=2e-3)
    assert list(predicted.columns) == ["sample", "value", "unlike", "rarity", "truth"]
    probe = load_probe(run)
    assert probe is not None and probe.about.score == pytest.approx(score, abs=1e-6)
    assert 0 <= probe.about.false_alarms < 0.2


def test_what_was_never_seen_is_flagged(kept, data, said, tmp_path):
    ramps = np.tile(np.linspace(0, 255, 16), (30, 16, 1)).astype(np.uint8)
    assert openjepa.predict(kept, ramps).unlike == 30
    assert openjepa.predict(kept, pixels(200, 5)[0]).unlike <= 20  # 10 expected


def test_probabilities_truth_and_parquet(kept, data, said, tmp_path):
    told = json.loads(
        said("predict", kept, data / "new", "-o", tmp_path / "p.csv", "--labels", data / "new.csv", "--label", "kind",
             "--group", "person", "--probabilities", "--false-alarms", "0.1", "--json")
    )  # fmt: skip
    assert told["images"] == 60 and told["accuracy"] > 0.95 and told["false alarms"] == 0.1
    row = rows_of(tmp_path / "p.csv")[3]
    assert row["truth"] == "light" and row["group"] == "p0"
    assert float(row["probability dark"]) + float(row["probability light"]) == pytest.approx(1)
    parquet = pytest.importorskip("pyarrow.parquet")
    said("predict", kept, data / "new" / "003.png", "-o", tmp_path / "p.parquet")
    table = parquet.read_table(tmp_path / "p.parquet")
    assert table["sample"].to_pylist() == ["003.png"] and table["unlike"].to_pylist() == [False]


def test_a_fine_tuned_run_predicts_by_itself(run, data, said, tmp_path):
    words = ["--labels", data / "old.csv", "--label", "kind", "--group", "person"]
    short = ["--steps", "60", "--train.batch_size", "16", "--train.lr", "3e-3", "--train.precision", "fp32"]
    said("finetune", run, "--data", data / "old", *words, *short, "--out", tmp_path / "tuned")
    assert (tmp_path / "tuned" / "probe").is_dir()
    said("predict", tmp_path / "tuned", data / "new", "-o", tmp_path / "p.csv")
    rows = rows_of(tmp_path / "p.csv")
    assert np.mean([row["label"] == ("dark", "light")[i % 2] for i, row in enumerate(rows)]) > 0.9
    assert {row["unlike"] for row in rows} <= {"true", "false"}
    shutil.rmtree(tmp_path / "tuned" / "probe")  # of a run that was resumed, say
    with pytest.warns(OpenJEPAWarning, match="16 held-out training samples tell no rate"):
        again = openjepa.predict(tmp_path / "tuned", data / "new")
    assert again.columns["unlike"] == [row["unlike"] == "true" for row in rows]
    with pytest.raises(UserError, match="answers by itself"):
        openjepa.probe(tmp_path / "tuned", save=True, labels=data / "old.csv", label="kind")


def test_few_held_out_samples_tell_no_small_rate(kept, data, said):
    with pytest.warns(OpenJEPAWarning, match=r"tell no rate of false alarms below 0\.\d%, which is taken"):
        openjepa.predict(kept, data / "new", false_alarms=0.001)


def test_mistakes_are_sentences(run, kept, data, refused, tmp_path):
    out = tmp_path / "p.csv"
    assert "holds no saved probe" in refused("predict", run, data / "new", "-o", out)
    assert "name linear among the kinds" in refused("probe", run, "--kinds", "knn", "--save")
    shutil.copytree(kept / "probe", run / "probe")
    assert "ends in .csv or .parquet" in refused("predict", run, data / "new", "-o", tmp_path / "p.txt")
    assert "give a share in 0..1" in refused("predict", run, data / "new", "-o", out, "--false-alarms", "2")
    assert "does not exist" in refused("predict", run, data / "gone", "-o", out)
    assert "new is an empty text" in refused("predict", run, "", "-o", out)
    numbers = run / "probe" / "probe.safetensors"
    whole = numbers.read_bytes()
    numbers.write_bytes(whole[:-30])
    assert "truncated" in refused("predict", run, data / "new", "-o", out)
    numbers.write_bytes(b"\x80\x04pickle")
    assert "pickled" in refused("predict", run, data / "new", "-o", out)
    numbers.write_bytes(whole)
    (run / "probe" / "probe.json").write_text("{}")
    assert "probe.json" in refused("predict", run, data / "new", "-o", out)


def test_a_probe_of_other_weights_is_refused(kept, data, said, refused, tmp_path):
    other = tmp_path / "other"
    openjepa.train(
        "i-jepa", preset="tiny-vit", data=data / "old", out=other, options=small.options(train__seed=3)
    )
    shutil.copytree(kept / "probe", other / "probe")
    assert "fitted on other weights" in refused("predict", other, data / "new", "-o", tmp_path / "p.csv")


def test_the_answers_are_those_of_scikit_learn(kept, data, said):
    """The saved linear probe is logistic regression on standardised features."""
    from sklearn.linear_model import LogisticRegression

    probe = load_probe(kept)
    assert probe is not None
    model = openjepa.load(kept)
    old = model.config.samples(data / "old")
    x = probe.features(model, old).double()
    assert torch.allclose(probe.answer(x.float()).sum(1), torch.ones(len(x)), atol=1e-5)
    kinds = np.arange(160) % 2
    z = ((x - x.mean(0)) / x.std(0, correction=0)).numpy()
    theirs = LogisticRegression(C=probe.about.strength, max_iter=1000).fit(z, kinds).predict(z)
    assert (probe.answer(x.float()).argmax(1).numpy() == theirs).mean() > 0.97
