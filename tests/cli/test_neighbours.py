"""The nearest samples of a file: a table that names them, and a picture."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import openjepa
from openjepa import cli
from openjepa.errors import UserError
from openjepa.report import write_report
from openjepa.signals.electrodes import ElectrodeSignal

from ..training import small


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 images, each with a near copy."""
    folder, random = tmp_path_factory.mktemp("data") / "photos", np.random.default_rng(0)
    for i in range(24):
        kind = ("stripes", "noise")[i % 2]
        (folder / kind).mkdir(parents=True, exist_ok=True)
        pixels = (
            random.integers(0, 200, (16, 16)) if i % 2 else np.arange(16) % (2 + i) * 20 + np.zeros((16, 1))
        )
        for name, more in ((f"{i:02}", 0), (f"{i:02}-again", 2)):
            Image.fromarray((pixels + more).clip(0, 255).astype(np.uint8)).save(folder / kind / f"{name}.png")
    return folder


@pytest.fixture(scope="module")
def trained(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "run"
    openjepa.train("i-jepa", preset="tiny-vit", data=photos, out=run, options=small.options())
    return run


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def test_a_sample_finds_its_copy_and_not_itself(run, photos, capsys):
    cli.main(["neighbours", str(run), "--query", "noise/05.png", "--count", "3", "--json"])
    told = json.loads(capsys.readouterr().out)
    assert told["nearest"] == "noise/05-again.png" and told["neighbours"] == str(run / "neighbours.html")
    rows = rows_of(run / "neighbours.samples.csv")
    assert list(rows[0]) == ["query", "rank", "cosine", "sample", "label"] and len(rows) == 3
    assert rows[0]["label"] == "noise" and "noise/05.png" not in {row["sample"] for row in rows}
    assert float(rows[0]["cosine"]) > float(rows[1]["cosine"]) > float(rows[2]["cosine"])
    page = (run / "neighbours.html").read_text()
    assert page.count("data:image/png") == 4 and "noise/05-again.png" in page and "<script" not in page


def test_a_file_from_elsewhere_is_a_query_too(run, photos, tmp_path):
    shutil.copy(photos / "noise" / "07.png", tmp_path / "found.png")
    found = openjepa.neighbours(run, tmp_path / "found.png", photos, count=2)
    assert set(found.columns["sample"]) == {"noise/07.png", "noise/07-again.png"}
    assert found.columns["query"] == ["found.png"] * 2 and found.columns["cosine"][0] == pytest.approx(
        1, abs=1e-4
    )
    inside = openjepa.neighbours(run, photos / "noise" / "07.png", photos, count=1)
    assert inside.columns["sample"] == ["noise/07-again.png"]  # the very file is no answer


def test_arrays_and_tables_of_labels(run, photos, tmp_path):
    names = sorted(str(p.relative_to(photos)) for p in photos.rglob("*.png"))
    table = {"id": names, "size": [float(len(name)) for name in names]}
    query = np.asarray(Image.open(photos / "noise" / "09.png"))[None]
    found = openjepa.neighbours(run, query, photos, labels=table, kind="numbers", count=1)
    assert found.columns["sample"] == ["noise/09.png"] and found.columns["label"] == [12.0]
    found.save(tmp_path / "alike.csv")
    assert rows_of(tmp_path / "alike.csv")[0]["label"] == "12"
    assert found.save(tmp_path / "alike.png") == tmp_path / "alike.samples.csv"
    assert Image.open(tmp_path / "alike.png").size[0] > 100


def test_windows_of_a_recording_are_looked_at_evenly(tmp_path):
    random, channels = np.random.default_rng(0), ["C3", "C4", "Cz", "Pz"]
    (tmp_path / "eeg").mkdir()
    for name in ("S001", "S002", "S003"):
        np.savez(tmp_path / "eeg" / f"{name}.npz", x=random.normal(0, 10, (4, 280 * 12)), channels=channels)
    sizes = {
        "signal.seconds": 2,
        "signal.band": "none",
        "encoder.depth": 1,
        "train.steps": 2,
        "train.batch_size": 8,
    }
    openjepa.train("signal-jepa", data=tmp_path / "eeg", out=tmp_path / "run", options=sizes)
    assert ElectrodeSignal(seconds=2).samples == 280
    found = openjepa.neighbours(tmp_path / "run", "S002", tmp_path / "eeg", count=2)
    assert len(found.columns["query"]) == 16 and "spread evenly" in found.about
    assert set(found.columns["sample"]) <= {"S001.npz", "S003.npz"}  # not of the same recording
    assert found.columns["query"][0].startswith("S002.npz, ") and found.columns["second"][0] >= 0
    found.save(tmp_path / "alike.html")
    assert "<svg" in (tmp_path / "alike.html").read_text()
    with pytest.raises(UserError, match=r"name an \.html file"):
        found.save(tmp_path / "alike.png")
    assert not (tmp_path / "alike.png").exists()


def test_mistakes_are_sentences(run, photos, tmp_path):
    for query, said in (("gone.png", "neither a file nor the name of one of the images"), ("05", None)):
        if said:
            with pytest.raises(UserError, match=said):
                openjepa.neighbours(run, query)
        else:
            assert openjepa.neighbours(run, query, count=1).columns["sample"] == ["noise/05-again.png"]
    (photos / "stripes" / "05.png").write_bytes((photos / "stripes" / "04.png").read_bytes())
    with pytest.raises(UserError, match="'05' may be"):
        openjepa.neighbours(run, "05")
    (photos / "stripes" / "05.png").unlink()
    with pytest.raises(UserError, match="ask for at least one"):
        openjepa.neighbours(run, "05", count=0)
    with pytest.raises(UserError, match="cannot write a table"):
        openjepa.neighbours(run, "05").save(tmp_path / "alike.txt")


def test_the_report_names_files_under_its_pictures(run, photos):
    page = write_report(run).read_text()
    names = {str(path.relative_to(photos)) for path in photos.rglob("*.png")}
    told = {name for name in names if f'title="{name}"' in page}
    assert len(told) > 8 and page.count('class="file"') > 24  # predictions, patches, neighbours
