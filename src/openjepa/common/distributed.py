"""This process's device, and statistics of the global batch on any number of processes, value and gradient.

Gradients assume what DDP and FSDP2 do by default: they are averaged over processes, each of which holds equally
many samples.
"""

import os

import torch
import torch.distributed as dist
from torch import Tensor, nn

from openjepa.errors import UserError

DEVICE = "OPENJEPA_DEVICE"
"""Environment variable: `auto` (the default), `cpu`, `cuda` or `mps`."""
NARROW = frozenset({"mps"})
"""Devices without float64."""


def local_device() -> torch.device:
    """Where this process trains: its NVIDIA or AMD GPU, by its number on this machine, else Apple's, else the CPU.

    With `CUDA_VISIBLE_DEVICES=` there is no GPU. Several processes share no GPU of Apple's, and train on the CPU.

    Raises:
        UserError: `OPENJEPA_DEVICE` names a device that is not there.
    """
    wanted = os.environ.get(DEVICE, "auto") or "auto"
    alone = int(os.environ.get("WORLD_SIZE", "1")) == 1
    there = {
        "cuda": torch.cuda.is_available(),
        "mps": alone and torch.backends.mps.is_available(),
        "cpu": True,
    }
    if wanted != "auto" and not there.get(wanted):
        found = ", ".join(name for name, is_there in there.items() if is_there)
        raise UserError(f"{DEVICE} is {wanted!r}: here there are {found}; auto takes the first")
    kind = wanted if wanted != "auto" else next(name for name, is_there in there.items() if is_there)
    return (
        torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if kind == "cuda" else torch.device(kind)
    )


def exact_device() -> torch.device:
    """Where this process computes what needs float64, such as the costs of plans: as `local_device`, if it has that."""
    device = local_device()
    return torch.device("cpu") if device.type in NARROW else device


def wide(values: Tensor) -> Tensor:
    """In float64; on the CPU, where the values' own device has none."""
    return (values.cpu() if values.device.type in NARROW else values).double()


def world_size() -> int:
    """Processes that share this batch; 1 outside `torchrun`."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """This process's number, from 0."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def global_mean(local: Tensor) -> Tensor:
    """The mean of `local` over processes, straight through: gradients flow to the local part alone.

    Right for statistics that enter a loss which is the same on every process (guards): averaging the processes'
    gradients afterwards gives exactly the gradient of the global statistic.
    """
    if world_size() == 1:
        return local
    mean = local.detach().clone()
    dist.all_reduce(mean)
    return local + (mean / world_size() - local).detach()


class _MeanBothWays(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, local: Tensor) -> Tensor:
        mean = local.clone()
        dist.all_reduce(mean)
        return mean / world_size()

    @staticmethod
    def backward(ctx: object, *grads: Tensor) -> Tensor:
        return _MeanBothWays.forward(ctx, grads[0])


def global_mean_in_network(local: Tensor) -> Tensor:
    """The mean over processes for use inside a network, where every process's loss depends on it in its own way."""
    return local if world_size() == 1 else _MeanBothWays.apply(local)


class BatchNorm(nn.BatchNorm1d):
    """Batch normalisation `[B, D, ...] -> [B, D, ...]` over the global batch; unlike `SyncBatchNorm` also on CPUs with
    gloo."""

    def _check_input_dim(self, input: Tensor) -> None:
        """Any number of places, where torch has a class for each."""

    def forward(self, input: Tensor) -> Tensor:
        if world_size() == 1 or not self.training:
            return super().forward(input)
        x = input.float()  # statistics in float32 under autocast, as torch keeps them
        others, shape = [0, *range(2, x.dim())], [-1] + [1] * (x.dim() - 2)
        mean = global_mean_in_network(x.mean(others))
        variance = global_mean_in_network((x - mean.view(shape)).square().mean(others))
        count = x.numel() // x.shape[1] * world_size()
        assert self.running_mean is not None and self.running_var is not None and self.momentum is not None
        self.running_mean.lerp_(mean.detach(), self.momentum)
        self.running_var.lerp_(variance.detach() * count / (count - 1), self.momentum)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked += 1
        weight = torch.rsqrt(variance + self.eps) * self.weight
        return ((x - mean.view(shape)) * weight.view(shape) + self.bias.view(shape)).to(input.dtype)
