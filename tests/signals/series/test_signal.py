"""Series as tokens, and what they are asked and shown as."""

import xml.etree.ElementTree as ET

import numpy as np
import pytest
import torch

from openjepa.common.rng import Rng
from openjepa.errors import OpenJEPAWarning, UserError
from openjepa.signals.pictures import Marks
from openjepa.signals.series import SeriesSignal, open_series
from openjepa.signals.series.classical import statistics

from .files import waves


def fitted(tokens: str, channels: int = 3, steps: int = 60, **options: object):
    x, y = waves(24, channels=channels, steps=steps)
    signal = SeriesSignal.parse({"length": steps, "patch": 8, "tokens": tokens} | options)
    found = open_series((10 * x + 5, y), signal)
    signal = signal.fitted(found)
    return signal, signal.open((10 * x + 5, y))


@pytest.mark.parametrize("tokens", ["apart", "channel", "time"])
def test_tokens_hold_the_patches_in_order(tokens: str) -> None:
    signal, found = fitted(tokens)
    batch = found.read(range(6))
    values, made = signal.standardised(batch), signal.tokenise(batch)
    layouts = {"apart": (8,), "channel": (3, 8), "time": (8,)}
    assert made.layout == layouts[tokens] == signal.layout and made.values.shape[-1] == signal.features
    assert made.positions.shape == (1, made.values.shape[1], len(signal.axes))
    second = {
        "apart": values[:, 0, 8:16],
        "channel": values[:, 0, 8:16],
        "time": values[:, :, 8:16].flatten(1),
    }
    assert torch.equal(made.values[:, 1], second[tokens])
    assert made.valid is None  # half of the last patch is there
    assert abs(float(values.mean())) < 0.1 and float(values.std()) == pytest.approx(1, rel=0.1)


def test_patches_of_which_little_was_measured_are_not_there() -> None:
    signal, found = fitted("channel")
    raw = found.read(range(2)).values.clone()
    raw[0, 1, 16:30] = torch.nan  # the third patch, and most of the fourth
    batch = signal.batch(raw)
    assert batch.values.isfinite().all()
    valid = signal.tokenise(batch).valid.view(2, 3, 8)
    assert (~valid).nonzero().tolist() == [[0, 1, 2], [0, 1, 3]]
    assert torch.allclose(batch.values[0, 1, 16:30], raw[0, 1, 15])


def test_a_users_array_is_padded_or_refused() -> None:
    signal, found = fitted("apart")
    raw = found.read(range(3)).values  # three channels of the first series
    batch = signal.batch(raw.flatten(0, 1)[None][..., :40])
    assert batch.values.shape == (3, 1, 60) and batch.channel[:, 0].tolist() == [0, 1, 2]
    assert batch.valid.sum(-1)[:, 0].tolist() == [40] * 3
    with pytest.raises(UserError, match="longer than the 60 trained on"):
        signal.batch(torch.zeros(1, 3, 61))
    with pytest.raises(UserError, match=r"not \[N, 3, T\]"):
        signal.batch(torch.zeros(1, 2, 60))
    with pytest.raises(UserError, match="series 1 holds no number"):
        signal.batch(torch.stack([torch.zeros(3, 60), torch.full((3, 60), torch.nan)]))


def test_a_sample_can_be_its_own_measure() -> None:
    signal, found = fitted("channel", norm="sample")
    batch = found.read(range(4))
    larger = signal.batch(batch.values * 7 - 100)
    assert torch.allclose(signal.standardised(batch), signal.standardised(larger), atol=1e-3)
    assert not signal.standardised(signal.batch(torch.ones(1, 3, 60))).any()


@pytest.mark.parametrize("tokens", ["channel", "time"])
def test_series_come_back_from_their_tokens(tokens: str) -> None:
    signal, found = fitted(tokens)
    batch = found.read(range(4))
    back = signal.restored(signal.tokenise(batch))
    assert back is not None and torch.allclose(back.values, batch.values, atol=1e-4)


def test_tasks_ask_without_labels() -> None:
    signal, found = fitted("channel")
    batch = found.read(range(8))
    tasks = signal.tasks(batch)
    assert tasks.look.shape[0] == 8 and tasks.look.isfinite().all() and tasks.coarse.shape == (8, 2 * 3 * 8)
    seen = tasks.view(batch, Rng(0, 0))
    near = torch.cdist(signal.standardised(seen).flatten(1), signal.standardised(batch).flatten(1)).argmin(1)
    assert near.tolist() == list(range(8)) and not torch.equal(seen.values, batch.values)


def test_statistics_are_of_what_is_valid() -> None:
    x = torch.randn(4, 2, 50)
    valid = torch.ones(4, 2, 50, dtype=torch.bool)
    valid[:, :, 40:] = False
    wild = torch.where(valid, x, 1e3)
    assert torch.allclose(statistics(wild, valid), statistics(torch.where(valid, x, 0.0), valid), atol=1e-4)


@pytest.mark.parametrize("tokens", ["apart", "channel", "time"])
def test_a_picture_draws_curves_and_marks(tokens: str) -> None:
    signal, found = fitted(tokens)
    batch = found.read(range(4))
    count = int(np.prod(signal.layout))
    drawing = ET.fromstring(signal.picture(batch, 1).drawing)
    assert [t.text for t in drawing.iter("text")] == (["1"] if tokens == "apart" else ["0", "1", "2"])
    hidden = np.arange(count) % 2 == 0
    seen = signal.picture(batch, 1, Marks(hidden=hidden)).drawing
    assert len(seen) < len(signal.picture(batch, 1).drawing)
    error = np.where(hidden, 0.0, np.nan)
    shown = ET.fromstring(signal.picture(batch, 1, Marks(error=error)).drawing)
    cells = 4 if tokens == "apart" else 12
    assert [r.get("fill") for r in shown.iter("rect")] == ["rgb(11 122 117)"] * cells
    blocks = signal.picture(batch, 1, Marks(blocks=hidden[None])).drawing
    assert "var(--s1)" in blocks


def test_names_of_channels_are_escaped() -> None:
    signal, found = fitted("channel")
    evil = signal.model_copy(update={"channels": ("<script>", "b", "c")})
    assert "<script>" not in evil.picture(found.read([0]), 0).drawing


def test_other_units_and_channels_are_said() -> None:
    signal, _ = fitted("channel")
    x, y = waves(24, channels=3, steps=60)
    with pytest.warns(OpenJEPAWarning, match="other units"):
        signal.check(signal.open((1e4 * x, y)))
    with pytest.raises(UserError, match="have 2 channels, those trained on 3"):
        signal.open((x[:, :2], y))


def test_a_patch_longer_than_the_series_is_refused() -> None:
    with pytest.raises(UserError, match="shorter than a patch of 32"):
        SeriesSignal.parse({"length": 16})
