"""Classes of every place of an image: pairs of photos and masks, the judging task, the probe."""

import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from openjepa.errors import OpenJEPAWarning, UserError
from openjepa.evals.dense import (
    ClassicalPlaces,
    EncodedPlaces,
    answers,
    dense_probe,
    encoded,
    held_out,
    labelled,
    shares,
)
from openjepa.evals.table import JOINED
from openjepa.evals.tasks import Regions, score
from openjepa.recipes import build, configure
from openjepa.signals.images.pixels import VOID, PixelSet, open_pixels

NAMES = ("dark", "light")


def scenes(count: int = 24, seed: int = 0) -> PixelSet:
    """Dark pictures with a light square somewhere, which is the class; a strip below has none."""
    random = np.random.default_rng(seed)
    images = random.integers(0, 60, (count, 3, 32, 48), dtype=np.uint8)
    classes = np.zeros((count, 32, 48), np.uint8)
    for i in range(count):
        top, left = random.integers(0, 12), random.integers(0, 32)
        images[i, :, top : top + 16, left : left + 16] += 150
        classes[i, top : top + 16, left : left + 16] = 1
    classes[:, 28:] = VOID
    keys = tuple(f"{i % 4}_{i}" for i in range(count))
    groups = np.arange(count) % 4
    return PixelSet(torch.from_numpy(images), torch.from_numpy(classes), NAMES, keys, groups)


class Fixed:
    """Features that are the pixels' means, or noise."""

    def __init__(self, name: str, noise: bool) -> None:
        self.name, self.noise = name, noise

    def places(self, images: Tensor) -> dict[str, Tensor]:
        grid = torch.nn.functional.avg_pool2d(images.float(), 4).permute(0, 2, 3, 1)
        if self.noise:
            grid = torch.randn(grid.shape, generator=torch.Generator().manual_seed(0))
        return {"cells": grid}


def test_the_score_is_the_mean_over_classes_of_intersection_over_union() -> None:
    task = Regions(3)
    truth = torch.tensor([[[0, 0], [1, VOID]], [[1, 1], [0, 0]]])
    guess = torch.tensor([[[0, 1], [1, 0]], [[1, 1], [0, 2]]])
    # class 0: 2 of 4 that are or are called so; 1: 3 of 4; 2 is called once and never true: 0
    assert score(task, guess, truth) == pytest.approx((2 / 4 + 3 / 4 + 0) / 3)
    assert score(Regions(2), guess.clamp_max(1), truth) == pytest.approx((2 / 4 + 3 / 5) / 2)
    perfect = torch.where(truth == VOID, 2, truth)
    assert score(task, perfect, truth) == 1  # class 2 is neither true nor called where it counts


def test_shares_of_classes_leave_out_what_has_none() -> None:
    found = shares(scenes(2).classes, 2, (8, 12))
    assert found.shape == (2, 8, 12, 2)
    assert (found[:, 7] == 0).all()
    torch.testing.assert_close(found[:, :7].sum(-1), torch.ones(2, 7, 12))


def test_a_probe_finds_what_features_tell_and_nothing_in_noise() -> None:
    train, test = scenes(), scenes(8, seed=1)
    table = dense_probe(train, test, [Fixed("pixels", False), Fixed("noise", True)], join=("noise", "pixels"))
    found = {one.row: one.mean for one in table.scores}
    assert found["pixels"] > 0.8 > 0.6 > found["noise"]
    assert found[JOINED] > 0.8
    assert all(one.interval[0] <= one.mean <= one.interval[1] for one in table.scores)


def test_what_has_been_answered_is_not_asked_again() -> None:
    train, test = scenes(), scenes(8, seed=1)
    pixels = Fixed("pixels", False)
    table = dense_probe(train, test, [pixels])
    grids = encoded(pixels, train, test)
    known = {"pixels": answers(Regions(len(NAMES)), grids, train, test, labelled(train, 0, 0))}
    again = dense_probe(train, test, [Fixed("pixels", True)], answered=known)
    assert table.scores == again.scores


def test_few_labels_are_those_of_the_same_images_for_every_source() -> None:
    train, test = scenes(), scenes(8, seed=1)
    sources = [Fixed("pixels", False), Fixed("noise", True)]
    table = dense_probe(train, test, sources, join=("noise", "pixels"), few=4, draws=3)
    found = {(one.row, one.labels): one for one in table.scores}
    few = found["pixels", 4 / 24]
    assert len(few.values) == 3 and few.mean > 0.7 > found["noise", 4 / 24].mean
    assert found["pixels", 1.0].values == dense_probe(train, test, sources).scores[0].values
    assert len(found[JOINED, 4 / 24].values) == 3
    parts = labelled(train, 4, 3)
    assert [len(rows) for rows in parts] == [24, 4, 4, 4]
    hidden = PixelSet(train.images, train.classes.clone(), train.names, train.keys, train.groups)
    unseen = np.setdiff1d(np.arange(24), np.concatenate(parts[1:]))
    hidden.classes[unseen] = 1 - hidden.classes[unseen].clamp_max(1)  # labels that no draw may see
    again = dense_probe(hidden, test, sources[:1], few=4, draws=3)
    assert again.scores[1].values == few.values and again.scores[0].values != found["pixels", 1.0].values
    with pytest.raises(UserError, match="few=25: there are 24 images"):
        dense_probe(train, test, sources, few=25)


def test_settings_are_chosen_on_a_group_of_their_own() -> None:
    train = scenes()
    fit, check = held_out(train)
    assert train.groups is not None
    assert not set(train.groups[fit.numpy()]) & set(train.groups[check.numpy()])
    assert len(fit) + len(check) == len(train) and len(check) == 6


def test_a_models_tokens_and_classical_features_are_judged_alike() -> None:
    small = {
        "signal.size": "[32, 48]",
        "signal.frames": "4",
        "hiding.size": "null",
        "hiding.image_size": "null",
        "encoder.width": "24",
        "encoder.depth": "2",
        "encoder.heads": "2",
        "encoder.levels": "[0, 1]",
        "target.levels": "2",
        "predictor.width": "24",
    }
    model = build(configure("v-jepa-2-1", "tiny", small)).eval()
    train, test = scenes(), scenes(8, seed=1)
    places = EncodedPlaces(model).places(train.images[:2])
    assert {name: tuple(grid.shape) for name, grid in places.items()} == {
        "last layer": (2, 4, 6, 24),
        "last 2 layers": (2, 4, 6, 48),
    }
    classical = ClassicalPlaces(train.images)
    alone = EncodedPlaces(model).places(train.images[1:2])["last layer"]
    torch.testing.assert_close(alone[0], places["last layer"][1], rtol=1e-4, atol=1e-5)
    sources = [EncodedPlaces(model), classical]
    table = dense_probe(train, test, sources, join=("model", classical.name))
    assert {one.row for one in table.scores} == {"model", classical.name, JOINED}
    assert next(one.mean for one in table.scores if one.row == classical.name) > 0.5


@pytest.mark.parametrize("preset", ["tiny-cifar10", "tiny-cifar10-vit"])
def test_encoders_of_images_are_judged_as_well(preset: str) -> None:
    """Transformers and convolutions, at another size than they were trained on."""
    model = build(configure("lejepa", preset, {"signal.channels": "3"})).eval()
    found = EncodedPlaces(model).places(scenes(2).images)
    rows, columns = found["last layer"].shape[1:3]
    assert 1 < rows < columns and found["last layer"].isfinite().all()


def photo(path: Path, shade: int, size: tuple[int, int] = (24, 16)) -> None:
    Image.new("RGB", size, (shade,) * 3).save(path)


def test_pairs_are_read_from_a_folder_and_from_an_archive(tmp_path: Path) -> None:
    folder = tmp_path / "scenes"
    (folder / "train").mkdir(parents=True)
    for i in range(3):
        photo(folder / "train" / f"a_{i}.jpg", 50 * i)
        Image.fromarray(np.full((16, 24), (0, 1, 9)[i], np.uint8)).save(folder / "train" / f"a_{i}.png")
    photo(folder / "train" / "alone.jpg", 3)
    (folder / "train" / "b_0.jpg").write_bytes(b"no picture")
    Image.fromarray(np.zeros((16, 24), np.uint8)).save(folder / "train" / "b_0.png")
    with pytest.warns(OpenJEPAWarning, match="2 .*left out.*train/alone.jpg .*pair is missing"):
        found = open_pixels(folder, NAMES, void=9, group=lambda key: key.split("/")[1][0])
    assert found.keys == ("train/a_0", "train/a_1", "train/a_2")
    assert found.images.shape == (3, 3, 16, 24) and found.classes[:, 0, 0].tolist() == [0, 1, VOID]
    assert found.groups is not None and found.groups.tolist() == [0, 0, 0]
    with tarfile.open(tmp_path / "scenes.tar", "w") as archive:
        archive.add(folder, arcname=".")
    with pytest.warns(OpenJEPAWarning):
        again = open_pixels(tmp_path / "scenes.tar", NAMES, void=9)
    assert torch.equal(again.images, found.images) and torch.equal(again.classes, found.classes)


def test_what_cannot_be_read_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        open_pixels(tmp_path / "nothing", NAMES)
    with pytest.raises(UserError, match="holds no pair"):
        open_pixels(tmp_path, NAMES)
    (tmp_path / "x.tar").write_bytes(b"no archive")
    with pytest.raises(UserError, match="cannot be read as a tar archive"):
        open_pixels(tmp_path / "x.tar", NAMES)
    for i, size in enumerate([(24, 16), (8, 8)]):
        photo(tmp_path / f"{i}.jpg", 9, size)
        Image.fromarray(np.zeros(size[::-1], np.uint8)).save(tmp_path / f"{i}.png")
    with pytest.raises(UserError, match="images are of 2 sizes"):
        open_pixels(tmp_path, NAMES)
    with pytest.raises(UserError, match="other classes"):
        dense_probe(
            scenes(), PixelSet(*[getattr(scenes(), n) for n in ("images", "classes")], ("a",), ()), []
        )
