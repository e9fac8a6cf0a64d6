"""DMT-JEPA: targets are made of similar neighbours of the same image, contexts of what they show, sizes the paper's."""

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import openjepa
from openjepa.common.rng import Rng
from openjepa.errors import UserError
from openjepa.jepa import JEPA, Tokens, View
from openjepa.nets.aggregation import Aggregation, Aggregator
from openjepa.recipes import build, configure
from openjepa.targets import most_similar
from openjepa.training import Run, load, resume
from openjepa.training.optim import learning_rate, weight_decay
from openjepa.training.progress import Silent

SMALL = {
    "signal.size": "16",
    "signal.channels": "1",
    "signal.mean": "0.5",
    "signal.std": "0.25",
    "encoder.width": "16",
    "encoder.depth": "2",
    "encoder.heads": "2",
    "head.heads": "2",
    "predictor.width": "16",
    "predictor.depth": "1",
    "target.layers": "1",
    "train.precision": "fp32",
}


CONVOLUTIONS = {
    "encoder.channels": "[8, 8, 16, 16]",
    "predictor.width": "16",
    "head.heads": "2",
    "hiding.augment.size": "16",
}


def small(**changes: str) -> JEPA:
    return build(configure("dmt-jepa", "tiny-vit", SMALL | changes))


def convolutional() -> JEPA:
    """The preset `tiny`, of two crops, narrower."""
    return build(configure("dmt-jepa", "tiny", CONVOLUTIONS))


def images(count: int = 6, seed: int = 0) -> Tensor:
    return torch.rand(count, 1, 16, 16, generator=torch.Generator().manual_seed(seed))


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def around(place: int, layout: tuple[int, int]) -> list[int]:
    """The up to eight neighbours, by rows and columns that are there."""
    row, column = divmod(place, layout[1])
    return [
        r * layout[1] + c
        for r in range(max(0, row - 1), min(layout[0], row + 2))
        for c in range(max(0, column - 1), min(layout[1], column + 2))
        if (r, c) != (row, column)
    ]


@given(rows=st.integers(1, 5), columns=st.integers(1, 5), count=st.integers(1, 9), seed=st.integers(0, 99))
def test_the_most_similar_of_a_window_that_ends_at_the_border(rows, columns, count, seed):
    features = drawn(2, rows * columns, 3, seed=seed)
    chosen = most_similar(features, (rows, columns), count)
    cosine = F.cosine_similarity(features.unsqueeze(2), features.unsqueeze(1), dim=-1)
    for sample in range(2):
        for place in range(rows * columns):
            there = around(place, (rows, columns))
            best = sorted(there, key=lambda other: -cosine[sample, place, other])[:count]
            assert chosen[sample, place].nonzero()[:, 0].tolist() == sorted(best)


def test_places_that_are_not_there_are_no_neighbours():
    there = torch.ones(1, 9, dtype=torch.bool)
    there[0, [1, 3]] = False
    chosen = most_similar(drawn(1, 9, 4), (3, 3), 4, there=there)
    assert not chosen[..., [1, 3]].any()
    assert chosen[0, 0].nonzero()[:, 0].tolist() == [4]


def class_attention(head: Aggregator, query: Tensor, others: Tensor) -> Tensor:
    """The paper's: a sequence of the query `[D]` and its tokens `[n, D]`, of which the query alone is changed."""
    for block in head.blocks:
        row = block.norm1(torch.cat([query[None], others]))
        attention = block.attention
        q, k, v = attention.qkv(row).unflatten(-1, (3, attention.heads, -1)).permute(1, 2, 0, 3)
        weights = (q[:, :1] @ k.mT / q.shape[-1] ** 0.5).softmax(-1)
        query = query + attention.proj((weights @ v).transpose(0, 1).flatten())
        query = query + block.mlp(block.norm2(query))
    return head.norm(query)


def test_a_target_is_what_the_image_s_mean_draws_from_the_patch_s_neighbours():
    """Patch by patch and image by image, as the paper writes it."""
    model = small(**{"head.depth": "2"})
    pairs = model.pairs(images(), Rng(0, 0))
    (pair,) = pairs
    (raw,) = model.target([pair.target[0]], lambda views: [])
    encoded = model.target.encoder(pair.target[0])
    features = F.layer_norm(encoded, encoded.shape[-1:])
    chosen = most_similar(features, (4, 4), 4)
    for image in range(2):
        for place in (0, 3, 6, 15):
            others = features[image, chosen[image, place]]
            assert len(others) == min(4, len(around(place, (4, 4))))
            expected = class_attention(model.target.head, features[image].mean(0), others)
            torch.testing.assert_close(raw[image, place], expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(model.targets(pairs, [raw])[0], pair.picked(raw))


def test_nothing_but_its_neighbours_is_asked_for_a_patch():
    head = Aggregation(heads=2, depth=2).build(16)
    features = drawn(1, 16, 16).requires_grad_()
    look = most_similar(features.detach(), (4, 4), 4)
    answers = head.ask(drawn(1, 1, 16, seed=1).expand(1, 16, 16), features, look)
    for place in (0, 5, 15):
        (gradient,) = torch.autograd.grad(answers[0, place].square().sum(), features, retain_graph=True)
        assert torch.equal(gradient[0].abs().sum(-1) > 0, look[0, place]) and not look[0, place, place]


@pytest.mark.parametrize("made", [small, convolutional])
def test_targets_and_predictions_of_an_image_are_made_of_it_alone(made: Callable[[], JEPA]):
    """The released code asks for a patch with the mean of another image of the batch."""
    model = made().eval()
    side = model.signal.size
    batch = torch.rand(6, 1, side, side, generator=torch.Generator().manual_seed(0))
    others = torch.cat([batch[:1], torch.rand(5, 1, side, side)])
    with torch.no_grad():
        one, two = (model(part, Rng(0, 0)) for part in (batch, others))
    for name in ("s_x", "s_y", "prediction"):
        first, second = (getattr(part, name)[0] for part in (one, two))
        torch.testing.assert_close(first[0], second[0], atol=1e-5, rtol=1e-4)
        assert not torch.allclose(first[1:], second[1:], atol=1e-3)


def test_what_is_hidden_never_reaches_the_context_nor_what_is_added_to_it():
    model = small()
    (pair,) = model.pairs(images(), Rng(1, 0))
    tokens, hidden = pair.context.tokens, ~pair.context.shown
    assert all(not hidden[i, pair.context.keep[i]].any() for i in range(6))
    for i, blocks in enumerate(pair.select):
        assert hidden[i, blocks.flatten()].all()
    changed = torch.where(hidden[..., None], 1e3, tokens.values)
    other = View(Tokens(changed, tokens.positions, tokens.layout), pair.context.keep)
    assert torch.equal(*(model.represent([view])[0] for view in (pair.context, other)))


def test_every_token_of_a_context_is_added_what_their_mean_draws_from_all():
    model = small()
    (pair,) = model.pairs(images(), Rng(0, 0))
    encoded, (s_x,) = model.encoder(pair.context), model.represent([pair.context])
    added = s_x - encoded
    torch.testing.assert_close(added, added[:, :1].expand_as(added), atol=1e-5, rtol=1e-4)
    expected = class_attention(model.head, encoded[1].mean(0), encoded[1])
    torch.testing.assert_close(added[1, 0], expected, atol=1e-5, rtol=1e-4)


def test_padding_changes_nothing():
    model = small()
    whole = model.whole(images(3)).tokens
    there = torch.ones(3, 16, dtype=torch.bool)
    there[0, 12:] = False  # the last row of the grid
    ways = []
    for noise in (9.0, -5.0):
        values = torch.where(there[..., None], whole.values, noise)
        ways.append(View(Tokens(values, whole.positions, whole.layout, there)))
    for branch in (model.represent, lambda views: model.target(views, model.represent)):
        one, two = (branch([view])[0] for view in ways)
        torch.testing.assert_close(one[there], two[there], atol=1e-5, rtol=1e-4)
    tokens = drawn(3, 16, 16)
    torch.testing.assert_close(model.head(tokens, there)[:1, :12], model.head(tokens[:1, :12]))


def test_a_target_view_of_some_patches_is_made_of_these():
    model = small()
    keep = torch.tensor([[0, 1, 5, 15]])
    view = View(model.whole(images(1)).tokens, keep)
    (raw,) = model.target([view], lambda views: [])
    assert raw.shape == (1, 16, 16)
    features = F.layer_norm(model.target.encoder(view), (16,))[0]
    expected = class_attention(model.target.head, features.mean(0), features[[1, 2]])
    torch.testing.assert_close(raw[0, 0], expected, atol=1e-5, rtol=1e-4)


def test_encoder_and_head_of_the_target_begin_as_the_online_ones_and_follow_them():
    model = small(**{"target.half_life": "1"})
    for part in ("encoder", "head"):
        for name, mine in getattr(model.target, part).named_parameters():
            theirs = getattr(model, part).get_parameter(name)
            assert torch.equal(mine, theirs) and mine is not theirs
    before = copy.deepcopy(model.target.head.state_dict())
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(1)
    model.after_step(0, 100)
    for name, value in model.target.head.state_dict().items():
        torch.testing.assert_close(value, before[name] + 0.5)
    settled = copy.deepcopy(model.target.state_dict())
    model.after_step(99, 100)
    assert all(torch.equal(value, settled[name]) for name, value in model.target.state_dict().items())


def test_gradients_reach_encoder_head_and_predictor_and_no_target():
    model = small(guard="none")
    model(images(), Rng(0, 0)).loss.backward()
    for part in ("encoder", "head", "predictor"):
        for name, parameter in getattr(model, part).named_parameters():
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, f"{part}.{name}"
    assert all(p.grad is None and not p.requires_grad for p in model.target.parameters())


@pytest.mark.parametrize("made", [small, convolutional])
def test_it_keeps_the_contract(made: Callable[[], JEPA]):
    model = made()
    side = model.signal.size
    openjepa.check_jepa(model, torch.rand(8, 1, side, side, generator=torch.Generator().manual_seed(0)))


@pytest.mark.parametrize(("preset", "width"), [("vit-b16", 768), ("vit-l16", 1024), ("vit-h14", 1280)])
def test_the_papers_models_are_i_jepas_with_a_head_of_two_blocks(preset: str, width: int):
    with torch.device("meta"):
        ours, theirs = (configure(recipe, preset).build() for recipe in ("dmt-jepa", "i-jepa"))

    def count(part: torch.nn.Module) -> int:
        return sum(p.numel() for p in part.parameters())

    assert count(ours.head) == 2 * (12 * width**2 + 13 * width) + 2 * width
    assert count(ours.encoder) == count(theirs.encoder) and count(ours.predictor) == count(theirs.predictor)
    assert count(ours.target) == count(ours.encoder) + count(ours.head)
    same = ("signal", "hiding", "encoder", "predictor", "energy", "train")
    assert all(getattr(ours.config, name) == getattr(theirs.config, name) for name in same)


def test_schedules_end_where_the_paper_says():
    train, target = configure("dmt-jepa").train, configure("dmt-jepa").target
    last = train.steps - 1
    rates = [learning_rate(train, step) for step in (0, 25_000, last)]
    assert rates == pytest.approx([2e-4, 1e-3, 1e-6])
    assert [weight_decay(train, step) for step in (0, last)] == pytest.approx([0.04, 0.4])
    assert target.momentum(0, train.steps) == pytest.approx(0.996, abs=1e-4)
    assert target.momentum(last, train.steps) == 1


class Cut(Silent):
    def step(self, step: int, loss: float, rate: float) -> None:
        if step == 5:
            raise InterruptedError


def test_a_resumed_run_is_equal_bit_for_bit(tmp_path: Path):
    options = SMALL | {
        "train.steps": "6",
        "train.batch_size": "8",
        "train.save_every": "0.34",
        "train.health_every": "1.0",
    }
    call = {"preset": "tiny-vit", "data": images(24), "options": options}
    openjepa.train("dmt-jepa", **call, out=tmp_path / "whole")  # ty: ignore[invalid-argument-type]
    with pytest.raises(InterruptedError):
        openjepa.train("dmt-jepa", **call, out=tmp_path / "cut", progress=Cut())  # ty: ignore[invalid-argument-type]
    resume(tmp_path / "cut", data=images(24))
    whole, cut = (load(tmp_path / name).state_dict() for name in ("whole", "cut"))
    assert all(torch.equal(value, cut[name]) for name, value in whole.items())
    whole, cut = (
        [line["loss"] for line in Run.open(tmp_path / name).records("train")] for name in ("whole", "cut")
    )
    assert whole == cut and len(whole) == 6


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"head": "none"}, "use --head aggregation"),
        ({"head.heads": "3"}, "head.heads 3 does not divide the encoder's width, 16"),
    ],
)
def test_choices_that_do_not_fit_are_refused(changes: dict[str, str], sentence: str):
    given = SMALL | changes
    if "head" in changes:
        del given["head.heads"]
    with pytest.raises(UserError, match=sentence):
        build(configure("dmt-jepa", "tiny-vit", given))


def test_tokens_without_a_grid_have_no_neighbours():
    config = configure("point-jepa", "tiny", {"target": "neighbours", "head": "aggregation"})
    with pytest.raises(UserError, match="fill none: use --target ema"):
        build(config)
