"""Samples with their labels, as fine-tuning reads them."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from openjepa.common.rng import Rng
from openjepa.signals.base import Batch, Samples, finite, move


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
    """Samples whose batches come with their labels.

    Args:
        samples: a set in which `rows` have labels.
        rows: numbers of the samples of `samples` that are used, `[N]`.
        answers: of each of these, as `Labelled` has them.
    """

    def __init__(self, samples: Samples, rows: Tensor, answers: Tensor) -> None:
        self.samples, self.rows, self.answers = samples, rows, answers
        self.name, self.noun, self.in_memory = samples.name, samples.noun, samples.in_memory
        self.shape = getattr(samples, "shape", ())
        self.labels = None if samples.labels is None else samples.labels[rows.numpy()]

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, indices: Any, rng: Rng | None = None) -> Labelled:
        chosen = torch.as_tensor(indices, dtype=torch.long)
        return Labelled(self.samples.read(self.rows[chosen], rng), self.answers[chosen])

    def describe(self) -> dict[str, Any]:
        return {**self.samples.describe(), "labelled": len(self)}
