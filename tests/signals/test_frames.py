import numpy as np
import pytest
import torch

from openjepa.errors import UserError
from openjepa.signals.frames import FrameSignal, Window, z_score

SMALL = {"size": 4, "action_dim": 2}


def window(batch: int = 3, steps: int = 2) -> Window:
    frames = torch.randint(0, 256, (batch, steps, 3, 4, 4), dtype=torch.uint8)
    return Window(frames, torch.rand(batch, steps - 1, 2), torch.rand(batch, steps, 1))


def test_frames_are_normalised_by_channel_from_bytes_and_from_floats_alike():
    signal = FrameSignal(**SMALL, mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 1.0))
    frames = window().frames
    kept = frames.clone()
    expected = (frames.double() / 255 - torch.tensor([0.1, 0.2, 0.3])[:, None, None]) / torch.tensor(
        [0.5, 0.25, 1.0]
    )[:, None, None]
    floats = frames.float() / 255
    before = floats.clone()
    assert torch.allclose(signal.normalise(frames).double(), expected, atol=1e-5)
    assert torch.allclose(signal.normalise(floats).double(), expected, atol=1e-5)
    assert torch.equal(frames, kept) and torch.equal(floats, before)
    assert signal.normalise(frames).dtype == torch.float32


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (2, 1, 4, 4), (3, 4, 4)])
def test_frames_of_another_shape_are_refused(shape: tuple[int, ...]):
    with pytest.raises(UserError, match=r"are not \[\.\.\., 3, 4, 4\]"):
        FrameSignal(**SMALL).normalise(torch.zeros(shape, dtype=torch.uint8))


def test_a_block_of_actions_is_scaled_action_by_action():
    signal = FrameSignal(**SMALL, block=2, action_mean=(1.0, 10.0), action_std=(2.0, 5.0))
    actions = torch.tensor([[1.0, 10.0, 3.0, 15.0]])  # two actions of two numbers, the first one first
    assert torch.equal(signal.normalise_actions(actions), torch.tensor([[0.0, 0.0, 1.0, 1.0]]))
    assert signal.action_width == 4
    with pytest.raises(UserError, match="2 actions of 2 numbers, 4 in all"):
        signal.normalise_actions(torch.zeros(1, 2))


def test_of_a_block_the_mean_may_be_told():
    signal = FrameSignal(
        **SMALL, block=2, block_actions="mean", action_mean=(1.0, 10.0), action_std=(2.0, 5.0)
    )
    actions = torch.tensor([[1.0, 10.0, 3.0, 15.0]])
    assert torch.equal(signal.normalise_actions(actions), torch.tensor([[0.5, 0.5]]))
    assert signal.action_width == 2
    with pytest.raises(UserError, match="2 actions of 2 numbers, 4 in all"):
        signal.normalise_actions(torch.zeros(1, 2))


def test_z_scores_leave_out_what_is_missing_and_spare_what_never_changes():
    actions = np.array([[1.0, 5.0], [3.0, 5.0], [np.nan, 7.0], [np.inf, 7.0]])
    assert z_score(actions) == {"action_mean": (2.0, 5.0), "action_std": (1.0, 1.0)}
    with pytest.raises(UserError, match="all are missing"):
        z_score(np.full((3, 2), np.nan))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"mean": (0.5, 0.5)}, "mean has 2 numbers where 3"),
        ({"action_std": (1.0, 1.0, 1.0)}, "action_std has 3 numbers where 2"),
        ({"std": (0.0,)}, r"std\.0: Input should be greater than 0"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(options: dict, said: str):
    with pytest.raises(UserError, match=said):
        FrameSignal.parse({**SMALL, **options})


def test_a_window_is_cut_as_a_whole():
    batch = window(4)
    part = batch[1:3]
    assert len(batch) == 4 and len(part) == 2
    assert torch.equal(part.frames, batch.frames[1:3]) and torch.equal(part.state, batch.state[1:3])
    moved = batch.to("cpu")
    assert torch.equal(moved.actions, batch.actions)
