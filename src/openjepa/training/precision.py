"""The precision and the attention kernels that a step computes in."""

from collections.abc import Generator
from contextlib import ExitStack, contextmanager

import torch

from openjepa.nets.attention import plain_products
from openjepa.recipes.base import Training


def computes_in_bf16(device: torch.device) -> bool:
    """Whether the hardware multiplies matrices in bf16; elsewhere bf16 is ten times slower than fp32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu":
        return False
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


@contextmanager
def computing(training: Training, device: torch.device) -> Generator[None]:
    """Compute in the config's precision, with its attention kernels; an `auto` that is left goes by the hardware: bf16
    where it has it, and there, on a CPU, plain products."""
    bf16 = training.precision == "bf16" or (training.precision == "auto" and computes_in_bf16(device))
    with ExitStack() as stack:
        stack.enter_context(torch.autocast(device.type, torch.bfloat16, enabled=bf16))
        if training.attention == "math" or (training.attention == "auto" and bf16 and device.type == "cpu"):
            stack.enter_context(plain_products())
        yield
