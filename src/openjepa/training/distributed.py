"""Several processes under `torchrun`, each with its rows of the global batch.

    torchrun --nproc-per-node 2 -m openjepa train i-jepa --preset tiny

With `--max-restarts`, set TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 for torchrun itself: workers that restart on the
agent's shared store find each other's old addresses there and fail to connect.
"""

import importlib
import os
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from openjepa.jepa import JEPA, evaluating
from openjepa.parallel import local_device, world_size
from openjepa.rng import Rng


@contextmanager
def process_group() -> Generator[torch.device]:
    """This process's device; under torchrun also the process group, left again at the end if it was made here."""
    device = local_device()
    ours = int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized()
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if ours:
        # Imported first, since its functions bind the group that exists at import as a default argument. DDP would
        # import it too late: the group, and with it gloo's threads, would outlive `destroy_process_group`, and a thread
        # that gives back its last tensor only while the interpreter ends needs the GIL and aborts the process.
        importlib.import_module("torch.distributed.nn.functional")
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield device
    finally:
        if ours:
            dist.destroy_process_group()


class LossOf(nn.Module):
    """`(batch, rng) -> loss, terms`: what DDP needs to see of a model."""

    def __init__(self, model: JEPA) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Any, rng: Rng) -> tuple[Tensor, dict[str, Tensor]]:
        output = self.model(batch, rng)
        return output.loss, output.terms


def replicate(model: JEPA, batch: Any, rng: Rng) -> nn.Module:
    """The model's loss, whose gradients are averaged over processes.

    DDP waits for every parameter's gradient. Recipes may leave some without (a mask token where nothing is replaced):
    they are found once, with a batch, and frozen, which is cheaper than looking for them in every step.
    """
    loss_of = LossOf(model)
    if world_size() == 1:
        return loss_of
    trained = [p for p in model.parameters() if p.requires_grad]
    with evaluating(model):
        gradients = torch.autograd.grad(loss_of(batch, rng)[0], trained, allow_unused=True)
    for parameter, gradient in zip(trained, gradients, strict=True):
        parameter.requires_grad_(gradient is not None)
    return DistributedDataParallel(loss_of)


def mean_over_processes(values: Tensor) -> Tensor:
    """Each value's mean, equal on all processes."""
    if world_size() > 1:
        dist.all_reduce(values)
        values /= world_size()
    return values


def sum_over_processes(value: float, device: torch.device) -> float:
    """Equal on all processes, of which `device` is this one's."""
    if world_size() == 1:
        return value
    return float(mean_over_processes(torch.tensor(value, device=device))) * world_size()


def barrier() -> None:
    """Wait for all processes."""
    if world_size() > 1:
        dist.barrier()
