"""Samples with their labels, as fine-tuning reads them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from openjepa.common.rng import Rng
from openjepa.errors import UserError
from openjepa.signals.base import Batch, finite, move
from openjepa.signals.parts import labelled


@dataclass(frozen=True, eq=False)
class Labelled:
    """A batch of samples and what is known of each.

    Attributes:
        inputs: the signal's batch, of B samples.
        answers: `[B]` int64 classes, or `[B, V]` float32 variables.
    """

    inputs: Any
    answers: Tensor

    def __len__(self) -> int:
        return len(self.answers)

    def __getitem__(self, rows: slice | Tensor) -> "Labelled":
        """Some of the samples: a slice, a mask `[B]` or indices."""
        return Labelled(self.inputs[rows], self.answers[rows])

    @property
    def device(self) -> torch.device:
        return self.answers.device

    def to(self, device: torch.device | str) -> "Labelled":
        """The same on another device; from pinned memory without waiting."""
        moved = move(self.inputs, torch.device(device))
        return Labelled(moved, self.answers.to(device, non_blocking=True))

    def pin_memory(self) -> "Labelled":
        """In page-locked memory, as torch's loader asks for."""
        return Labelled(self.inputs.pin_memory(), self.answers.pin_memory())

    def finite(self) -> Tensor:
        """Which samples hold finite numbers alone, `[B]` bool."""
        inputs: Tensor | Batch = self.inputs
        return finite(inputs)


class LabelledSamples:
    """Samples whose batches come with their labels; those without one are left out.

    Attributes:
        answers: as `Labelled` has them, of all samples.

    Raises:
        UserError: no sample has a label, or fewer than two classes have some.
    """

    def __init__(self, samples: Any) -> None:
        if samples.labels is None:
            raise UserError(
                f"{samples.name} has no labels to fine-tune on: give one sub-folder per class, labelled arrays, or a "
                "table (--labels TABLE)"
            )
        self.samples = labelled(samples)
        self.name, self.noun, self.in_memory = samples.name, samples.noun, samples.in_memory
        self.shape, self.labels = samples.shape, self.samples.labels
        values = np.asarray(self.labels.values)
        if values.dtype.kind == "f":
            self.answers = torch.from_numpy(values.reshape(len(values), -1).astype(np.float32))
            return
        self.answers = torch.from_numpy(values.astype(np.int64))
        if len(np.unique(values)) < 2:
            raise UserError(
                f"{samples.name}: fewer than two classes have labelled {samples.noun}; give two at least"
            )

    def __len__(self) -> int:
        return len(self.answers)

    def read(self, indices: Any, rng: Rng | None = None) -> Labelled:
        """A batch with its labels."""
        return Labelled(
            self.samples.read(indices, rng), self.answers[torch.as_tensor(indices, dtype=torch.long)]
        )

    def describe(self) -> dict[str, Any]:
        """Plain data for `run.json`, of the samples that have a label."""
        return self.samples.describe()
