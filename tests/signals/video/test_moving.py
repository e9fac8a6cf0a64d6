"""Moving Fashion-MNIST."""

import numpy as np
import pytest
import torch

from openjepa.errors import UserError
from openjepa.signals.base import Labels
from openjepa.signals.images.fashion_mnist import CLASSES
from openjepa.signals.video import ClipCut, open_video
from openjepa.signals.video import moving as module
from openjepa.signals.video.moving import DIRECTIONS, ITEM, LENGTH, SIDE


@pytest.fixture(autouse=True)
def items(monkeypatch: pytest.MonkeyPatch) -> torch.Tensor:
    """Bright squares in the place of clothes, which need a download."""
    pixels = torch.full((64, 1, ITEM, ITEM), 255, dtype=torch.uint8)

    class Items:
        labels = Labels(np.arange(64) % 10, tuple(CLASSES))

        def __len__(self) -> int:
            return 64

        def read(self, rows: range) -> torch.Tensor:
            return pixels

    monkeypatch.setattr(module, "open_fashion_mnist", lambda split: Items())
    return pixels


def test_an_item_moves_in_its_direction_and_stays_in_the_field():
    found = open_video("moving-fashion-mnist-direction", ClipCut(LENGTH), size=(SIDE, SIDE))
    assert found.labels.names == DIRECTIONS
    clips = found.read(range(64)).float()
    assert ((clips > 0).sum((2, 3, 4)) == ITEM**2).all()  # all of it, in every frame
    places = torch.arange(SIDE, dtype=torch.float32)
    row, column = (clips.sum((2, axis)) @ places / clips.sum((2, 3, 4)) for axis in (4, 3))
    move = torch.stack([row[:, -1] - row[:, 0], column[:, -1] - column[:, 0]], 1)
    angle = torch.tensor(found.labels.values) * (2 * np.pi / len(DIRECTIONS))
    wanted = torch.stack([angle.sin(), angle.cos()], 1)
    assert (torch.cosine_similarity(move, wanted) > 0.97).all()


def test_labels_are_what_moves_and_colours_and_sizes_are_as_asked():
    found = open_video("moving-fashion-mnist", ClipCut(4, stride=2), size=(24, 24), channels=3)
    assert (found.labels.names, found.labels.values[:3].tolist()) == (tuple(CLASSES), [0, 1, 2])
    assert found.read([0, 1]).shape == (2, 4, 3, 24, 24)
    again = open_video("moving-fashion-mnist", ClipCut(4, stride=2), size=(24, 24), channels=3)
    assert torch.equal(found.read([5, 6]), again.read([5, 6]))


def test_it_has_no_seconds():
    with pytest.raises(UserError, match="no time stamps"):
        open_video("moving-fashion-mnist", ClipCut(4, fps=2), size=(24, 24))
