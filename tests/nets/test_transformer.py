"""The token transformer: what it sees, where it thinks that tokens lie, and that samples keep to themselves."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from openjepa.jepa import Tokens, View, gather
from openjepa.nets.positions import rescale, sincos
from openjepa.nets.transformer import Attention, Block, KeysValues, TokenEncoder, ViT, unbarred
from openjepa.signals.images.signal import ImageSignal, grid_positions

SIGNAL = ImageSignal(size=16, channels=3, patch=4, mean=(0.0,), std=(1.0,))


def encoder(**settings: object) -> TokenEncoder:
    torch.manual_seed(0)
    net = ViT.parse({"width": 16, "depth": 2, "heads": 2} | settings).build(SIGNAL)
    for parameter in net.parameters():  # large enough for every difference to show
        nn.init.normal_(parameter, std=0.3)
    return net.eval()


def images(batch: int = 4, rows: int = 16, columns: int = 16) -> Tensor:
    return torch.rand(batch, 3, rows, columns, generator=torch.Generator().manual_seed(1))


def keeps(batch: int = 4, count: int = 5) -> Tensor:
    order = torch.rand(batch, 16, generator=torch.Generator().manual_seed(2)).argsort(1)
    return order[:, :count].sort(1).values


def with_other_hidden(tokens: Tokens, keep: Tensor) -> Tokens:
    """The same kept tokens among other hidden ones."""
    shown = torch.zeros(tokens.values.shape[:2]).scatter_(1, keep, 1).bool()
    other = torch.where(shown[..., None], tokens.values, torch.randn_like(tokens.values))
    return Tokens(other, tokens.positions, tokens.layout)


@pytest.mark.parametrize("hide", ["drop", "replace"])
@pytest.mark.parametrize("positions", ["sincos", "learned"])
def test_hidden_tokens_do_not_reach_the_output(hide: str, positions: str) -> None:
    net, tokens, keep = encoder(hide=hide, positions=positions), SIGNAL.tokenise(images()), keeps()
    out = net(View(tokens, keep))
    assert out.shape == (4, 5 if hide == "drop" else 16, 16)
    torch.testing.assert_close(out, net(View(with_other_hidden(tokens, keep), keep)))
    assert not torch.allclose(out[:, :5], net(View(tokens))[:, :5], atol=1e-2)


@pytest.mark.parametrize("hide", ["drop", "replace"])
def test_keeping_all_is_seeing_all(hide: str) -> None:
    net, tokens = encoder(hide=hide), SIGNAL.tokenise(images())
    everything = torch.arange(16).expand(4, 16)
    torch.testing.assert_close(net(View(tokens, everything)), net(View(tokens)))


def test_kept_tokens_carry_their_own_positions() -> None:
    net, tokens, keep = encoder(), SIGNAL.tokenise(images()), keeps()
    expected = net(only_kept(tokens, keep))
    torch.testing.assert_close(net(View(tokens, keep)), expected)
    shifted = Tokens(tokens.values, tokens.positions + 1, tokens.layout)
    assert not torch.allclose(net(View(shifted, keep)), expected, atol=1e-2)


def only_kept(tokens: Tokens, keep: Tensor) -> View:
    """A view of a sample that never had more than the kept tokens."""
    return View(Tokens(gather(tokens.values, keep), gather(tokens.positions, keep)))


@pytest.mark.parametrize("hide", ["drop", "replace"])
@pytest.mark.parametrize("keep", [None, keeps()])
def test_samples_are_independent(hide: str, keep: Tensor | None) -> None:
    net, batch = encoder(hide=hide), images()
    together = net(View(SIGNAL.tokenise(batch), keep))
    for i in range(len(batch)):
        own = None if keep is None else keep[i : i + 1]
        torch.testing.assert_close(together[i : i + 1], net(View(SIGNAL.tokenise(batch[i : i + 1]), own)))
    batch = batch.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(net(View(SIGNAL.tokenise(batch), keep))[1].sum(), batch)
    assert [bool(g.count_nonzero()) for g in gradient] == [False, True, False, False]


@pytest.mark.parametrize("positions", ["sincos", "learned"])
@pytest.mark.parametrize("size", [(16, 24), (8, 16), (32, 12)])
def test_rectangles_and_other_resolutions(positions: str, size: tuple[int, int]) -> None:
    net, tokens = encoder(positions=positions), SIGNAL.tokenise(images(2, *size))
    assert tokens.layout == (size[0] // 4, size[1] // 4)
    out = net(View(tokens))
    assert out.shape == (2, tokens.layout[0] * tokens.layout[1], 16)
    transposed = net(View(SIGNAL.tokenise(images(2, *size).mT)))
    assert transposed.shape == out.shape and not torch.allclose(out, transposed, atol=1e-2)


def test_fixed_positions_scale_with_the_resolution_centre_to_centre() -> None:
    same = grid_positions(4, 4)
    assert rescale(same, (4, 4), (4, 4)) is same
    finer = rescale(grid_positions(8, 8), (8, 8), (4, 4)).view(8, 8, 2)
    pairs = finer.unflatten(0, (4, 2)).unflatten(2, (4, 2)).mean((1, 3))  # 2x2 fine patches make a coarse one
    torch.testing.assert_close(pairs, same.view(4, 4, 2))
    wide = rescale(grid_positions(4, 8), (4, 8), (4, 4)).view(4, 8, 2)
    torch.testing.assert_close(wide[..., 0], same.view(4, 4, 2)[..., :1, 0].expand(4, 8))


def test_learned_positions_are_the_table_at_the_training_grid() -> None:
    net = encoder(positions="learned")
    view = View(SIGNAL.tokenise(images()))
    torch.testing.assert_close(
        net.positions(view.tokens), net.positions.position_table.flatten(1, 2), rtol=0, atol=0
    )
    wider = net.positions(SIGNAL.tokenise(images(1, 32, 32))).view(1, 8, 8, 16)
    smooth = F.interpolate(net.positions.position_table.permute(0, 3, 1, 2), (8, 8), mode="bicubic")
    torch.testing.assert_close(wider, smooth.permute(0, 2, 3, 1))


def test_sine_cosine_positions_number_by_number() -> None:
    embedded = sincos(torch.tensor([[3.0, 5.0]]), 8)[0]
    angles = [5.0, 0.05, 3.0, 0.03]  # the column first; frequencies 1 and 10000^(-1/2)
    a, b, c, d = (torch.tensor(angle) for angle in angles)
    expected = torch.stack([a.sin(), b.sin(), a.cos(), b.cos(), c.sin(), d.sin(), c.cos(), d.cos()])
    torch.testing.assert_close(embedded, expected)


def test_the_embedding_is_a_convolution_over_patches() -> None:
    net, batch = encoder(), images(2, 16, 24)
    kernel = net.embed.weight.view(16, 3, 4, 4)
    convolved = F.conv2d(batch, kernel, net.embed.bias, stride=4).flatten(2).transpose(1, 2)
    torch.testing.assert_close(net.embed(SIGNAL.tokenise(batch).values), convolved)


@pytest.mark.parametrize("size", [(16, 16), (8, 20)])
def test_folding_undoes_cutting(size: tuple[int, int]) -> None:
    signal = ImageSignal(size=16, channels=3, patch=4)
    batch = images(2, *size)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (signal.mean, signal.std))
    torch.testing.assert_close(signal.fold(signal.tokenise(batch)), (batch - mean) / std)


def test_what_is_left_over_is_cropped_in_the_middle() -> None:
    batch = images(2, 18, 19)
    cut = SIGNAL.tokenise(batch)
    assert cut.layout == (4, 4)
    torch.testing.assert_close(SIGNAL.fold(cut), batch[:, :, 1:17, 1:17])


def test_uint8_and_float_images_are_the_same() -> None:
    pixels = (images() * 255).byte()
    torch.testing.assert_close(SIGNAL.tokenise(pixels).values, SIGNAL.tokenise(pixels.float() / 255).values)


def test_layers_end_with_the_output_and_are_the_blocks_outputs() -> None:
    net, view = encoder(depth=3), View(SIGNAL.tokenise(images()))
    seen: list[Tensor] = []
    for block in net.blocks:
        block.register_forward_hook(lambda module, args, output: seen.append(output))
    layers = net.layers(view, 3)
    assert [len(net.layers(view, count)) for count in (1, 2, 3, 9)] == [1, 2, 3, 3]
    for ours, block_output in zip(layers[:-1], seen[:2], strict=True):
        assert torch.equal(ours, block_output)
    assert torch.equal(layers[-1], net.norm(seen[2])) and torch.equal(layers[-1], net(view))


def test_drop_path_passes_over_blocks_of_some_samples_in_training_alone() -> None:
    plain, net, view = encoder(depth=3), encoder(depth=3, drop_path=0.5), View(SIGNAL.tokenise(images(64)))
    assert [block.drop_path for block in net.blocks] == [0, 0.25, 0.5]
    assert torch.equal(net(view), plain(view))
    x = torch.randn(4000, 2, 16)
    block = net.train().blocks[2]
    whole, dropped = block.eval()(x) - x, block.train()(x) - x
    passed = (dropped == 0).flatten(1).all(1)
    assert passed.float().mean().item() == pytest.approx(0.25, abs=0.03)  # both sums at once
    attended = block.attention(block.norm1(x))
    alone = torch.isclose(dropped, 2 * attended, atol=1e-5).flatten(1).all(1)
    assert alone.float().mean().item() == pytest.approx(0.25, abs=0.03)
    assert torch.equal(block.eval()(x) - x, whole)


HEADS = 2


def attention() -> tuple[Attention, Tensor, Tensor]:
    """A layer, two samples of six tokens, and which of those are there."""
    torch.manual_seed(0)
    there = torch.tensor([[True] * 6, [True] * 3 + [False] * 3])
    return Attention(16, HEADS), torch.randn(2, 6, 16), there


@pytest.mark.parametrize("first", [0, 2])
def test_padding_is_not_looked_at(first: int) -> None:
    net, x, there = attention()
    short = net(x[1:, :3], first)
    for padding in (there[:, None], there[:, None, None]):
        padded = net(x, first, mask=padding)
        torch.testing.assert_close(padded[:1], net(x[:1], first))
        torch.testing.assert_close(padded[1:, : 3 - first], short)
        assert not torch.allclose(net(x, first)[1:, : 3 - first], short, atol=1e-3)


@pytest.mark.parametrize("first", [0, 4])
def test_a_mask_of_any_axes_is_of_the_tokens_asked_for(first: int) -> None:
    net, x, there = attention()
    causal = torch.ones(6, 6, dtype=torch.bool).tril()
    of_samples = torch.stack(
        [causal, there[1] & causal]
    )  # as many samples as heads, which must not be confused
    of_all = of_samples[:, None].expand(-1, HEADS, -1, -1)
    expected = torch.cat([net(x[i : i + 1], mask=of_samples[i])[:, first:] for i in range(2)])
    for mask in (of_samples, of_samples[:, None], of_all):
        torch.testing.assert_close(net(x, first, mask=mask), expected)
    only_first = torch.tensor([True] + [False] * 5).expand(1, 1, 6)
    torch.testing.assert_close(net(x, first, mask=only_first)[0, 0], net(x[:, :1])[0, 0])


def test_a_mask_counts_the_tokens_in_memory() -> None:
    block, memory = Block(16, HEADS, 2.0, 1e-6), KeysValues()
    _, x, there = attention()
    expected = block(x, mask=there[:, None])[:, 2:]
    block(x[:, :2], memory=memory)
    torch.testing.assert_close(block(x[:, 2:], memory=memory, mask=there[:, None]), expected)


class TestRegularisedMasking:
    """A-JEPA's, of fine-tuning: a share of the tokens gives nothing to any other, in training alone."""

    def test_a_random_share_of_what_is_there_is_barred_and_never_all(self):
        there = torch.arange(20) < torch.tensor([20, 10, 1])[:, None]
        masks = torch.stack([unbarred(there, (3, 20), 0.25, torch.device("cpu")) for _ in range(50)])
        assert (masks.sum(-1) == torch.tensor([15, 8, 1])).all() and not (masks & ~there).any()
        assert masks[:, 0].float().mean(0).std() < 0.15 and masks[:, 0].any(0).all()
        assert unbarred(None, (2, 10), 0.1, torch.device("cpu")).sum(1).tolist() == [9, 9]

    def test_barred_tokens_reach_no_other_and_still_have_an_output(self, monkeypatch):
        signal = ImageSignal(size=8, channels=1, patch=4, mean=(0.0,), std=(1.0,))
        net = ViT(width=16, depth=2, heads=2).build(signal)
        net.barred = 0.5
        barred = torch.tensor([[True, False, True, False]])
        monkeypatch.setattr("openjepa.nets.transformer.unbarred", lambda *given: ~barred)
        view = View(signal.tokenise(torch.rand(1, 1, 8, 8, generator=torch.manual_seed(0))))
        changed = View(replace(view.tokens, values=view.tokens.values + barred[..., None].float()))
        before, after = net(view), net(changed)
        assert torch.allclose(before[~barred], after[~barred], atol=1e-6)
        assert not torch.allclose(before[barred], after[barred], atol=1e-3)
        net.eval()
        assert not torch.allclose(net(view)[~barred], net(changed)[~barred], atol=1e-4)

    def test_nothing_is_barred_while_a_jepa_learns(self):
        assert ViT(width=16, depth=1, heads=2).build(ImageSignal(size=8, patch=4)).barred == 0
