"""Commands with a table of labels: from a folder of images to scores, a fine-tuned run and features."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from openjepa import cli
from openjepa.errors import OpenJEPAWarning
from openjepa.evals.plan import make_plan
from openjepa.recipes.finetune import held_out
from openjepa.signals.images import open_images
from openjepa.signals.label_table import LabelTable, with_labels
from openjepa.signals.labelled import LabelledSamples
from openjepa.training import load

from ..training import small

PEOPLE = 12


def options(**changes: object) -> list[str]:
    return [word for name, value in small.options(**changes).items() for word in (f"--{name}", str(value))]


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """72 images without folders, six of each of twelve people, of whom half are ill; and a table of them."""
    folder, random = tmp_path_factory.mktemp("data") / "scans", np.random.default_rng(0)
    folder.mkdir()
    rows = [("scan", "patient", "diagnosis", "age")]
    for i in range(6 * PEOPLE):
        person, age = i % PEOPLE, 20 + 4.5 * (i % PEOPLE)
        shade = 60 + 120 * (person % 2)
        pixels = random.integers(shade - 40, shade + 40, (16, 16))
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i:03}.png")
        rows.append((f"{i:03}", f"p{person:02}", ("well", "ill")[person % 2], str(age)))
    with open(folder.parent / "people.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)
    return folder


@pytest.fixture(scope="module")
def trained(scans: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that no test may change."""
    run = tmp_path_factory.mktemp("runs") / "trained"
    words = ["train", "i-jepa", "--preset", "tiny-vit", "--data", str(scans), "--out", str(run), "--json"]
    cli.main([*words, *options()])
    return run


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


def named(scans: Path, column: str) -> list[str]:
    return [
        "--labels",
        str(scans.parent / "people.csv"),
        "--id",
        "scan",
        "--label",
        column,
        "--group",
        "patient",
    ]


def test_classes_of_a_table_are_probed_among_whole_patients(run, scans, said):
    quick = ["--kinds", "linear", "--classical", "none"]
    table = said("probe", run, *named(scans, "diagnosis"), *quick, "--few-label", "0.5", "3")
    assert "2 of 12 groups, drawn by seed 0, are tested on" in table and "accuracy in %" in table
    assert "50 % of labels" in table and "3 per class" in table
    found = json.loads((run / "probe.json").read_text())
    assert {score["groups"] for score in found["scores"]} == {2}


def test_numbers_of_a_table_are_a_regression(run, scans, said):
    found = json.loads(
        said("probe", run, *named(scans, "age"), "--kinds", "linear", "--classical", "none", "--json")
    )
    assert {score["metric"] for score in found["scores"]} == {"R²"}


def test_without_groups_a_quarter_of_the_samples_is_tested_on(run, scans, said):
    words = [word for word in named(scans, "diagnosis") if word not in ("--group", "patient")]
    table = said("probe", run, *words, "--kinds", "linear", "--classical", "none")
    assert "no test split: 18 of 72 images, drawn by seed 0, are tested on" in table


def test_no_split_cuts_a_patient(scans):
    table = LabelTable.of(scans.parent / "people.csv", id="scan", label="diagnosis", group="patient")
    (samples,) = with_labels(table, open_images(scans))
    people = samples.labels.groups
    with pytest.warns(OpenJEPAWarning, match=r"groups are in the training set too \(p00, p01\)"):
        plan = make_plan(samples, samples.subset([0, 1]), None, (0.5, 4), 3, 0)
    checked = 0
    for draw in (plan.whole, *plan.draws):
        rows = plan.near[draw.rows]
        for fit, held in draw.splits:
            assert not set(people[rows[fit]]) & set(people[rows[held]])
            checked += 1
    assert checked >= 4
    rows = held_out(LabelledSamples(samples)).numpy()
    assert not set(people[rows]) & set(people[np.setdiff1d(np.arange(len(people)), rows)])


def test_a_table_fine_tunes_and_the_run_resumes_with_it(run, scans, said, tmp_path):
    short = [
        "--steps",
        "6",
        "--train.batch_size",
        "16",
        "--train.save_every",
        "0.5",
        "--train.precision",
        "fp32",
    ]
    out = tmp_path / "tuned"
    said("finetune", run, *named(scans, "diagnosis"), "--out", out, *short)
    model = load(out)
    assert model.config.names == ("ill", "well") and model.config.labels.group == "patient"
    shutil.rmtree(out / "model")
    said("train", "--resume", out)
    assert load(out).config.labels.label == "diagnosis"
    said("finetune", run, *named(scans, "age"), "--out", tmp_path / "age", *short)
    assert load(tmp_path / "age").config.variables and load(tmp_path / "age").config.names == ("age",)


def test_a_run_does_not_go_on_with_other_labels(run, scans, said, refused, tmp_path):
    table = Path(shutil.copy(scans.parent / "people.csv", tmp_path / "people.csv"))
    words = ["--labels", table, "--id", "scan", "--label", "diagnosis"]
    said("finetune", run, *words, "--out", tmp_path / "tuned", "--steps", "4", "--train.batch_size", "16")
    table.write_text(table.read_text().replace("p00,well", "p00,ill"))
    shutil.rmtree(tmp_path / "tuned" / "model")
    assert "with other contents" in refused("train", "--resume", tmp_path / "tuned", "--json")


def test_mistakes_with_tables_are_sentences(run, scans, refused, tmp_path):
    table = scans.parent / "people.csv"
    assert "name it with --labels" in refused("probe", run, "--label", "age")
    assert "no column 'weight'" in refused("probe", run, "--labels", table, "--label", "weight")
    assert "have one label, well" in refused("probe", run, "--labels", one_class(tmp_path, scans))
    assert "fewer than two classes" in refused("finetune", run, "--labels", one_class(tmp_path, scans))
    assert "unknown value of --as 'words'" in refused("probe", run, "--labels", table, "--as", "words")
    assert "labels is an empty text" in refused("probe", run, "--labels", "")


def one_class(folder: Path, scans: Path) -> Path:
    path = folder / "one.csv"
    path.write_text("file,label\n" + "".join(f"{file.name},well\n" for file in sorted(scans.iterdir())))
    return path
