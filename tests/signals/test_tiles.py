"""Large pictures in tiles: a step sees one at a random place, features are means over all; and what shrinks is said."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.training import small

from openjepa.common.rng import Rng
from openjepa.errors import UserError
from openjepa.evals import embed_to_file
from openjepa.evals.features import EncodedFeatures
from openjepa.evals.predict import predict
from openjepa.recipes import configure
from openjepa.signals.images import open_images
from openjepa.signals.images.signal import ImageSignal
from openjepa.signals.images.tiles import TiledImages, suited_tiles
from openjepa.signals.parts import SplitPart
from openjepa.training import Run, train

SIDE, TILES = 16, 3


def numbered(count: int = 4, side: int = SIDE * TILES) -> np.ndarray:
    """Pictures whose every pixel tells its picture and its place."""
    row, column = np.divmod(np.arange(side * side).reshape(side, side), side)
    return np.stack([np.stack([row, column, np.full_like(row, i)], -1) for i in range(count)]).astype(
        np.uint8
    )


def signal(**options: object) -> ImageSignal:
    return ImageSignal.parse({"size": SIDE, "patch": 4, "tiles": TILES, **options})


def opened(count: int = 4) -> TiledImages:
    found = signal().open(numbered(count))
    assert isinstance(found, TiledImages)
    return found


def test_cuts_are_the_grid_in_row_order() -> None:
    images = opened()
    assert images.shape == (3, SIDE, SIDE) and len(images) == 4
    cuts = list(images.cuts([2, 0]))
    assert len(cuts) == TILES**2
    for place, cut in enumerate(cuts):
        assert cut.shape == (2, 3, SIDE, SIDE) and cut[:, 2, 0, 0].tolist() == [2, 0]
        assert cut[0, :2, 0, 0].tolist() == [place // TILES * SIDE, place % TILES * SIDE]
    whole = torch.from_numpy(numbered()).permute(0, 3, 1, 2)[[2]]
    rows = [torch.cat([cut[:1] for cut in cuts[i * TILES : (i + 1) * TILES]], 3) for i in range(TILES)]
    assert torch.equal(torch.cat(rows, 2), whole)


def test_without_a_step_it_is_the_middle_tile() -> None:
    assert opened().read([1])[0, :, 0, 0].tolist() == [SIDE, SIDE, 1]


def test_a_step_draws_places_of_its_own_and_reaches_every_corner() -> None:
    images, last = opened(), SIDE * (TILES - 1)
    seen = torch.cat([images.read([0, 1], Rng(0, step).stream("read"))[:, :2, 0, 0] for step in range(300)])
    assert seen.min() == 0 and seen.max() <= last and len(seen.unique(dim=0)) > 200
    assert (seen.max(0).values > last - 3).all()
    again = images.read([0, 1], Rng(0, 7).stream("read"))
    assert torch.equal(again, images.read([0, 1], Rng(0, 7).stream("read")))
    assert not torch.equal(again, images.read([0, 1], Rng(1, 7).stream("read")))
    first = images.read([0], Rng(0, 7, start=0, total=2).stream("read"))
    second = images.read([1], Rng(0, 7, start=1, total=2).stream("read"))
    assert torch.equal(torch.cat([first, second]), again)  # two processes see what one does


def test_pictures_that_are_decoded_as_they_are_read_give_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i, picture in enumerate(numbered()):
        Image.fromarray(picture).save(tmp_path / f"{i}.png")
    loaded = signal().open(str(tmp_path))
    monkeypatch.setattr("openjepa.signals.images.image_set.IN_MEMORY_BYTES", 0)
    decoded = signal().open(str(tmp_path))
    assert loaded.in_memory and not decoded.in_memory
    rng = Rng(0, 3)
    assert torch.equal(decoded.read([3, 1], rng.stream("a")), loaded.read([3, 1], rng.stream("a")))
    for at_once in (1, 4):
        decoded.at_once = at_once
        for mine, theirs in zip(decoded.cuts([3, 1]), loaded.cuts([3, 1]), strict=True):
            assert torch.equal(mine, theirs)
    assert decoded.key(2) == "2.png" and decoded.describe()["tiles"] == TILES


def test_features_are_means_over_tiles(tmp_path: Path) -> None:
    options = small.options(train__steps=2, signal__tiles=TILES)
    pictures = np.repeat(small.pixels(30, size=SIDE * TILES), 3, -1)
    model = train("i-jepa", preset="tiny-vit", data=pictures, options=options, progress=False)
    assert model.config.signal.tiles == TILES and model.config.signal.channels == 3
    images = model.config.samples(pictures)
    expected = torch.stack([model.embed(cut) for cut in images.cuts(range(len(images)))]).mean(0)
    images.at_once = 7
    embed_to_file(model, images, tmp_path / "e.npy")
    np.testing.assert_allclose(np.load(tmp_path / "e.npy"), expected.numpy(), atol=1e-5)
    assert not np.allclose(expected, model.embed(images.read(range(len(images)))), atol=1e-3)
    source = EncodedFeatures(model, images)
    found = torch.cat([part["mean"] for _, part in source.stream(images, np.arange(30), ["mean"])])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    half = SplitPart(images, np.arange(10, 20))
    found = torch.cat(
        [part["mean"] for _, part in EncodedFeatures(model, half).stream(half, np.arange(10), ["mean"])]
    )
    torch.testing.assert_close(found, expected[10:20], rtol=0, atol=1e-5)


def test_auto_shrinks_no_tile_by_more_than_half() -> None:
    for side, tiles in [(SIDE, 1), (2 * SIDE, 1), (3 * SIDE, 2), (6 * SIDE, 3), (100 * SIDE, 8)]:
        whole = open_images(np.zeros((2, side, side), np.uint8), size=SIDE)
        assert whole.shrunk == side / SIDE and suited_tiles(whole) == tiles
    fitted = signal(tiles="auto").open(numbered(20, side=6 * SIDE))
    assert fitted.tiles == 3 and signal(tiles="auto").fitted(fitted).tiles == 3
    assert signal(tiles="auto").fitted(signal(tiles="auto").open(numbered(20, side=SIDE))).tiles == 1


def test_what_shrinks_is_said_once_and_only_where_it_is_much(tmp_path: Path) -> None:
    out = tmp_path / "run"
    pictures = small.pixels(30, size=SIDE * 6)
    train(
        "i-jepa",
        preset="tiny-vit",
        data=pictures,
        out=out,
        options=small.options(train__steps=2),
        progress=False,
    )
    said = [line["text"] for line in Run.open(out).records("event") if "shrunk" in line["text"]]
    assert len(said) == 1 and said[0].startswith(
        "images are shrunk 6 times, to 16 px: where objects are small"
    )
    assert not open_images(small.pixels(4, size=SIDE * 3), size=SIDE).remark
    for i, side in enumerate((SIDE, SIDE, SIDE * 20)):
        Image.new("L", (side, side)).save(tmp_path / f"{i}.png")
    assert "shrunk up to 20 times (1 in the median), to 16 px" in open_images(tmp_path, size=SIDE).remark
    tiled = signal(channels=1, mean=[0.5], std=[0.5]).open(pictures)
    assert "cut into 3 x 3 tiles of 16 px" in tiled.remark and "shrunk" not in tiled.remark


def test_bad_numbers_are_one_sentence() -> None:
    for value, sentence in [
        ("-1", "signal.tiles"),
        ("many", "signal.tiles"),
        ("64", "64 tiles of 1024 px along a side"),
    ]:
        with pytest.raises(UserError, match=sentence):
            configure("i-jepa", "tiny", {"signal.tiles": value, "signal.size": "1024"})


def test_numbers_that_are_no_bytes_stay_so_when_they_are_resized() -> None:
    counts = np.linspace(0, 3000, 40 * 40, dtype=np.float32).reshape(1, 40, 40).repeat(4, 0)
    images = open_images(counts, size=20).read([0])
    assert images.dtype == torch.float32 and 2900 < float(images.max()) <= 3000


def test_fine_tuning_sees_tiles_at_random_and_predicts_by_their_mean(tmp_path: Path) -> None:
    pictures, labels = small.pixels(40, size=SIDE * TILES), np.arange(40) % 2
    options = small.options(train__steps=2, signal__tiles=TILES)
    run = tmp_path / "run"
    train("i-jepa", preset="tiny-vit", data=pictures, out=run, options=options, progress=False)
    tuning = {"source": str(run), "train.steps": 6, "train.batch_size": 8, "train.lr": 0.01}
    tuned: Any = train(
        "finetune", data=(pictures, labels), out=tmp_path / "tuned", options=tuning, progress=False
    )
    images = tuned.config.samples((pictures, labels))
    expected = torch.stack([tuned.predict(cut) for cut in images.cuts(range(40))]).mean(0)
    found = predict(tmp_path / "tuned", (pictures, labels))
    np.testing.assert_allclose(found.answers, expected.numpy(), atol=1e-5)
    assert not np.allclose(found.answers, tuned.predict(images.read(range(40))).numpy(), atol=1e-5)
    labelled = tuned.config.open((pictures, labels), adapt=False)
    first, second = (labelled.read([0, 1], Rng(0, step).stream("read")).inputs for step in (0, 1))
    assert first.shape == (2, 1, SIDE, SIDE) and not torch.equal(first, second)
