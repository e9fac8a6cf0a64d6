"""What clips ask without labels, and their augmentation."""

import torch

from openjepa.common.rng import Rng
from openjepa.signals.images.augment import Augment
from openjepa.signals.video.augment import augment_clips
from openjepa.signals.video.tasks import video_tasks


def clips(count: int = 6, frames: int = 8) -> torch.Tensor:
    return torch.randint(
        0, 256, (count, frames, 3, 24, 32), dtype=torch.uint8, generator=torch.manual_seed(0)
    )


def test_all_frames_of_a_clip_are_augmented_alike():
    still = clips()[:, :1].expand(-1, 8, -1, -1, -1).float() / 255
    augment = Augment(scale=(0.3, 0.8), flip=0.5, jitter=1.0, grey=0.5, blur=0.5, solarize=0.5)
    seen = augment_clips(augment, still, Rng(0, 0), (16, 16))
    assert seen.shape == (6, 8, 3, 16, 16)
    assert torch.allclose(seen, seen[:, :1].expand_as(seen), atol=1e-6)
    assert not torch.allclose(seen[0], seen[1])


def test_a_clip_alone_is_augmented_as_an_image():
    images = clips(frames=1)[:, 0].float() / 255
    for augment in (Augment(flip=0.5), Augment(flip=0.5, jitter=1.0, blur=1.0)):
        expected = augment.model_copy(update={"size": 16})(images, Rng(0, 3))
        seen = augment_clips(augment, images[:, None], Rng(0, 3), (16, 16))[:, 0]
        assert torch.allclose(seen, expected, atol=1e-5)


def test_tasks_tell_movement_from_stillness():
    moving = clips()
    still = moving[:, :1].expand_as(moving).contiguous()
    cells = video_tasks(torch.cat([moving, still])).coarse
    assert cells.shape == (12, 32)
    assert (cells[:6, 16:] > 0).all() and (cells[6:, 16:] == 0).all()


def test_another_view_is_another_part_and_another_time():
    tasks = video_tasks(clips())
    seen = tasks.view(tasks.samples, Rng(0, 0))
    assert seen.shape == tasks.samples.shape and seen.dtype == torch.uint8
    assert torch.equal(seen, tasks.view(tasks.samples, Rng(0, 0)))
    assert torch.equal(seen[:, 0], seen[:, 1])  # at half its speed
    assert not torch.equal(seen[:, 0], seen[:, -1])
