"""Benchmarks of series, clouds and chips: nothing is trained on and scored, a table comes out, runs are kept."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks import chips, clips, points, series
from PIL import Image

from openjepa.signals.images import open_images
from openjepa.signals.video import moving

from .signals.points.shapes import clouds
from .signals.series.files import waves, write_csv, write_ts

SMALL = [
    "train.steps=2",
    "train.batch_size=8",
    "train.health_every=1.0",
    "train.precision=fp32",
    "encoder.depth=1",
]

QUICK = ["--classical", "quick"]


def asked(folder: Path, data: Path) -> list[str]:
    """Arguments of one seed and one probe, with all that is written in a folder."""
    kept = ["--runs", str(folder / "runs"), "--results", str(folder / "results")]
    return ["--data", str(data), "--seeds", "0", "--kinds", "linear", *kept]


def test_series_of_classes(tmp_path: Path) -> None:
    for part, seed in (("TRAIN", 0), ("TEST", 1)):
        x, y = waves(24, steps=48, seed=seed)
        write_ts(tmp_path / f"W_{part}.ts", list(x), [str(label) for label in y])
    series.main(["osuleaf", *asked(tmp_path, tmp_path), *QUICK, "--set", *SMALL])
    found = json.loads((tmp_path / "results" / "learning-osuleaf-ts-jepa.json").read_text())
    rows = {score["row"] for score in found["table"]["scores"]}
    assert {"raw series", "statistics", "random init", "model", "model + best classical"} == rows
    assert len(found["runs"]) == 1 and len(list((tmp_path / "runs").iterdir())) == 1
    run = json.loads(next((tmp_path / "runs").glob("*/run.json")).read_text())
    assert "W_TEST" not in json.dumps(run)


def test_forecasts(tmp_path: Path) -> None:
    x = np.sin(np.arange(700) / 5)[:, None] + np.array([0.0, 3.0])
    path = write_csv(tmp_path / "x.csv", x, ["a", "b"])
    small = [*SMALL, "signal.length=48", "signal.stride=16"]
    series.main(["exchange", *asked(tmp_path, path), "--set", *small])
    text = (tmp_path / "results" / "learning-exchange-ts-jepa.md").read_text()
    assert "last value repeated" in text and "raw series" in text and "MSE" in text


def test_clouds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(points, "POINTS", 200)
    for part, seed in (("train", 0), ("test", 1)):
        x, y = clouds(24, seed=seed)
        np.savez(tmp_path / f"modelnet10-{part}.npz", points=x, label=y)
    small = [*SMALL, "signal.count=64", "signal.groups=8", "signal.size=8"]
    points.main([*asked(tmp_path, tmp_path), *QUICK, "--set", *small])
    text = (tmp_path / "results" / "learning-modelnet10-point-jepa.md").read_text()
    assert "occupancy" in text and "model + best classical" in text


def test_chips(tmp_path: Path) -> None:
    random, raw = np.random.default_rng(0), {}
    with tarfile.open(tmp_path / "chips.tar", "w") as tar:
        for kind, side in (("A220", 24), ("A330", 30), ("A320321", 20)):
            for i in range(40):
                file = io.BytesIO()
                Image.fromarray(random.integers(0, 256, (side, 40), np.uint8)).save(file, "JPEG")
                raw[name] = (
                    file.getvalue()
                    if (name := f"{kind}/{i:03d}.jpg") != "A330/007.jpg"
                    else raw["A220/003.jpg"]
                )
                member = tarfile.TarInfo(name)
                member.size = len(raw[name])
                tar.addfile(member, io.BytesIO(raw[name]))
    small = [*SMALL, "encoder.width=16", "signal.size=32", "signal.patch=4", "encoder.heads=2"]
    chips.main([*asked(tmp_path, tmp_path / "chips.tar"), *QUICK, "--set", *small])
    found = json.loads((tmp_path / "results" / "learning-sar-acd-sar-jepa.json").read_text())
    rows = {score["row"] for score in found["table"]["scores"]}
    assert {"gradients by ratio", "random init", "model", "model that predicts pixels"} < rows
    assert {score["per_class"] for score in found["table"]["scores"]} == {0, 10, 20}
    assert len(list((tmp_path / "runs").iterdir())) == 2


def test_moving_clothes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.integers(0, 256, (40, 1, 28, 28), dtype=np.uint8))
    items = open_images((images, np.arange(40) % 10))
    monkeypatch.setattr(moving, "open_fashion_mnist", lambda split: items)
    monkeypatch.setattr(clips, "LABELLED", 30)
    monkeypatch.setattr(clips, "SCORED", 40)
    arguments = asked(tmp_path, Path("moving-fashion-mnist"))
    small = [*SMALL[:4], "encoder.channels=[8,8,8,8]"]
    clips.main([*arguments, *QUICK, "--preset", "tiny-moving", "--set", *small])
    found = json.loads((tmp_path / "results" / "learning-moving-fashion-mnist-v-jepa.json").read_text())
    scores = {score["row"]: score["tested"] for score in found["table"]["scores"]}
    assert {"raw pixels", "random init", "model"} <= scores.keys() and set(scores.values()) == {40}
