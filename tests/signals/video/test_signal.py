"""Clips as tubelets."""

import numpy as np
import pytest
import torch

from openjepa.errors import UserError
from openjepa.signals.pictures import Marks
from openjepa.signals.video import ClipCut, open_video
from openjepa.signals.video.signal import VideoSignal

SMALL = VideoSignal(size=(16, 24), frames=6, stride=1, tubelet=2, patch=8, mean=(0.5,), std=(0.25,))


def clips(count: int = 2) -> torch.Tensor:
    return torch.randint(0, 256, (count, 6, 3, 16, 24), dtype=torch.uint8, generator=torch.manual_seed(0))


def test_a_token_is_a_block_of_frames_and_pixels():
    tokens = SMALL.tokenise(clips())
    assert tokens.layout == SMALL.layout == (3, 2, 3)
    assert tokens.values.shape == (2, 18, SMALL.features)
    time, row, column = 2, 1, 0
    number = (time * 2 + row) * 3 + column
    assert tokens.positions[0, number].tolist() == [time, row, column]
    block = clips()[1, 4:6, :, 8:16, 0:8].transpose(0, 1).float() / 255
    assert torch.allclose(tokens.values[1, number], ((block - 0.5) / 0.25).flatten())


def test_a_linear_map_of_tokens_is_a_convolution_of_the_clip():
    weight = torch.randn(5, 3, 2, 8, 8, generator=torch.manual_seed(1))
    normalised = (clips().float() / 255 - 0.5) / 0.25
    expected = torch.nn.functional.conv3d(normalised.transpose(1, 2), weight, stride=(2, 8, 8))
    found = SMALL.tokenise(clips()).values @ weight.flatten(1).T
    assert torch.allclose(found.transpose(1, 2).unflatten(2, (3, 2, 3)), expected, atol=1e-4)


def test_folding_is_the_inverse():
    folded = SMALL.fold(SMALL.tokenise(clips()))
    assert torch.allclose(folded * 0.25 + 0.5, clips().float() / 255, atol=1e-6)


def test_what_is_left_over_is_cropped_and_longer_clips_have_more_tokens():
    longer = torch.zeros(1, 9, 3, 20, 24, dtype=torch.uint8)
    assert SMALL.tokenise(longer).layout == (4, 2, 3)


def test_a_users_arrays_become_clips():
    data = clips().numpy()
    for raw in (data, data.transpose(0, 1, 3, 4, 2), data.astype(np.float32) / 255, torch.from_numpy(data)):
        assert torch.equal(SMALL.batch(raw), clips())
    with pytest.raises(UserError, match="values from"):
        SMALL.batch(data.astype(np.float32))


def test_channels_are_those_of_the_clips():
    grey = open_video(clips().numpy()[:, :, 0], ClipCut(6), size=(16, 24))
    fitted = VideoSignal(size=(16, 24), frames=6, patch=8).fitted(grey)
    assert (fitted.channels, len(fitted.mean)) == (1, 1)
    assert fitted.tokenise(grey.read([0])).values.shape == (1, 18, 128)


def test_a_picture_is_a_film_strip_with_marks_on_its_tubelets():
    batch, count = clips(), 3 * 2 * 3
    strip = SMALL.picture(batch, 1)
    assert strip.wide and strip.pixels.shape == (16, 3 * 24, 3)
    assert (strip.pixels[:, 24:48] == batch[1, 2].permute(1, 2, 0).numpy()).all()
    hidden = np.zeros(count, bool)
    hidden[(1 * 2 + 0) * 3 + 2] = True  # the second time, the first row, the third column
    shown = SMALL.picture(batch, 1, Marks(hidden=hidden)).pixels
    assert (shown[:8, 24 + 16 : 24 + 24, 3] == 0).all() and (shown[..., 3] == 0).sum() == 64
    assert "<path" in SMALL.picture(batch, 1, Marks(blocks=hidden[None])).drawing
    error = np.where(hidden, 0.5, np.nan)
    assert SMALL.picture(batch, 1, Marks(error=error)).pixels.shape == (16, 72, 4)
    colour = np.zeros((count, 3), np.uint8)
    assert SMALL.picture(batch, 1, Marks(colour=colour)).smooth
    restored = SMALL.picture(SMALL.restored(SMALL.tokenise(batch)), 1)
    assert (restored.pixels == strip.pixels).all()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"size": [20]}, "not a multiple of the patch"),
        ({"size": [16, 16, 16]}, "height and width, or one number"),
        ({"frames": 5}, "not a multiple of the tubelet"),
        ({"size": [4096], "patch": 1}, "more than 65,536 tokens"),
        ({"mean": [0.1, 0.2]}, "2 numbers for 3 channels"),
    ],
)
def test_mistakes_are_named(options, sentence: str):
    with pytest.raises(UserError, match=sentence):
        VideoSignal.parse(options)


def test_clips_of_another_shape_are_refused():
    with pytest.raises(UserError, match=r"set signal\.channels"):
        SMALL.tokenise(torch.zeros(2, 6, 1, 16, 24))
    with pytest.raises(UserError, match="smaller than a tubelet"):
        SMALL.tokenise(torch.zeros(2, 1, 3, 16, 24))
    with pytest.raises(UserError, match="open them with the size"):
        SMALL.open(open_video(clips().numpy(), ClipCut(4), size=(16, 24)))
