"""The run directory."""

import json
import math
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from openjepa.errors import OpenJEPAWarning, UserError
from openjepa.signals.images import image_set, open_images
from openjepa.training import Run
from openjepa.training.run import read_config

from . import small


def test_a_new_run_says_what_it_is(tmp_path: Path) -> None:
    config = small.config()
    run = Run.create(tmp_path / "deep/run", config, small.images(), "openjepa train i-jepa")
    assert Run.open(run.path).config == config
    about = run.about
    assert about["command"] == "openjepa train i-jepa"
    assert {"openjepa", "torch", "python"} <= about["versions"].keys()
    assert about["data"]["images"] == 60 and about["data"]["skipped"] == []


def test_an_existing_run_is_not_overwritten(tmp_path: Path) -> None:
    small.new_run(tmp_path / "run", small.config())
    with pytest.raises(UserError, match=r"already holds a run: continue it with --resume"):
        small.new_run(tmp_path / "run", small.config())
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.tex").write_text("...")
    with pytest.raises(UserError, match="not an empty directory"):
        small.new_run(tmp_path / "mine", small.config())
    assert (tmp_path / "mine/thesis.tex").exists()


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        small.new_run(tmp_path / "file/run", small.config())
    with pytest.raises(UserError, match="not an empty directory"):
        small.new_run(tmp_path / "file", small.config())


def test_where_there_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no run"):
        Run.open(tmp_path)


def test_metrics_are_strict_json_and_come_back(tmp_path: Path) -> None:
    run = small.new_run(tmp_path / "run", small.config())
    run.log("health", 0, **{"rank/context": math.nan, "energy/model": 0.1})
    length = run.metrics.sync()
    run.log("train", 0, loss=1.0)

    def refuse(name: str) -> None:
        raise AssertionError(name)

    for line in (run.path / "metrics.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=refuse)
    reading = run.readings()[0]
    assert math.isnan(reading["rank/context"]) and reading["energy/model"] == 0.1 and reading["step"] == 0
    assert run.metrics.rewind(length, 0)
    assert small.losses(run) == []
    assert len(run.readings()) == 1


def test_a_line_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    run = small.new_run(tmp_path / "run", small.config())
    run.log("train", 0, loss=1.0)
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 1, "kin')
    assert small.losses(run) == [(0, 1.0)]
    with pytest.raises(UserError, match="has no verdict"):
        run.verdict()


def test_other_data_are_noticed(tmp_path: Path) -> None:
    run = small.new_run(tmp_path / "run", small.config())
    run.check_data(open_images(small.pixels()))
    changed = small.pixels()
    changed[0, 5, 5] += 1
    with pytest.raises(UserError, match="give the same data"):
        run.check_data(open_images(changed))
    many = np.concatenate([small.pixels()] * 4)
    run = Run.create(tmp_path / "many", small.config(), open_images(many))
    many[1, 5, 5] += 1
    assert "every pixel" in run.about["data"]["contents"]["covers"]
    with pytest.raises(UserError, match="give the same data"):
        run.check_data(open_images(many))
    assert small.images(59).describe()["fingerprint"] != small.images(60).describe()["fingerprint"]


def pictures(folder: Path, count: int = 96) -> Path:
    folder.mkdir()
    for i, image in enumerate(small.pixels(count)):
        Image.fromarray(image[..., 0]).save(folder / f"{i:02}.bmp")
    return folder


@pytest.mark.parametrize("held", [True, False])
def test_one_replaced_image_of_96_is_noticed(
    held: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not held:
        monkeypatch.setattr(image_set, "IN_MEMORY_BYTES", 0)
    folder = pictures(tmp_path / "photos")
    run = Run.create(tmp_path / "run", small.config(), open_images(folder, size=16))
    run.check_data(open_images(folder, size=16))
    shutil.copytree(folder, tmp_path / "moved")  # with other times
    for file in (tmp_path / "moved").iterdir():
        os.utime(file)
    run.check_data(open_images(tmp_path / "moved", size=16))
    (folder / "02.bmp").write_bytes((folder / "01.bmp").read_bytes())  # 01 is sampled, 02 is not
    if held:
        with pytest.raises(UserError, match="with other contents: give the same data"):
            run.check_data(open_images(folder, size=16))
    else:  # of the same size: only the time tells
        with pytest.warns(OpenJEPAWarning, match="have been written since"):
            run.check_data(open_images(folder, size=16))
        Image.fromarray(np.zeros((20, 20), np.uint8)).save(folder / "02.bmp")
        with pytest.raises(UserError, match="with other contents: give the same data"):
            run.check_data(open_images(folder, size=16))


def test_runs_of_before_are_compared_as_they_were(tmp_path: Path) -> None:
    run = small.new_run(tmp_path / "run", small.config())
    about = run.about
    assert about["data"].pop("contents")
    (run.path / "run.json").write_text(json.dumps(about))
    run.check_data(small.images())
    about["data"].pop("fingerprint")
    (run.path / "run.json").write_text(json.dumps(about))
    with pytest.warns(OpenJEPAWarning, match="has no fingerprint"):
        run.check_data(small.images())


def test_config_files(tmp_path: Path) -> None:
    run = small.new_run(tmp_path / "run", small.config())
    assert read_config(run.path)["recipe"] == "i-jepa"
    (tmp_path / "mine.yaml").write_text("recipe: lejepa\ntrain: {steps: 5}\n")
    assert read_config(tmp_path / "mine.yaml") == {"recipe": "lejepa", "train": {"steps": 5}}
    for text in ("[1, 2]", "a: [", ""):
        (tmp_path / "bad.yaml").write_text(text)
        with pytest.raises(UserError, match=r"bad\.yaml"):
            read_config(tmp_path / "bad.yaml")
    with pytest.raises(UserError, match="No such file"):
        read_config(tmp_path / "none.yaml")
