"""The convolutional encoder of images: maps, masks, norms; and the predictor over its map."""

import pytest
import torch

import openjepa
from openjepa.errors import UserError
from openjepa.hiding.base import indices_of
from openjepa.jepa import Tokens, View
from openjepa.nets.convnet import ConvNet, PaddedConv, VisibleNorm
from openjepa.nets.transformer import ViT
from openjepa.recipes import build, configure
from openjepa.signals.images.signal import ImageSignal, grid_positions

from .. import ranks

SIGNAL = ImageSignal(size=16, channels=3, patch=4, mean=(0.5,), std=(0.25,))
SMALL = {"channels": (8, 16, 16), "strides": (2, 2, 1), "blocks": (0, 1, 0)}
MASKED = {
    "signal.patch": "4",
    "encoder": "convnet",
    "encoder.channels": "[8, 16, 32]",
    "encoder.strides": "[2, 2, 1]",
    "encoder.blocks": "[0, 1, 0]",
    "target.layers": "1",
    "predictor": "convolutional",
    "predictor.width": "16",
}


def encoder(**changes):
    torch.manual_seed(0)
    net = ConvNet(**{**SMALL, **changes}).build(SIGNAL)
    for module in net.modules():  # residual branches begin at zero
        if isinstance(module, torch.nn.BatchNorm1d | torch.nn.GroupNorm):
            torch.nn.init.normal_(module.weight, 1.0, 0.2)
    return net


def masked(images, keep):
    return View(SIGNAL.tokenise(images), keep=keep)


def some(batch=4):
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(batch, 3, 16, 16, generator=generator)
    keep = torch.rand(batch, 16, generator=generator).topk(6).indices.sort(1).values
    return images, keep


def test_maps_shrink_by_the_strides_and_differ_by_stage():
    net = encoder()
    layers = net.layers(View(SIGNAL.tokenise(some()[0])), 3)
    assert [tuple(layer.shape) for layer in layers] == [(4, 64, 8), (4, 16, 16), (4, 16, 16)]
    assert net.layout((4, 4)) == (4, 4)
    assert net.layout((8, 8)) == (8, 8)


@pytest.mark.parametrize("norm", ["batch", "group"])
@pytest.mark.parametrize("training", [False, True])
def test_hidden_pixels_change_nothing(norm, training):
    images, keep = some()
    net = encoder(norm=norm).train(training)
    tokens = SIGNAL.tokenise(images)
    hidden = torch.ones(4, 16, dtype=torch.bool).scatter_(1, keep, False)
    other = tokens.values + 5 * hidden.unsqueeze(-1)
    changed = View(type(tokens)(other, tokens.positions, tokens.layout), keep=keep)
    assert torch.equal(net(View(tokens, keep=keep)), net(changed))


def test_visible_pixels_reach_their_neighbours():
    images, _ = some()
    keep = torch.tensor([[0, 1, 10]]).expand(4, -1)
    net = encoder().eval()
    before = net(masked(images, keep))
    images[:, :, :4, :4] = 1 - images[:, :, :4, :4]
    moved = (net(masked(images, keep)) - before).abs().amax((0, 2))
    assert moved[0] > 0 and moved[1] > 0
    assert moved[2] == 0  # nothing visible joins it to the others


@pytest.mark.parametrize("norm", ["batch", "group"])
def test_everything_kept_equals_no_mask(norm):
    images, _ = some()
    net = encoder(norm=norm)
    keep = torch.arange(16).expand(4, -1)
    torch.testing.assert_close(
        net(masked(images, keep)), net(View(SIGNAL.tokenise(images))), atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize("relu", [False, True])
def test_batch_norm_of_visible_places_is_that_of_these_places_alone(relu):
    random = torch.Generator().manual_seed(0)
    norm, alone = (VisibleNorm(8, "batch").double(), torch.nn.BatchNorm1d(8).double())
    for parameter in norm.parameters():
        torch.nn.init.normal_(parameter, 0.5, 1.0, random)
    alone.load_state_dict(norm.norm.state_dict())
    x, wish = (torch.randn(4, 8, 3, 3, generator=random, dtype=torch.float64) for _ in range(2))
    visible = torch.rand(4, 9, generator=random).topk(5).indices.sort(1).values
    hidden = torch.ones(4, 9).scatter(1, visible, 0).bool().view(4, 3, 3)
    x[..., 1, 1] += 100  # a place that some hide and others show
    given, places = (x.clone().requires_grad_() for _ in range(2))
    found = norm(given, visible, relu=relu)
    expected = torch.zeros_like(x).permute(0, 2, 3, 1).clone()
    expected[~hidden] = alone(places.permute(0, 2, 3, 1)[~hidden])
    expected = (expected.relu() if relu else expected).permute(0, 3, 1, 2)
    for result in (found, expected):
        (result * wish).sum().backward()
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(given.grad, places.grad)
    for name, ours in norm.norm.named_parameters():
        torch.testing.assert_close(ours.grad, alone.get_parameter(name).grad)
    torch.testing.assert_close(norm.norm.state_dict(), alone.state_dict())


def test_group_norm_makes_a_sample_independent_of_its_batch():
    images, keep = some()
    net = encoder(norm="group").train()
    torch.testing.assert_close(net(masked(images, keep))[:1], net(masked(images[:1], keep[:1])))


@pytest.mark.parametrize("recipe", ["i-jepa", "lejepa"])
def test_recipes_keep_the_contract_on_it(recipe):
    changes = MASKED if recipe == "i-jepa" else {}
    model = build(configure(recipe, "tiny-cifar10-vit", changes))
    openjepa.check_jepa(model, torch.rand(8, 3, 32, 32))


def test_views_that_drop_patches_keep_the_contract():
    changes = {k: v for k, v in MASKED.items() if not k.startswith(("predictor", "target"))}
    openjepa.check_jepa(build(configure("lejepa", "tiny-cifar10", changes)), torch.rand(8, 3, 32, 32))


def test_the_transformer_predicts_on_the_map_too():
    changes = {k: v for k, v in MASKED.items() if not k.startswith("predictor")}
    openjepa.check_jepa(build(configure("i-jepa", "tiny-cifar10-vit", changes)), torch.rand(8, 3, 32, 32))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"strides": (2, 2)}, "strides has 2"),
        ({"channels": (8, 16, 12), "norm": "group"}, "multiples of 8"),
        ({"channels": (8, 16, 0)}, "channels"),
    ],
)
def test_sizes_that_cannot_be_built_are_refused(changes, said):
    with pytest.raises(ValueError, match=said):
        ConvNet(**{**SMALL, **changes})


def test_views_that_drop_patches_of_another_grid_are_refused():
    changes = {"hiding.drop": "0.5"}
    with pytest.raises(UserError, match=r"signal\.patch 8"):
        build(configure("lejepa", "tiny-cifar10", changes))


def test_targets_of_several_unequal_stages_are_refused():
    with pytest.raises(UserError, match=r"target\.layers 1"):
        build(configure("i-jepa", "tiny-cifar10-vit", MASKED | {"target.layers": "2"}))


STEM = {"encoder.stem.channels": "[8, 16]", "encoder.stem.strides": "[2, 2]", "encoder.stem.blocks": "[0, 0]"}


def test_a_transformer_behind_a_stem_keeps_the_contract():
    small = {"encoder.stem": "convnet", **STEM, "encoder.depth": "2", "target.layers": "2"}
    openjepa.check_jepa(build(configure("i-jepa", "tiny-cifar10-vit", small)), torch.rand(8, 3, 32, 32))


def test_a_stem_sees_no_hidden_pixel():
    config = ViT(width=16, depth=1, heads=2, stem=ConvNet(channels=(8, 8), strides=(2, 2), blocks=(0, 0)))
    net = config.build(SIGNAL).eval()
    images, keep = some()
    shown = (
        torch.zeros(4, 16)
        .scatter_(1, keep, 1)
        .view(4, 1, 4, 4)
        .repeat_interleave(4, 2)
        .repeat_interleave(4, 3)
    )
    other = torch.where(shown > 0, images, 1 - images)
    assert torch.equal(net(masked(images, keep)), net(masked(other, keep)))


def test_a_stem_of_another_stride_is_refused():
    config = ViT(width=16, depth=1, heads=2, stem=ConvNet(channels=(8,), strides=(2,), blocks=(0,)))
    with pytest.raises(UserError, match="shrinks images by 2"):
        config.build(SIGNAL)


def test_too_many_strides_are_refused():
    config = ConvNet(channels=(8,) * 5, strides=(2,) * 5, blocks=(0,) * 5)
    with pytest.raises(UserError, match="too small"):
        config.build(SIGNAL)


def test_a_mask_of_another_grid_is_refused():
    images, keep = some()
    net = encoder(strides=(2, 2, 2))
    with pytest.raises(UserError, match=r"signal\.patch"):
        net(masked(images, keep))


@pytest.mark.parametrize(("size", "kernel", "stride"), [(5, 4, 2), (5, 3, 1), (9, 4, 2), (2, 3, 1)])
def test_gradients_in_bf16_on_small_maps_are_those_of_an_ordinary_convolution(size, kernel, stride):
    torch.manual_seed(0)
    ours = PaddedConv(8, 16, kernel, stride).to(memory_format=torch.channels_last)
    plain = torch.nn.Conv2d(8, 16, kernel, stride, padding=1, bias=False)
    plain.load_state_dict(ours.state_dict())
    x = torch.randn(6, 8, size, size)
    found = []
    for conv in (ours, plain):
        given = x.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16):
            out = conv(given)
            out.float().square().sum().backward()
        found.append((out.detach().float(), given.grad, conv.weight.grad))
    for a, b in zip(*found, strict=True):
        assert torch.allclose(a, b, rtol=0, atol=0.02 * float(b.abs().max()))


def test_small_maps_are_convolved_the_fast_way_in_bf16_alone():
    conv, x = PaddedConv(4, 8, 3), torch.randn(2, 4, 5, 5)
    with torch.autocast("cpu", torch.bfloat16):
        assert "SmallMapConv" in type(conv(x).grad_fn).__name__
        assert "SmallMapConv" not in type(conv(torch.randn(2, 4, 16, 16)).grad_fn).__name__
    assert "SmallMapConv" not in type(conv(x).grad_fn).__name__


class TestUnequalNumbersOfVisiblePlaces:
    """Views that are padded, or that hide unequally many tokens."""

    SIGNAL = ImageSignal(size=24, channels=1, patch=4, mean=(0.0,), std=(1.0,))

    def view(self, there: torch.Tensor, values: torch.Tensor | None = None, padded: bool = False) -> View:
        tokens = self.SIGNAL.tokenise(torch.rand(len(there), 1, 24, 24, generator=torch.manual_seed(0)))
        if values is not None:
            tokens = Tokens(values, tokens.positions, tokens.layout)
        if padded:
            return View(Tokens(tokens.values, tokens.positions, tokens.layout, there))
        keep, valid = indices_of(there)
        return View(tokens, keep, valid)

    def net(self, norm: str):
        config = ConvNet(channels=(8, 16, 16), strides=(2, 2, 1), blocks=(0, 1, 0), norm=norm)
        return config.build(self.SIGNAL)

    @pytest.mark.parametrize("norm", ["batch", "group"])
    @pytest.mark.parametrize("padded", [False, True])
    def test_a_sample_alone_is_what_it_is_among_others_and_hidden_places_do_not_count(
        self, norm: str, padded: bool
    ):
        net = self.net(norm).eval()
        there = (
            torch.rand(4, 36, generator=torch.manual_seed(1)) < torch.tensor([0.2, 0.5, 0.8, 0.9])[:, None]
        )
        there[:, 0] = True
        view = self.view(there, padded=padded)
        found = net(view)
        noise = torch.where(there[..., None], view.tokens.values, torch.randn_like(view.tokens.values))
        changed = net(self.view(there, noise, padded))
        index = there if padded else view.present
        index = torch.ones(found.shape[:2], dtype=torch.bool) if index is None else index
        assert torch.allclose(found[index], changed[index], atol=1e-5)
        for i in range(4):
            one = there[i : i + 1]
            alone = net(self.view(one, view.tokens.values[i : i + 1], padded))
            alone = alone[0][one[0]] if padded else alone[0, : int(one.sum())]
            assert torch.allclose(found[i][index[i]], alone, atol=1e-5)

    @pytest.mark.parametrize("norm", ["batch", "group"])
    def test_it_is_what_equal_numbers_give(self, norm: str):
        there = torch.zeros(4, 36, dtype=torch.bool)
        there[:, :20] = True
        rectangular = self.view(there)
        assert rectangular.valid is None
        ragged = View(rectangular.tokens, rectangular.keep, torch.ones(4, 20, dtype=torch.bool))
        results = []
        for view in (rectangular, ragged):
            torch.manual_seed(0)
            net = self.net(norm).train()
            out = net(view)
            out.square().sum().backward()
            results.append((out.detach(), net))
        (a, one), (b, other) = results
        assert torch.allclose(a, b, atol=1e-5)
        for p, q in zip(one.parameters(), other.parameters(), strict=True):
            assert torch.allclose(p.grad, q.grad, atol=1e-3, rtol=1e-3)
        for p, q in zip(one.buffers(), other.buffers(), strict=True):
            assert torch.allclose(p.float(), q.float(), atol=1e-5)

    def test_batch_statistics_written_out_are_those_of_the_fast_way(self):
        norm = VisibleNorm(8, "batch")
        x = torch.randn(3, 8, 6, 6, generator=torch.manual_seed(0))
        shown = torch.rand(3, 1, 6, 6, generator=torch.manual_seed(1)) < 0.6
        fast = norm(x, shown)
        mean, var = norm.norm.running_mean.clone(), norm.norm.running_var.clone()
        norm.norm.reset_running_stats()
        slow = norm._of_map(x, shown.float())
        assert torch.allclose(fast, slow, atol=1e-5) and (slow[~shown.expand_as(slow)] == 0).all()
        assert torch.allclose(norm.norm.running_mean, mean, atol=1e-6)
        assert torch.allclose(norm.norm.running_var, var, atol=1e-5)

    def test_several_layers_of_what_is_kept(self):
        there = torch.rand(3, 36, generator=torch.manual_seed(2)) < 0.5
        view = self.view(there)
        last, both = self.net("batch").eval(), None
        both = last.layers(view, 2)
        assert [part.shape for part in both] == [(3, view.keep.shape[1], 16)] * 2
        assert torch.equal(both[-1], last(view))


def unequal_batch() -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens of four images, and which of each are shown."""
    there = torch.rand(4, 36, generator=torch.manual_seed(1)) < torch.tensor([0.2, 0.5, 0.8, 0.9])[:, None]
    there[:, 0] = True
    return torch.rand(4, 36, 16, generator=torch.manual_seed(0)), there


def unequal_step(rows: slice) -> tuple[torch.Tensor, list[torch.Tensor], torch.Tensor]:
    """Output, gradients and running variance of a training pass over some of the images."""
    signal = TestUnequalNumbersOfVisiblePlaces.SIGNAL
    torch.manual_seed(0)
    net = ConvNet(channels=(8, 16), strides=(2, 2), blocks=(0, 0)).build(signal).train()
    values, there = unequal_batch()
    tokens = Tokens(values[rows], grid_positions(6, 6), (6, 6), there[rows])
    out = net(View(tokens)) * there[rows][..., None]
    (out * values[rows]).sum().backward()
    return out, [p.grad for p in net.parameters()], net.stages[0].norm.norm.running_var


def unequal_on_rank(rank: int):
    return unequal_step(slice(2 * rank, 2 * rank + 2))


def test_two_processes_give_what_one_does_where_samples_have_unequally_many_places():
    out, grads, variance = unequal_step(slice(None))
    answers = ranks.run(unequal_on_rank)
    torch.testing.assert_close(
        torch.cat([answer[0] for answer in answers]), out.detach(), atol=1e-5, rtol=1e-4
    )
    for i, grad in enumerate(grads):
        torch.testing.assert_close(sum(answer[1][i] for answer in answers), grad, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(answers[0][2], variance, atol=1e-5, rtol=1e-4)


def test_samples_without_planes_are_refused():
    with pytest.raises(UserError, match="a convnet sees images and clips"):
        build(configure("point-jepa", "tiny", {"encoder.stem": "convnet"}))
