"""Augmentation of clips: what is drawn for a clip is done to all its frames alike."""

from dataclasses import fields, replace

from torch import Tensor

from openjepa.common.rng import Rng
from openjepa.signals.images.augment import Augment, Parameters, resized_crop


def augment_clips(augment: Augment, clips: Tensor, rng: Rng, size: tuple[int, int]) -> Tensor:
    """Float `[B, T, C, H, W]` in 0..1 to `[B, T, C, *size]`: one crop, flip, colours and blur a clip."""
    return augmented_clips(augment, clips, augment.draw(clips[:, 0], rng), size)


def augmented_clips(augment: Augment, clips: Tensor, drawn: Parameters, size: tuple[int, int]) -> Tensor:
    """The same with what was drawn for each clip."""
    count, length, channels = clips.shape[:3]
    frames = resized_crop(clips.flatten(1, 2), drawn.crop, drawn.flip, size).view(-1, channels, *size)
    if augment.jitter or augment.grey or augment.blur or augment.solarize:
        each = {f.name: getattr(drawn, f.name).repeat_interleave(length, 0) for f in fields(Parameters)}
        whole = each["crop"].new_tensor([0.0, 0.0, 1.0, 1.0]).expand(len(frames), 4)
        still = replace(Parameters(**each), crop=whole, flip=each["flip"] & False)
        frames = augment.model_copy(update={"size": None}).apply(frames, still)
    return frames.view(count, length, channels, *size)
