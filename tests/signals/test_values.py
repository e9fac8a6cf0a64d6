"""What numbers in an image mean: the same in every type, layout, file and command, or the same refusal."""

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import openjepa
from openjepa import JEPATransformer
from openjepa.common.rng import Rng
from openjepa.errors import OpenJEPAWarning, UserError
from openjepa.jepa import JEPA
from openjepa.recipes import build, configure
from openjepa.signals.images import image_set, open_images
from openjepa.signals.images.arrays import channel_axis
from openjepa.signals.images.values import scale, to_tensor

SMALL = {
    "signal.size": 8,
    "signal.patch": 2,
    "encoder.width": 8,
    "encoder.depth": 1,
    "encoder.heads": 1,
    "train.steps": 1,
    "train.batch_size": 8,
    "train.health_every": 1.0,
    "train.precision": "fp32",
}


def trained(data: object, **options: object) -> JEPA:
    return openjepa.train("i-jepa", preset="tiny-vit", data=data, options=SMALL | options)


def counts(low: int = 62, high: int = 961, channels: int = 1) -> np.ndarray:
    """`[24, 8, 8, C]` of whole numbers between two, both of which occur."""
    values = np.random.default_rng(0).integers(low, high + 1, (24, 8, 8, channels))
    values.flat[:2] = low, high
    return values


def test_bytes_and_fractions_are_one_scale() -> None:
    assert torch.equal(scale(torch.tensor([0, 51, 255], dtype=torch.uint8), None), torch.tensor([0, 0.2, 1]))
    assert torch.equal(scale(torch.tensor([0, 51, 255]), None), torch.tensor([0, 0.2, 1]))
    assert torch.equal(scale(torch.tensor([0.0, 51, 255]), None), torch.tensor([0, 0.2, 1]))
    assert torch.equal(scale(torch.tensor([0, 0.2, 1]), None), torch.tensor([0, 0.2, 1]))
    for wrong in ([0, 256], [-1.0, 1.0], [0, 200.5]):
        with pytest.raises(UserError, match=r"whole numbers in 0\.\.255 or floats in 0\.\.1"):
            scale(torch.tensor(wrong), None)


def test_a_range_scales_numbers_of_every_type() -> None:
    for dtype in (np.uint16, np.int64, np.float32, np.float64, ">u2", "<i4"):
        assert torch.equal(
            scale(np.array([[100, 150, 300]], dtype), (100, 300)), torch.tensor([[0, 0.25, 1]])
        )
    with pytest.warns(OpenJEPAWarning, match="far outside 100 to 300"):
        scale(np.array([60_000]), (100, 300))


@pytest.mark.parametrize("kind", ["array", "npy", "png", "tiff", "torch"])
def test_microscopy_counts_keep_their_levels(kind: str, tmp_path: Path) -> None:
    data = counts()
    wide: object = data.astype(np.uint16)
    if kind == "npy":
        np.save(tmp_path / "x.npy", wide)
        wide = tmp_path / "x.npy"
    if kind in ("png", "tiff"):
        for i, image in enumerate(data[..., 0]):
            Image.fromarray(image.astype(np.uint16)).save(tmp_path / f"{i:02}.{kind}")
        wide = tmp_path
    if kind == "torch":
        wide = torch.from_numpy(data).to(torch.int32)
    model = trained(wide)
    assert model.signal.range == (62, 961)
    rows = open_images(wide).statistics
    assert rows.levels == len(np.unique(data))
    assert model.signal.mean[0] == pytest.approx((data.mean() - 62) / 899, abs=0.02)
    read = model.signal.to_float(open_images(wide).read(range(24)))
    assert torch.allclose(read[:, 0], torch.from_numpy((data[..., 0] - 62) / 899).float(), atol=1e-6)


@pytest.mark.parametrize("recipe", ["i-jepa", "lejepa"])
def test_training_sees_what_embedding_sees(recipe: str) -> None:
    whole = {"hiding.augment.scale": "[1, 1]", "hiding.augment.ratio": "[1, 1]"}
    if recipe == "lejepa":
        augment = "hiding.global_augment"
        whole = {f"{augment}.scale": "[1, 1]", f"{augment}.ratio": "[1, 1]", f"{augment}.jitter": "0"}
        whole |= {f"{augment}.{name}": "0" for name in ("flip", "grey", "blur", "solarize")}
    sizes = {"signal.size": "8", "signal.patch": "2", "signal.range": "[62, 961]", "signal.mean": "[0.4]"}
    model = build(configure(recipe, "tiny-vit", sizes | {"signal.std": "[0.2]"} | whole))
    batch = torch.from_numpy(counts()).permute(0, 3, 1, 2).float()
    seen = model.pairs(batch, Rng(0, 0))[0].target[0].tokens.values
    assert torch.allclose(seen, model.signal.tokenise(batch).values, atol=1e-4)
    wanted = (batch.unfold(2, 2, 2).unfold(3, 2, 2).reshape(24, 16, 4) - 62) / 899
    assert torch.allclose(seen, (wanted - 0.4) / 0.2, atol=1e-4)


def test_a_run_names_range_and_levels(tmp_path: Path) -> None:
    model = openjepa.train(
        "i-jepa", preset="tiny-vit", data=counts().astype(np.uint16), options=SMALL, out=tmp_path / "run"
    )
    about = openjepa.training.Run.open(tmp_path / "run").about["data"]
    assert about["values"] == {"low": 62, "high": 961, "levels": len(np.unique(counts()))}
    assert openjepa.load(tmp_path / "run").signal.range == model.signal.range == (62, 961)


@pytest.mark.parametrize("channels", [1, 2, 4, 5, 100])
def test_any_number_of_channels(channels: int) -> None:
    data = counts(0, 255, channels).astype(np.uint8)
    model = trained(data)
    assert model.signal.channels == channels == len(model.signal.mean)
    assert model.embed(torch.from_numpy(data[:2]).permute(0, 3, 1, 2)).shape == (2, 8)
    assert torch.equal(open_images(data).read([3])[0], torch.from_numpy(data[3]).permute(2, 0, 1))


@pytest.mark.parametrize(
    ("shape", "channels", "axis"),
    [
        ((9, 28, 28, 3), None, 3),
        ((9, 3, 28, 28), None, 1),
        ((9, 28, 28, 200), None, 3),
        ((9, 200, 28, 28), None, 1),
        ((9, 40, 60, 3), None, 3),
        ((9, 1, 40, 60), None, 1),
        ((9, 40, 60, 200), 200, 3),
        ((9, 12, 40, 60), 12, 1),
        ((9, 28, 28, 3), 28, 3),  # the shape says more than a number that happens to fit
        ((9, 4, 4, 200), 200, 3),
        ((9, 28, 28, 28), 28, 3),  # as is usual for an array
        ((9, 12, 40, 60), None, None),
        ((9, 40, 60, 200), 3, None),
        ((9, 3, 28, 3), None, None),
        ((9, 28, 28, 28), None, None),
        ((9, 4, 4, 200), None, None),
    ],
)
def test_where_the_channels_are(shape: tuple[int, ...], channels: int | None, axis: int | None) -> None:
    if axis is not None:
        assert channel_axis(shape, channels, "last") == axis
        return
    with pytest.raises(
        UserError, match=rf"may have {shape[1]} channels .* or {shape[3]} .*--signal\.channels"
    ):
        channel_axis(shape, channels, "last")


def test_what_is_set_by_hand_is_kept() -> None:
    assert trained(counts(), **{"signal.mean": 0.25}).signal.mean == (0.25,)
    model = trained(counts(), **{"signal.range": [0, 4095], "signal.std": [0.5]})
    assert (model.signal.range, model.signal.std) == ((0, 4095), (0.5,))
    assert model.signal.mean[0] == pytest.approx(counts().mean() / 4095, abs=0.01)
    again = openjepa.train(model.config, data=counts())
    assert again.config == model.config
    other = openjepa.train(model.config, data=counts() // 2)  # its mean was measured, so it is again
    assert other.signal.std == (0.5,) and other.signal.mean[0] < 0.6 * model.signal.mean[0]


def test_numbers_by_hand_for_other_channels_are_refused() -> None:
    with pytest.raises(UserError, match="mean has 2 numbers"):
        trained(counts(), **{"signal.mean": [0.2, 0.3]})
    with pytest.raises(UserError, match=r"range \[5\.0, 5\.0\] must be two numbers in ascending order"):
        trained(counts(), **{"signal.range": [5, 5]})


def test_near_numbers_of_a_preset_are_kept_to_the_bit() -> None:
    pixels = (np.random.default_rng(0).normal(0.286, 0.35, (64, 8, 8)) * 255).clip(0, 255)
    assert trained(np.round(pixels)).signal.mean != (0.286,)
    other = np.random.default_rng(0).normal(0, 1, (300, 8, 8))
    other = ((other - other.mean()) / other.std() * 0.1 + 0.286).clip(0, 1)
    assert trained(other).signal.mean == (0.286,)
    assert trained(other).signal.std[0] == pytest.approx(0.1, abs=0.005)


@pytest.mark.parametrize("lazy", [False, True])
def test_images_in_other_units_are_told_apart(lazy: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    model = trained(counts(0, 4095))
    monkeypatch.setattr(image_set, "IN_MEMORY_BYTES", 0 if lazy else 2**30)
    config = model.config
    with pytest.warns(OpenJEPAWarning, match="are they in other units"):
        config.samples(counts(0, 255))
    with warnings.catch_warnings():
        warnings.simplefilter("error", OpenJEPAWarning)
        config.samples(counts(0, 3000))


def test_an_outlier_that_sets_the_range_is_pointed_at() -> None:
    data = counts(100, 120)
    data.flat[0] = 65_535
    with pytest.warns(OpenJEPAWarning, match=r"nearly all values lie in 100 to 120, .* outliers"):
        model = trained(data)
    spread = model.signal.tokenise(torch.from_numpy(data[1:]).permute(0, 3, 1, 2)).values.std()
    assert spread > 1e-3


DTYPES = [
    "u1",
    "i1",
    "u2",
    ">u2",
    "i4",
    "u4",
    "i8",
    "u8",
    "f2",
    "f4",
    "f8",
    ">f4",
    "?",
    "c8",
    "M8[s]",
    "S3",
    "V4",
]
ORDERS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "C": np.ascontiguousarray,
    "F": np.asfortranarray,
    "reversed": lambda x: np.ascontiguousarray(x[:, ::-1])[:, ::-1],
    "strided": lambda x: np.repeat(x, 2, 1)[:, ::2],
    "read-only": lambda x: np.frombuffer(np.ascontiguousarray(x).tobytes(), x.dtype).reshape(x.shape),
}
LAYOUTS = {"[N, H, W]": 1, "[N, H, W, C]": 3, "[N, C, H, W]": 3, "[N, H, W, 7]": 7}


def outcome(action: Callable[[], object]) -> object:
    """A result as numbers, or the first words of a refusal."""
    try:
        found = action()
    except ValueError as error:  # a UserError, or scikit-learn's own
        assert "\n" not in str(error) or not isinstance(error, UserError)
        return "refused"
    return np.round(np.asarray(found, np.float64), 4).tolist()


@pytest.mark.filterwarnings("ignore::openjepa.OpenJEPAWarning")
def test_every_type_layout_and_order_means_the_same_everywhere(tmp_path: Path) -> None:
    """150 arrays from a fixed seed: as an array, a file, a tensor of the model and samples of the estimator."""
    rng = np.random.default_rng(0)
    models = {c: trained(rng.integers(0, 4096, (24, 8, 8, c)), **{"signal.channels": c}) for c in (1, 3, 7)}
    model_of = {c: JEPATransformer(steps=1, options=SMALL | {"signal.channels": c}) for c in (1, 3, 7)}
    for c, transformer in model_of.items():
        transformer.fit(rng.integers(0, 4096, (24, 8, 8, c)))
    refused = 0
    for _ in range(150):
        dtype, order = rng.choice(DTYPES), rng.choice(list(ORDERS))
        layout = rng.choice(list(LAYOUTS))
        c = LAYOUTS[layout]
        low, high = [(0, 100), (0, 2), (-100, 100), (0, 4096)][rng.integers(4)]
        values = rng.integers(low, high, (3, 8, 8, c))
        plain = values.astype("f8" if dtype in ("V4", "S3", "M8[s]") else dtype)
        plain = plain.astype("u1" if dtype == "?" else plain.dtype) * (255 if dtype == "?" else 1)
        array = values.astype("u1").astype(dtype) if dtype in ("S3", "M8[s]") else values.astype(dtype)
        moved = array if layout.endswith("C]") or c == 7 else array.transpose(0, 3, 1, 2)
        moved = ORDERS[order](moved[:, 0] if layout == "[N, H, W]" else moved)
        tensor = np.moveaxis(array, 3, 1)

        def embedded(images: image_set.ImageSet, model: JEPA = models[c]) -> torch.Tensor:
            return model.embed(images.read(range(len(images))))

        np.save(tmp_path / "x.npy", moved)
        found = {
            "array": outcome(lambda x=moved, c=c: embedded(open_images(x, channels=c))),
            "file": outcome(lambda c=c: embedded(open_images(tmp_path / "x.npy", channels=c))),
            "embed": outcome(lambda x=tensor, c=c, order=order: models[c].embed(ORDERS[order](x))),
        }
        case = (dtype, order, layout, low, high)
        assert len({str(one) for one in found.values()}) == 1, (case, found)
        usual = outcome(lambda x=moved, c=c: model_of[c].transform(x)) if layout == "[N, H, W, C]" else None
        if found["array"] == "refused":
            refused += 1
            assert dtype in ("c8", "M8[s]", "S3", "V4"), case
            assert usual in (None, "refused"), case
        else:
            images = torch.from_numpy(np.moveaxis(plain.astype("f4"), 3, 1))
            assert torch.equal(to_tensor(tensor).float(), images), case
            expected = model_of[c].model_.embed(images)
            assert usual is None or np.allclose(usual, expected, atol=1e-3), case
    assert 20 < refused < 60


def test_strange_files_are_one_sentence(tmp_path: Path) -> None:
    def claims(shape: str) -> bytes:
        header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
        return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + bytes(64)

    for number, shape in enumerate(
        ("(9999999999, 28, 28)", "(-3, 8, 8)", "()", "(2, 8, 0)", "(" * 90, "(1e9, 8, 8)")
    ):
        path = tmp_path / f"{number}.npy"
        path.write_bytes(claims(shape))
        with pytest.raises(UserError) as caught:
            open_images(path)
        assert "\n" not in str(caught.value)
