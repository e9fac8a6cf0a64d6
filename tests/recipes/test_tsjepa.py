"""TS-JEPA: each sample is masked by itself and made of itself, sizes are the paper's, forecasts are judged."""

import numpy as np
import pytest
import torch

import openjepa
from openjepa.common.rng import Rng
from openjepa.errors import UserError
from openjepa.evals.protocol import probe
from openjepa.evals.tasks import Coming
from openjepa.jepa import Tokens, View
from openjepa.nets.patches import PatchConv, SeriesConv, strides
from openjepa.recipes import build, configure
from openjepa.signals.series import SeriesSignal, open_series

SMALL = {
    "train.steps": "12",
    "train.batch_size": "8",
    "train.precision": "fp32",
    "signal.patch": "8",
    "encoder.width": "16",
    "encoder.depth": "1",
    "encoder.heads": "2",
    "encoder.stem.widths": "[8, 16]",
    "predictor.width": "16",
    "target.layers": "1",
}


def waves(count: int = 32, channels: int = 2, steps: int = 64) -> np.ndarray:
    random = np.random.default_rng(0)
    rate = random.uniform(1, 8, (count, channels, 1))
    phase = random.uniform(0, 6, (count, channels, 1))
    return np.sin(2 * np.pi * rate * np.arange(steps) / steps + phase).astype(np.float32)


def small(**changes: str):
    config = configure("ts-jepa", "tiny", SMALL | changes)
    samples = config.open(waves(), adapt=True)
    config = config.adapt(samples)
    return build(config), config.signal.open(waves())


@pytest.mark.parametrize("tokens", ["apart", "channel", "time"])
def test_it_keeps_the_contract(tokens: str) -> None:
    model, samples = small(**{"signal.tokens": tokens})
    openjepa.check_jepa(model, samples.read(range(8)))


def test_padded_samples_keep_the_contract_and_count_for_nothing_more() -> None:
    model, samples = small()
    raw = samples.read(range(6)).values.clone()
    raw[0, :, 33:] = torch.nan
    batch = model.signal.batch(raw)
    openjepa.check_jepa(model, batch)
    short = model.signal.batch(raw[:1, :, :33])
    assert torch.allclose(model.embed(batch)[:1], model.embed(short), atol=1e-5)


def test_seven_tenths_of_each_sample_are_hidden_by_its_own_draw() -> None:
    config = configure("ts-jepa")
    (pair,) = config.hiding.build(config.signal)(config.signal.batch(torch.randn(64, 1, 320)), Rng(0, 0))
    assert pair.context.keep.shape == (64, 3) and pair.select.shape == (64, 1, 7)
    both = torch.cat([pair.context.keep, pair.select[:, 0]], 1).sort(1).values
    assert (both == torch.arange(10)).all()
    assert len({tuple(row) for row in pair.context.keep.tolist()}) > 30


def test_context_and_target_of_a_sample_are_made_of_it_alone() -> None:
    """The released code gathers every sample's tokens from the first of the batch."""
    model, samples = small(**{"target.norm": "layer", "target.centre": "none"})
    model.eval()
    batch = samples.read(range(8))
    other = samples.read([0, *range(16, 23)])
    with torch.no_grad():
        one, two = (model(part, Rng(0, 0)) for part in (batch, other))
    for name in ("s_x", "s_y", "prediction"):
        first, second = (getattr(part, name)[0] for part in (one, two))
        assert torch.allclose(first[0], second[0], atol=1e-5)
        assert not torch.allclose(first[1], second[1], atol=1e-2)
        assert first.flatten(1).std(0).mean() > 1e-2  # rows differ from one another


def test_no_step_of_a_hidden_patch_reaches_the_context() -> None:
    model, samples = small()
    model.eval()
    batch = samples.read(range(4))
    (pair,) = model.pairs(batch, Rng(1, 0))
    tokens, hidden = pair.context.tokens, pair.select[:, 0]
    changed = tokens.values.clone()
    changed.scatter_(1, hidden[..., None].expand(-1, -1, changed.shape[-1]), 1e3)
    other = View(Tokens(changed, tokens.positions, tokens.layout), pair.context.keep)
    with torch.no_grad():
        assert torch.equal(model.encoder(pair.context), model.encoder(other))


def test_the_target_is_the_encoder_at_the_start_and_stands_still_at_the_end() -> None:
    model, samples = small()
    view = model.whole(samples.read(range(4)))
    model.eval()
    assert torch.equal(model.encoder(view), model.target.encoder(view))
    config = configure("ts-jepa")
    assert config.target.momentum(0, 20_000) == pytest.approx(0.998, abs=1e-5)
    assert config.target.momentum(19_999, 20_000) == 1
    from openjepa.training.optim import learning_rate

    rates = [learning_rate(config.train, step) for step in (0, 10_000, 19_999)]
    assert rates == pytest.approx([1e-4, 0.75e-4, 0.5e-4], rel=1e-3)


@pytest.mark.parametrize(("preset", "width", "depth"), [("ennadir", 128, 1), ("ennadir-384", 384, 3)])
def test_the_papers_models_have_the_papers_sizes(preset: str, width: int, depth: int) -> None:
    with torch.device("meta"):
        model = configure("ts-jepa", preset).build()

    def blocks(d: int, n: int) -> int:
        return n * (12 * d * d + 13 * d)

    stem = 3 * width + width + 10 * width * width + width  # 32 steps give 10 outputs
    assert sum(p.numel() for p in model.encoder.parameters()) == stem + blocks(width, depth) + 2 * width
    enter, leave = width * 128 + 128, 128 * width + width
    assert sum(p.numel() for p in model.predictor.parameters()) == enter + blocks(128, 1) + 256 + 128 + leave


def test_the_released_stem_keeps_the_contract_too() -> None:
    stem = {"encoder.stem": "patch", "encoder.stem.layers": "[[8, 3, 2]]"}
    del (own := dict(SMALL))["encoder.stem.widths"]
    config = configure("ts-jepa", "tiny", own | stem)
    config = config.adapt(config.open(waves(), adapt=True))
    openjepa.check_jepa(build(config), config.signal.open(waves()).read(range(8)))


@pytest.mark.parametrize(
    ("patch", "count", "want"), [(16, 3, [4, 2, 2]), (8, 3, [2, 2, 2]), (12, 2, [4, 3]), (7, 2, [7, 1])]
)
def test_strides_make_the_patch(patch: int, count: int, want: list[int]) -> None:
    assert strides(patch, count) == want


@pytest.mark.parametrize("tokens", ["channel", "time"])
@pytest.mark.parametrize("steps", [64, 61])
def test_outputs_of_convolutions_lie_over_their_patches(tokens: str, steps: int) -> None:
    """A pulse in one patch moves the tokens about it and none of another channel or farther away."""
    signal = SeriesSignal(length=steps, patch=8, tokens=tokens, channels=("a", "b"), mean=(0, 0), std=(1, 1))
    stem = SeriesConv(widths=(4, 6), kernel=5).build(signal)
    x = torch.zeros(1, 2, steps)
    pulse = x.clone()
    pulse[0, 1, 27] = 5
    with torch.no_grad():
        one, two = (stem(View(signal.tokenise(signal.batch(values)))) for values in (x, pulse))
    moved = (one - two).abs().amax(-1)[0].view(signal.rows, 8) > 1e-6
    assert set(moved[-1].nonzero()[:, 0].tolist()) <= {2, 3, 4} and moved[-1, 3]
    assert tokens == "time" or not moved[0].any()


def test_convolutions_must_fit_into_a_patch() -> None:
    with pytest.raises(UserError, match="a patch of 8 leaves 4"):
        PatchConv(layers=((8, 5, 1), (8, 5, 1))).build(SeriesSignal(length=64, patch=8))


def test_forecasts_stand_beside_repetition_and_ridge() -> None:
    """Of a daily wave: the last season is nearly exact, the last value is not, ridge on the raw window is."""
    time = np.arange(800)
    x = np.sin(2 * np.pi * time / 24) + 0.01 * np.random.default_rng(0).normal(size=800)
    signal = SeriesSignal(length=48, patch=8, season=24)
    signal = signal.fitted(open_series(x, signal))
    train, test = (signal.open(x, split).leaving(12) for split in ("train", "test"))
    table = probe(
        None, train, test, kinds=("linear",), classical=signal.classical("quick")[:1], task=Coming(12)
    )
    found = {score.row: score.mean for score in table.scores}
    assert list(found) == ["last value repeated", "last season repeated", "raw series"]
    assert found["last value repeated"] > 0.5
    assert found["last season repeated"] == pytest.approx(2 * (0.01 / 0.707) ** 2, rel=0.3)
    assert found["raw series"] < 2e-3
    truth = test.coming(12)[..., 0]
    want = np.square(truth - test.latest()[:, :, 0]).mean()
    assert found["last value repeated"] == pytest.approx(want, rel=1e-6)
