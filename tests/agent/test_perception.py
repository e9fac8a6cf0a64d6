"""What perception remembers, and what it hands to the model."""

import numpy as np
import pytest
import torch
from torch import Tensor

from openjepa.agent.perception import Perception, as_frames
from openjepa.errors import UserError

from .worlds import PointModel


class Remembering(PointModel):
    history = 3

    def __init__(self) -> None:
        super().__init__()
        self.past: list[Tensor | None] = []

    def encode(self, frames: Tensor, actions: Tensor | None = None) -> Tensor:
        self.past.append(actions)
        return super().encode(frames, actions)


def frame(value: int) -> Tensor:
    return torch.full((2, 1, 1, 2), value, dtype=torch.uint8)


def test_the_last_frames_and_the_actions_between_them_are_encoded() -> None:
    model = Remembering()
    perception = Perception(model)
    every = torch.arange(2)
    for step in range(5):
        perception.observe(frame(step), None if step == 0 else torch.full((2, 2), float(step)))
        state, past = perception.state(every)
        frames = (state[0, :, 0] + 1) * 127
        torch.testing.assert_close(frames, torch.arange(max(0, step - 2), step + 1).float())
        if step == 0:
            assert past is None
        else:
            assert past is not None and past[0, :, 0].tolist() == list(range(max(1, step - 1), step + 1))
        assert past is model.past[-1] or torch.equal(past, model.past[-1])  # type: ignore[arg-type]


def test_a_reset_forgets_and_rows_select() -> None:
    perception = Perception(Remembering())
    perception.observe(frame(9))
    perception.reset()
    perception.observe(torch.stack([frame(1)[0], frame(2)[0]]))
    state, past = perception.state(torch.tensor([1]))
    assert state.shape == (1, 1, 2) and past is None
    torch.testing.assert_close(state, torch.full((1, 1, 2), 2 / 127 - 1))


@pytest.mark.parametrize("shape", [(4,), (2, 2), (1, 2, 3, 4, 5)])
def test_what_is_no_picture_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match=r"the observation of shape .* is no picture"):
        as_frames(np.zeros(shape), "the observation")
