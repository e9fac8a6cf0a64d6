"""Views of the size that is asked for."""

import pytest
import torch

from openjepa.common.rng import Rng
from openjepa.errors import UserError
from openjepa.hiding import Crops
from openjepa.recipes import build, configure
from openjepa.signals.images.augment import Augment
from openjepa.signals.images.signal import ImageSignal

SIGNAL = ImageSignal(size=32, channels=3, patch=4)


@pytest.mark.parametrize(("size", "side"), [(None, 8), (16, 4)])
def test_global_views_have_the_signals_size_or_their_own(size, side):
    crops = Crops(
        global_views=2, local_views=1, global_augment=Augment(size=size), local_augment=Augment(size=8)
    )
    pairs = crops.build(SIGNAL)(torch.rand(2, 3, 32, 32), Rng(0, 0))
    assert [pair.context.tokens.layout for pair in pairs] == [(side, side), (side, side), (2, 2)]
    assert all(len(pair.target) == 2 for pair in pairs)


@pytest.mark.parametrize("name", ["global_augment", "local_augment"])
def test_a_view_smaller_than_a_patch_is_refused(name):
    with pytest.raises(UserError, match=f"{name}.size 3 px"):
        Crops(**{name: Augment(size=3)}).build(SIGNAL)


def test_a_convolutional_encoder_trained_on_small_views_embeds_whole_images():
    model = build(configure("lejepa", "tiny-cifar10", {"hiding.global_augment.size": "16"}))
    images = torch.rand(4, 3, 32, 32)
    assert model.pairs(images, Rng(0, 0))[0].context.tokens.layout == (4, 4)
    assert model.tokens(images).shape == (4, 16, 256)
