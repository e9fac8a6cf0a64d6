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

from openjepa.common.distributed import local_device, world_size
from openjepa.common.rng import Rng
from openjepa.errors import UserError
from openjepa.jepa import JEPA

OF_UNUSED = "the model's `unused`"


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


def replicate(model: JEPA) -> nn.Module:
    """The model's loss, whose gradients are averaged over processes.

    DDP waits for every parameter's gradient. Those that the model declares unused are frozen; where it declares nothing
    DDP looks in every step which have one.

    Raises:
        UserError: the model has no parameter of a name that it declares.
    """
    loss_of = LossOf(model)
    if world_size() == 1:
        return loss_of
    unused, named = model.unused(), dict(model.named_parameters())
    for name in unused or ():
        if name not in named:
            raise UserError(f"the model declares {name} unused and has no such parameter: mend {OF_UNUSED}")
        named[name].requires_grad_(False)
    return DistributedDataParallel(loss_of, find_unused_parameters=unused is None)


def require_gradients(loss_of: nn.Module) -> None:
    """Check what DDP waits for, after a step's gradients were computed.

    Raises:
        UserError: parameters that are not declared unused have no gradient, so none was averaged.
    """
    if not isinstance(loss_of, DistributedDataParallel) or loss_of.find_unused_parameters:
        return
    trained = ((name, p) for name, p in loss_of.module.model.named_parameters() if p.requires_grad)
    missing = [name for name, p in trained if p.grad is None]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise UserError(
            f"no loss of this step has read {missing[0]}{more}: name what no step reads in {OF_UNUSED}, or give None "
            "there if another step does"
        )


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
