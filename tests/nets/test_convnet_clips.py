"""The convolutional encoder of clips: a time of tubelets after the other, hidden tubelets never enter."""

import pytest
import torch

import openjepa
from openjepa.jepa import View
from openjepa.nets.convnet import ConvNet
from openjepa.nets.transformer import ViT
from openjepa.recipes import build, configure
from openjepa.signals.video.signal import VideoSignal

SIGNAL = VideoSignal(size=(16, 24), frames=6, tubelet=2, channels=3, patch=4, mean=(0.5,), std=(0.25,))
LAYOUT = (3, 4, 6)


def encoder(**changes):
    torch.manual_seed(0)
    options = {"channels": (8, 16, 16), "strides": (2, 2, 1), "blocks": (0, 0, 0)}
    net = ConvNet(**{**options, **changes}).build(SIGNAL)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm1d | torch.nn.GroupNorm):
            torch.nn.init.normal_(module.weight, 1.0, 0.2)
    return net


def some(batch=4):
    generator = torch.Generator().manual_seed(1)
    clips = torch.rand(batch, 6, 3, 16, 24, generator=generator)
    keep = torch.rand(batch, 72, generator=generator).topk(30).indices.sort(1).values
    return clips, keep


def test_planes_are_the_frames_of_each_time():
    clips, _ = some()
    planes = SIGNAL.planes(SIGNAL.tokenise(clips)).view(
        4, 3, 3, 2, 16, 24
    )  # B, times, C, frames of a tubelet
    expected = ((clips - 0.5) / 0.25).view(4, 3, 2, 3, 16, 24).transpose(2, 3)
    assert torch.allclose(planes, expected, atol=1e-6)


def test_maps_have_the_times_of_the_clip():
    net = encoder()
    layers = net.layers(View(SIGNAL.tokenise(some()[0])), 3)
    assert [tuple(layer.shape) for layer in layers] == [(4, 3 * 8 * 12, 8), (4, 72, 16), (4, 72, 16)]
    assert net.layout(LAYOUT) == LAYOUT


def test_a_time_knows_nothing_of_others():
    clips, _ = some()
    net = encoder().eval()
    before = net(View(SIGNAL.tokenise(clips))).unflatten(1, LAYOUT)
    clips[:, 2:4] = 1 - clips[:, 2:4]
    moved = (net(View(SIGNAL.tokenise(clips))).unflatten(1, LAYOUT) - before).abs().amax((0, 2, 3, 4))
    assert moved[1] > 0 and moved[0] == moved[2] == 0


@pytest.mark.parametrize("norm", ["batch", "group"])
@pytest.mark.parametrize("training", [False, True])
def test_hidden_tubelets_change_nothing(norm, training):
    clips, keep = some()
    net = encoder(norm=norm, channels=(8, 16, 16)).train(training)
    tokens = SIGNAL.tokenise(clips)
    hidden = torch.ones(4, 72, dtype=torch.bool).scatter_(1, keep, False)
    changed = type(tokens)(tokens.values + 5 * hidden.unsqueeze(-1), tokens.positions, tokens.layout)
    assert torch.equal(net(View(tokens, keep)), net(View(changed, keep)))


@pytest.mark.parametrize("norm", ["batch", "group"])
@pytest.mark.parametrize("training", [False, True])
def test_everything_kept_equals_no_mask(training, norm):
    clips, _ = some()
    tokens = SIGNAL.tokenise(clips)
    every = torch.arange(72).expand(4, -1)
    seen = [encoder(norm=norm).train(training)(View(tokens, keep)) for keep in (every, None)]
    assert torch.allclose(*seen, atol=1e-4)


def test_samples_do_not_depend_on_one_another():
    clips, keep = some()
    net = encoder().eval()
    tokens = SIGNAL.tokenise(clips)
    alone = net(View(SIGNAL.tokenise(clips[2:3]), keep[2:3]))
    assert torch.allclose(net(View(tokens, keep))[2:3], alone, atol=1e-5)


def test_it_is_a_stem_of_a_transformer():
    stem = ConvNet(channels=(8, 8), strides=(2, 2), blocks=(0, 0))
    net = ViT(width=24, depth=1, heads=2, stem=stem).build(SIGNAL)
    clips, keep = some()
    assert net(View(SIGNAL.tokenise(clips), keep)).shape == (4, 30, 24)


def test_v_jepa_on_it_keeps_the_contract():
    changes = {
        "signal.size": "[16, 24]",
        "signal.frames": "6",
        "signal.patch": "4",
        "hiding.size": "[16, 16]",
        "hiding.frames": "4",
        "encoder.channels": "[8, 16, 16]",
        "encoder.strides": "[2, 2, 1]",
        "encoder.blocks": "[0, 0, 0]",
        "predictor.width": "24",
    }
    clips = (some(8)[0] * 255).to(torch.uint8)
    openjepa.check_jepa(build(configure("v-jepa", "tiny", changes)), clips)
