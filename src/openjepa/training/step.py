"""One optimiser step: micro-batches forward and backward, clip, AdamW, and the target's move."""

from contextlib import AbstractContextManager, nullcontext
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from openjepa.common.distributed import world_size
from openjepa.common.rng import Rng
from openjepa.errors import UserError
from openjepa.jepa import JEPA
from openjepa.nets.transformer import Block
from openjepa.recipes.base import Training
from openjepa.signals.base import Batch, move, pieces
from openjepa.training.distributed import mean_over_processes, replicate, require_gradients
from openjepa.training.optim import set_rates
from openjepa.training.precision import computing


class NotFinite(Exception):
    """The loss is NaN or infinite; nothing was changed."""


def require_whole_batches(model: JEPA, training: Training) -> None:
    """Micro-batches must give what the whole batch would.

    Raises:
        UserError: they are asked for, and something is computed over the whole batch.
    """
    if training.accumulate == 1:
        return
    found = [
        f"{path} {getattr(part, 'kind', '')}".strip() for path, part in model.config.within() if part.of_batch
    ]
    norms = {
        name.split(".")[0]
        for name, module in model.named_modules()
        if isinstance(module, _BatchNorm) and module.training
    }
    found += [f"batch norm in the {name}" for name in sorted(norms - {"target"})]
    if found:
        raise UserError(
            f"train.accumulate {training.accumulate} would change what is computed over the whole batch "
            f"({', '.join(found)}): use train.accumulate 1, with more processes or a smaller train.batch_size"
        )


class Stepper:
    """Takes steps of one run on one process; `start` is its first row in the global batch."""

    def __init__(self, model: JEPA, optimiser: torch.optim.Optimizer, training: Training, start: int) -> None:
        self.model, self.optimiser, self.training, self.start = model, optimiser, training, start
        self.device = next(model.parameters()).device
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        if training.compile:
            for module in model.modules():
                if isinstance(module, Block):
                    module.compile()
        self.loss_of = replicate(model)
        self.views = 0
        """Samples that go through an encoder in a step, over all processes; known after the first one."""

    def __call__(self, step: int, batch: Batch, lr_scale: float = 1.0) -> dict[str, float]:
        """Train on this process's part of a global batch; what there is to log, means over all processes.

        Raises:
            NotFinite: on every process, before any parameter has changed.
        """
        # dropout and stochastic depth draw from torch's own generator
        torch.manual_seed(((self.training.seed * 1_000_003 + step) * 65_537 + self.start) % 2**63)
        self.model.train()
        self.optimiser.zero_grad()
        terms = self._backward(step, move(batch, self.device))
        logged = {"lr": set_rates(self.optimiser, self.training, step, lr_scale)}
        if self.training.clip is not None:
            logged["grad_norm"] = nn.utils.clip_grad_norm_(self.parameters, self.training.clip).item()
        self.optimiser.step()
        self.model.after_step(step, self.training.steps)
        return terms | logged

    def _backward(self, step: int, batch: Batch) -> dict[str, float]:
        parts = pieces(batch, self.training.accumulate)
        sums: dict[str, Tensor] = {}
        for i, piece in enumerate(parts):
            start = self.start + i * len(piece)
            rng = partial(
                Rng,
                self.training.seed,
                step,
                start=start,
                total=self.training.batch_size,
                steps=self.training.steps,
            )
            if not self.views:
                self.views = self.model.passes(self.model.pairs(piece, rng())) * len(parts) * world_size()
            with synchronised(self.loss_of, last=i == len(parts) - 1):
                with computing(self.training, self.device):
                    loss, terms = self.loss_of(piece, rng())
                (loss / len(parts)).backward()
            for name, value in {"loss": loss.detach(), **terms}.items():
                sums[name] = sums.get(name, 0) + value.float() / len(parts)
        require_gradients(self.loss_of)
        values = mean_over_processes(torch.stack(list(sums.values()))).tolist()
        logged = dict(zip(sums, values, strict=True))
        if not torch.isfinite(torch.tensor(logged["loss"])):
            raise NotFinite
        return logged


def synchronised(loss_of: nn.Module, last: bool) -> AbstractContextManager[None]:
    """Let processes exchange gradients in the last micro-batch alone."""
    several = isinstance(loss_of, DistributedDataParallel)
    return loss_of.no_sync() if several and not last else nullcontext()
