"""Windows as pairs: which frames are predicted, and what the encoder is given."""

import pytest
import torch

from openjepa.common.rng import Rng
from openjepa.errors import UserError
from openjepa.hiding.future import Future
from openjepa.signals.frames import FrameSignal

from .. import dots


@pytest.mark.parametrize(
    ("future", "predicted", "known", "horizon"),
    [
        (Future(frames=4), [1, 2, 3], [0, 1, 2], 1),
        (Future(frames=9, forced=False, rollout=3), [1, 2, 3], [0, 0, 0], 3),
        (Future(frames=9, forced=False, seen=4, rollout=3), [4, 5, 6], [3, 3, 3], 3),
        (Future(frames=3, rollout=2), [1, 2, 1, 2], [0, 1, 0, 0], 2),
    ],
)
def test_what_is_predicted(future: Future, predicted: list[int], known: list[int], horizon: int) -> None:
    assert (future.predicted, future.known, future.horizon) == (predicted, known, horizon)


def test_frames_in_a_row_and_actions_as_z_scores() -> None:
    signal = FrameSignal(size=16, mean=(0.5,), std=(0.25,), action_mean=(0.5, 0.0), action_std=(2.0,))
    window = dots.windows(3, 5)
    (pair,) = Future(frames=5).build(signal)(window, Rng(0, 0))
    context = pair.context
    assert pair.target == (context,) and context.keep is None and pair.select is None
    assert context.tokens.values.shape == (15, 1, 3 * 16 * 16)
    pixels = context.tokens.values.view(3, 5, 3, 16, 16)
    torch.testing.assert_close(pixels[1, 3], (window.frames[1, 3].float() / 255 - 0.5) / 0.25)
    assert pair.condition is not None
    torch.testing.assert_close(pair.condition, (window.actions - torch.tensor([0.5, 0])) / 2)


def test_windows_of_another_length() -> None:
    with pytest.raises(UserError, match=r"\[3, 4, 3, 16, 16\] are not \[B, 5, C, H, W\]"):
        Future(frames=5).build(FrameSignal(size=16))(dots.windows(3, 4), Rng(0, 0))
