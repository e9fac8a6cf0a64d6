"""`openjepa.train` and `openjepa.load`."""

import shutil
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from PIL import Image

import openjepa
from openjepa.common import files
from openjepa.errors import OpenJEPAWarning, UserError
from openjepa.recipes import Recipe
from openjepa.training import Run, resume, start, train
from openjepa.training.progress import Silent

from . import small


def quick(recipe: str = "i-jepa", **changes: object) -> dict[str, object]:
    return small.options(recipe, **{"train__steps": 2, **changes})


def folder_of(path: Path, channels: int, size: int = 20) -> Path:
    path.mkdir()
    for i, image in enumerate(small.pixels(40, channels, size)):
        Image.fromarray(image[..., 0] if channels == 1 else image).save(path / f"{i:02}.png")
    return path


def test_from_an_array_without_a_directory() -> None:
    model = openjepa.train("i-jepa", preset="tiny-vit", data=small.pixels(), options=quick())
    assert model.config.data == "array"
    assert model.embed(torch.zeros(2, 1, 16, 16)).shape == (2, 16)


def test_from_a_torch_data_set(tmp_path: Path) -> None:
    pairs = [(torch.from_numpy(image).permute(2, 0, 1), 0) for image in small.pixels(30)]
    train("lejepa", preset="tiny-vit", data=pairs, options=quick("lejepa"), out=tmp_path / "run")
    assert Run.open(tmp_path / "run").about["data"]["images"] == 30


@pytest.mark.parametrize("recipe", small.RECIPES)
def test_a_coloured_folder_with_a_grey_preset(recipe: str, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "photos", channels=3)
    model = train(
        recipe, preset=small.PRESETS.get(recipe), data=folder, out=tmp_path / "run", options=quick(recipe)
    )
    signal = model.config.signal
    assert (signal.channels, signal.size, len(signal.mean)) == (3, 16, 3)
    pixels = np.stack([np.asarray(Image.open(file)) for file in sorted(folder.iterdir())]) / 255
    assert signal.mean == pytest.approx(pixels.mean((0, 1, 2)), abs=0.05)
    assert signal.std == pytest.approx(pixels.std((0, 1, 2)), abs=0.05)
    assert model.config.data == str(folder)
    run = Run.open(tmp_path / "run")
    assert run.config == model.config
    assert "the data have 3 channels, not 1" in run.last("event")["text"]


def test_channels_that_were_asked_for_win(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "photos", channels=3)
    model = train("i-jepa", preset="tiny-vit", data=folder, options=quick(signal__channels=1))
    assert model.config.signal.channels == 1
    again = train(model.config, data=folder)
    assert again.config == model.config


def test_a_constant_channel_has_a_std() -> None:
    pixels = np.repeat(small.pixels(30), 3, -1)
    pixels[..., 1] = 7
    model = train("i-jepa", preset="tiny-vit", data=pixels, options=quick())
    assert min(model.config.signal.std) > 0
    assert all(bool(p.isfinite().all()) for p in model.parameters())


def test_constant_images_are_refused_or_named() -> None:
    with pytest.raises(UserError, match="every value of every image is 7, so there is nothing to learn"):
        train("i-jepa", preset="tiny-vit", data=np.full((30, 16, 16, 3), 7, np.uint8), options=quick())
    pixels = small.pixels(30).copy()
    pixels[[3, 8]] = 9
    with pytest.warns(OpenJEPAWarning, match=r"2 images hold one value all over and teach nothing \(3, 8\)"):
        train("i-jepa", preset="tiny-vit", data=pixels, options=quick())


def test_options_of_any_type() -> None:
    options = quick(target="ema", train__clip=None, hiding__target_scale=(0.1, 0.2), encoder__hide="replace")
    config = train("i-jepa", preset="tiny-vit", data=small.pixels(), options=options).config
    assert config.train.clip is None and config.hiding.target_scale == (0.1, 0.2)
    with pytest.raises(UserError, match=r"did you mean 'train\.steps'"):
        train("i-jepa", preset="tiny-vit", data=small.pixels(), options={"train.step": 3})
    with pytest.raises(UserError, match="a config has its sizes already"):
        train(config, preset="tiny", data=small.pixels())


def test_start_or_resume(tmp_path: Path) -> None:
    call = {"data": small.pixels(), "out": tmp_path / "run", "options": quick(), "resume": True}
    first = train("i-jepa", preset="tiny-vit", **call)  # ty: ignore
    again = train("i-jepa", preset="tiny-vit", **call)  # ty: ignore
    batch = small.images().read([0, 1])
    assert torch.equal(first.embed(batch), again.embed(batch))
    assert len(small.losses(tmp_path / "run")) == 2
    with pytest.raises(UserError, match="other options"):
        train("i-jepa", preset="tiny-vit", **call | {"options": quick(train__lr=0.5)})  # ty: ignore
    with pytest.raises(UserError, match="other contents"):
        train("i-jepa", preset="tiny-vit", **call | {"data": small.pixels()[:50]})  # ty: ignore
    with pytest.raises(UserError, match="already holds a run"):
        train("i-jepa", preset="tiny-vit", **call | {"resume": False})  # ty: ignore
    with pytest.raises(UserError, match=r"name it \(out\)"):
        train("i-jepa", preset="tiny-vit", data=small.pixels(), resume=True)


def test_start_writes_the_command_and_resume_reopens_the_data(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "photos", channels=1)
    config = small.config(train__steps=2, data=str(folder))
    assert isinstance(config, Recipe)
    run = start(config, tmp_path / "run", command="openjepa train i-jepa", progress=Silent())
    assert run.about["command"] == "openjepa train i-jepa"
    before = small.losses(run)
    assert small.losses(resume(tmp_path / "run")) == before
    (folder / "00.png").unlink()
    with pytest.raises(UserError, match="give the same data"):
        resume(tmp_path / "run")
    with pytest.raises(UserError, match="holds no run"):
        resume(tmp_path / "nowhere")


def test_a_run_killed_before_its_first_checkpoint_starts_again(tmp_path: Path) -> None:
    config = small.config(train__steps=2)
    run = small.new_run(tmp_path / "run", config)
    run.log("health", 0, nonsense=1.0)
    resume(tmp_path / "run", data=small.pixels())
    assert [step for step, _ in small.losses(run)] == [0, 1]
    assert all("nonsense" not in record for record in run.records("health"))


def test_files_found_broken_on_the_way_are_listed_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from openjepa.signals.images import image_set

    monkeypatch.setattr(image_set, "IN_MEMORY_BYTES", 0)
    folder = folder_of(tmp_path / "photos", channels=1)
    good = (folder / "05.png").read_bytes()
    (folder / "05.png").write_bytes(good[: len(good) - 40])
    with pytest.warns(OpenJEPAWarning, match=r"photos: 1 file is left out beside \d+ images: 05\.png"):
        train(
            "i-jepa",
            preset="tiny-vit",
            data=folder,
            out=tmp_path / "run",
            options=quick(train__workers=0, train__steps=8),
        )
    assert [name for name, _ in Run.open(tmp_path / "run").about["data"]["skipped"]] == ["05.png"]


def test_load(tmp_path: Path) -> None:
    model = train("i-jepa", preset="tiny-vit", data=small.pixels(), out=tmp_path / "run", options=quick())
    batch = small.images().read([3, 4])
    whole, exported = openjepa.load(tmp_path / "run"), openjepa.load(str(tmp_path / "run/model"))
    (tmp_path / "run/model/model.safetensors").unlink()
    (tmp_path / "run/model/config.json").unlink()
    from_checkpoint = openjepa.load(tmp_path / "run")
    for loaded in (whole, exported, from_checkpoint):
        assert not loaded.training
        assert torch.equal(loaded.embed(batch), model.embed(batch))


def test_an_unfinished_run_says_which_step_its_model_is_of(tmp_path: Path) -> None:
    train("i-jepa", preset="tiny-vit", data=small.pixels(), out=tmp_path / "run", options=quick())
    shutil.rmtree(tmp_path / "run/model")
    weights = tmp_path / "run/checkpoints/step-000002/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"abcd")
    with pytest.warns(OpenJEPAWarning) as said:
        openjepa.load(tmp_path / "run")
    first, second = (str(warning.message) for warning in said)
    assert "step-000002" in first and "damaged" in first and "falling back" in first
    assert second.endswith("this is its model after 1 of 2 steps")


def test_a_second_process_is_kept_away(tmp_path: Path) -> None:
    run = tmp_path / "run"

    class Second(Silent):
        sentences: ClassVar[list[str]] = []

        def step(self, step: int, loss: float, rate: float) -> None:
            for again in (
                lambda: resume(run, data=small.pixels()),
                lambda: train("i-jepa", preset="tiny-vit", data=1, out=run),
            ):
                with pytest.raises(UserError) as caught:
                    again()
                self.sentences.append(str(caught.value))

    train("i-jepa", preset="tiny-vit", data=small.pixels(), out=run, options=quick(), progress=Second())
    assert len(Second.sentences) == 4
    assert all("written to by another process" in sentence for sentence in Second.sentences)
    assert [step for step, _ in small.losses(run)] == [0, 1]
    assert not (run / ".lock").exists()


@pytest.mark.parametrize("fails_at", ["run.json", "config.json", "metrics.jsonl", "model.safetensors"])
def test_a_disk_that_is_full_at_the_start_leaves_the_name_free(
    fails_at: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path) -> None:
        if path.name.removesuffix(".partial") == fails_at:
            raise OSError(28, "No space left on device")

    call = {"data": small.pixels(), "out": tmp_path / "runs/run", "options": quick()}
    with monkeypatch.context() as patch:
        patch.setattr(files, "sync", full)
        with pytest.raises(UserError, match="No space left on device") as caught:
            train("i-jepa", preset="tiny-vit", **call)  # ty: ignore
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    train("i-jepa", preset="tiny-vit", **call)  # ty: ignore


@pytest.mark.parametrize("left", ["run.json", "metrics.jsonl", "checkpoints", "run.json.partial"])
def test_a_start_that_was_killed_leaves_the_name_free(left: str, tmp_path: Path) -> None:
    run = small.new_run(tmp_path / "run", small.config()).path
    for path in run.iterdir():
        if path.name != left:
            path.rmdir() if path.is_dir() else path.unlink()
    if left.endswith(".partial"):
        (run / left).write_text('{"comm')
    train("i-jepa", preset="tiny-vit", data=small.pixels(), out=run, options=quick())


def test_a_run_directory_that_is_removed_is_noticed_at_once(tmp_path: Path) -> None:
    run = tmp_path / "run"

    class Removing(Silent):
        steps = 0

        def step(self, step: int, loss: float, rate: float) -> None:
            self.steps += 1
            if step == 2:
                shutil.rmtree(run)
                (run / "checkpoints").mkdir(parents=True)

    progress = Removing()
    with pytest.raises(UserError, match="run was removed, moved or replaced"):
        train(
            "i-jepa",
            preset="tiny-vit",
            data=small.pixels(),
            out=run,
            options=quick(train__steps=8),
            progress=progress,
        )
    assert progress.steps == 2


def test_what_cannot_be_loaded(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="neither a run nor an exported model"):
        openjepa.load(tmp_path)
    torch.save({}, tmp_path / "weights.pt")
    for path in (tmp_path / "weights.pt", tmp_path):
        with pytest.raises(UserError, match="pickled file"):
            openjepa.load(path)
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(UserError, match="is a file: give the directory"):
        openjepa.load(tmp_path / "notes.txt")
    small.new_run(tmp_path / "run", small.config())
    with pytest.raises(UserError, match="no model yet"):
        openjepa.load(tmp_path / "run")


def test_a_start_that_no_file_system_takes_leaves_no_run_behind(tmp_path: Path) -> None:
    config = small.config(init="9" * 300)
    with pytest.raises((UserError, OSError)):
        start(config, tmp_path / "run", data=small.pixels(), progress=None)
    assert not (tmp_path / "run").exists()
