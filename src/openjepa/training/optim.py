"""AdamW with its parameter groups, and the schedules: pure functions of the step."""

import math

import torch
from torch import nn

from openjepa.recipes.base import Training

UNDECAYED = ("position_table", "pos_embed", "cls_token", "reg_token")
"""Tables and tokens that are learned as such, whatever their shape."""
MASK_TOKEN = "mask_token"


def adamw(model: nn.Module, training: Training) -> torch.optim.AdamW:
    """Fused AdamW; weight decay on matrices and kernels, not on biases, norms, other 1-D parameters and tokens.

    `decay_mask_tokens` adds mask tokens to what is decayed.
    """
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    decays = {name: _decays(name, p, training) for name, p in trained}
    decayed = [p for name, p in trained if decays[name]]
    others = [p for name, p in trained if not decays[name]]
    groups = [{"params": decayed, "decays": True}, {"params": others, "decays": False}]
    groups = [group for group in groups if group["params"]]
    return torch.optim.AdamW(
        groups, lr=training.lr, betas=(0.9, training.beta2), weight_decay=0.0, fused=True
    )


def _decays(name: str, parameter: nn.Parameter, training: Training) -> bool:
    if name.endswith(MASK_TOKEN):
        return training.decay_mask_tokens
    return parameter.ndim > 1 and not name.endswith(UNDECAYED)


def set_rates(optimiser: torch.optim.Optimizer, training: Training, step: int, scale: float = 1.0) -> float:
    """Give the optimiser its rates for `step`; returns the learning rate, `scale` times the schedule's."""
    lr, decay = scale * learning_rate(training, step), weight_decay(training, step)
    for group in optimiser.param_groups:
        group["lr"], group["weight_decay"] = lr, decay if group["decays"] else 0.0
    return lr


def learning_rate(training: Training, step: int) -> float:
    """At `step` of 0..steps-1.

    Linear from `start_lr` at step 0 to 1 at the end of the warm-up; then a cosine, or a constant and a linear
    cooldown, to exactly `final_lr` at the last step (all as shares of `lr`).
    """
    last = training.steps - 1
    warm = min(round(training.warmup * training.steps), last)
    if step < warm:
        share = _line(training.start_lr, 1.0, step / warm)
    elif training.schedule == "cosine":
        share = _cosine(1.0, training.final_lr, _done(step, warm, last))
    else:
        turn = max(warm, last - round(training.cooldown * training.steps))
        share = _line(1.0, training.final_lr, _done(step, turn, last))
    return training.lr * share


def weight_decay(training: Training, step: int) -> float:
    """At `step` of 0..steps-1: a cosine from `weight_decay` to exactly `final_weight_decay` at the last step."""
    if training.final_weight_decay is None:
        return training.weight_decay
    return _cosine(training.weight_decay, training.final_weight_decay, _done(step, 0, training.steps - 1))


def _done(step: int, first: int, last: int) -> float:
    return min(max(step - first, 0) / (last - first), 1.0) if last > first else 0.0


def _line(start: float, end: float, done: float) -> float:
    return (1 - done) * start + done * end  # exact at both ends


def _cosine(start: float, end: float, done: float) -> float:
    return _line(start, end, (1 - math.cos(math.pi * done)) / 2)
