"""Heads for fine-tuning: from an encoder and a batch to one output a class, or a variable.

All are built alike, `config.build(signal, encoder, outputs)`, into a module that takes the encoder and a batch.
"""

from typing import Annotated, Any, Literal

from pydantic import Field
from torch import Tensor, nn

from openjepa.config import Choice
from openjepa.jepa import View, mean_of
from openjepa.nets.channel_heads import Contextual, PostLocal, PreLocal


class MeanLinear(Choice):
    """A linear map of the mean over the encoder's tokens, behind a layer norm."""

    kind: Literal["linear"] = "linear"

    def build(self, signal: Any, encoder: nn.Module, outputs: int) -> "MeanHead":
        return MeanHead(signal, encoder.width, outputs)  # ty: ignore[invalid-argument-type]


Classifier = Annotated[MeanLinear | Contextual | PostLocal | PreLocal, Field(discriminator="kind")]


class MeanHead(nn.Module):
    """`(encoder, batch) -> [B, outputs]`."""

    def __init__(self, signal: Any, width: int, outputs: int) -> None:
        super().__init__()
        self.signal = signal
        self.norm, self.leave = nn.LayerNorm(width), nn.Linear(width, outputs)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, encoder: nn.Module, batch: Any) -> Tensor:
        view = View(self.signal.tokenise(batch))
        return self.leave(self.norm(mean_of(encoder(view), view.present)))
