"""SAR-JEPA: hidden patches reach nothing, targets are of the whole chip, sizes are the paper's."""

import pytest
import torch

import openjepa
from openjepa.common.rng import Rng
from openjepa.errors import UserError
from openjepa.jepa import JEPA, Tokens, View
from openjepa.recipes import build, configure
from openjepa.signals.images.gradient_ratio import gradient_ratio
from openjepa.training.optim import learning_rate

SMALL = {
    "signal.size": "48",
    "signal.patch": "6",
    "encoder.width": "16",
    "encoder.depth": "2",
    "encoder.heads": "2",
    "predictor.width": "16",
    "predictor.depth": "1",
    "predictor.heads": "2",
}


def small(**changes: str) -> JEPA:
    return build(configure("sar-jepa", "tiny", SMALL | changes))


def chips(count: int = 8) -> torch.Tensor:
    return torch.randint(0, 256, (count, 1, 48, 48), generator=torch.Generator().manual_seed(0)).to(
        torch.uint8
    )


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"target.operator": "pixels"},
        {"target": "ema", "target.norm": "layer"},
        {"encoder.hide": "drop", "predictor": "transformer", "predictor.width": "16", "predictor.heads": "2"},
    ],
)
def test_it_keeps_the_contract(changes: dict[str, str]) -> None:
    openjepa.check_jepa(small(**changes), chips())


def test_convolutions_predict_in_place_too() -> None:
    of_predictor = {name: value for name, value in SMALL.items() if not name.startswith("predictor")}
    options = of_predictor | {"predictor": "convolutional", "predictor.width": "16"}
    openjepa.check_jepa(build(configure("sar-jepa", "tiny", options)), chips())


def test_what_is_hidden_never_reaches_the_encoder() -> None:
    model = small().eval()
    for pair in model.pairs(chips(4), Rng(1, 0)):
        tokens = pair.context.tokens
        assert pair.within is not None and pair.context.keep is not None
        changed = tokens.values.clone()
        changed[torch.arange(4)[:, None], pair.within[:, 0]] = torch.nan
        other = View(Tokens(changed, tokens.positions, tokens.layout), pair.context.keep)
        shown = tokens.values.clone()
        shown[torch.arange(4)[:, None], pair.context.keep] += 1
        with torch.no_grad():
            before, after = model.encoder(pair.context), model.encoder(other)
            assert before.shape == (4, 25, 16) and torch.equal(before, after)
            assert not torch.allclose(
                before, model.encoder(View(Tokens(shown, tokens.positions, tokens.layout), pair.context.keep))
            )


def test_targets_are_gradients_of_the_whole_chip_in_the_hidden_places() -> None:
    model = small(
        **{
            "hiding.augment.scale": "[1, 1]",
            "hiding.augment.ratio": "[1, 1]",
            "hiding.augment.flip": "0",
            "hiding.augment.jitter": "0",
        }
    )
    batch = chips(3)
    output, pairs = model(batch, Rng(0, 0)), model.pairs(batch, Rng(0, 0))
    maps = gradient_ratio(batch.float() / 255, (2, 3, 4, 5))
    for pair, s_y, prediction in zip(pairs, output.s_y, output.prediction, strict=True):
        assert pair.select is not None and s_y.shape == prediction.shape == (3, 1, 20, 4 * 36)
        for sample in range(3):
            for place, values in zip(pair.select[sample, 0].tolist(), s_y[sample, 0], strict=True):
                row, column = (6 * int(n) for n in divmod(place, 8))
                want = maps[sample, :, row : row + 6, column : column + 6].flatten()
                torch.testing.assert_close(values, want, atol=1e-4, rtol=1e-3)


def test_predictions_lie_where_their_targets_do() -> None:
    """With an encoder and a predictor that hand each token through, a place's prediction is made of that place."""
    model = small()
    for pair in model.pairs(chips(2), Rng(0, 0)):
        assert pair.select is not None
        whole = pair.target[0].tokens.values
        assert torch.equal(pair.in_place(pair.context.tokens.values), pair.picked(whole))


def test_a_sample_is_made_of_itself() -> None:
    model, batch = small().eval(), chips(4)
    other = batch.clone()
    other[1:] = 255 - other[1:]
    with torch.no_grad():
        one, two = (model(part, Rng(0, 0)) for part in (batch, other))
    for name in ("s_x", "s_y", "prediction"):
        for first, second in zip(getattr(one, name), getattr(two, name), strict=True):
            assert torch.allclose(first[0], second[0], atol=1e-5)
            assert not torch.allclose(first[1:], second[1:], atol=1e-3)


def test_the_target_has_nothing_to_train_and_stays() -> None:
    model = small()
    assert not list(model.target.parameters()) and model.evaluated is model.encoder
    output = model(chips(4), Rng(0, 0))
    assert all(not s_y.requires_grad for s_y in output.s_y)


@pytest.mark.parametrize(("preset", "d"), [("vit-b16", 768), ("vit-s16", 384), ("vit-t16", 192)])
def test_the_papers_models_have_the_papers_sizes(preset: str, d: int) -> None:
    with torch.device("meta"):
        model = configure("sar-jepa", preset).build()

    def blocks(width: int, depth: int, heads: int) -> int:
        return depth * (12 * width**2 + 13 * width + 49 * width // heads)  # 7 x 7 buckets of offsets

    def count(part: torch.nn.Module) -> int:
        return sum(p.numel() for p in part.parameters())

    embed, mask, norm = 256 * d + d, d, 2 * d
    assert count(model.encoder) == embed + mask + norm + blocks(d, 12, d // 64)
    enter, leave = d * 512 + 512, 512 * 1024 + 1024
    assert count(model.predictor) == enter + blocks(512, 8, 16) + 2 * 512 + leave
    pairs = configure("sar-jepa", preset).hiding.build(model.signal)(torch.rand(2, 1, 224, 224), Rng(0, 0))
    assert [tuple(pair.context.keep.shape) for pair in pairs] == [(2, 10)] * 4
    assert [tuple(pair.select.shape) for pair in pairs] == [(2, 1, 39)] * 4


def test_the_learning_rate_reaches_its_ends() -> None:
    train = configure("sar-jepa").train
    assert learning_rate(train, 0) < 1e-6 and learning_rate(train, 6300) == pytest.approx(1.17e-3, rel=1e-3)
    assert learning_rate(train, train.steps - 1) == pytest.approx(0, abs=1e-8)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"encoder.hide": "drop"}, "--encoder.hide replace"),
        ({"hiding.windows": "5"}, "do not fit a grid of 8 x 8"),
        ({"target.radii": "[5, 48]"}, "reach 48 px and images have 48"),
    ],
)
def test_what_can_never_hold_is_refused(changes: dict[str, str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        small(**changes)
