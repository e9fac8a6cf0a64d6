"""Signal-JEPA's three heads: where a spatial filter mixes electrodes to a few virtual ones.

Guetschel et al., arXiv:2403.11772; braindecode's `SignalJEPA_Contextual`, `_PostLocal` and `_PreLocal`.
"""

from dataclasses import replace
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from openjepa.config import Choice
from openjepa.errors import UserError
from openjepa.jepa import View


class SpatialHead(Choice):
    """A filter over electrodes, then a linear map of all that is left."""

    filters: int = Field(4, ge=1, le=1024)
    """Virtual electrodes."""


class Contextual(SpatialHead):
    """The filter mixes the electrodes' tokens as the whole encoder gives them."""

    kind: Literal["contextual"] = "contextual"

    def build(self, signal: Any, encoder: Any, outputs: int) -> "AfterHead":
        """Raises UserError for a signal that is no electrodes'."""
        return AfterHead(self, signal, encoder.width, outputs, local=False)


class PostLocal(SpatialHead):
    """The filter mixes the electrodes' tokens as the stem gives them; the transformer is left out."""

    kind: Literal["post-local"] = "post-local"

    def build(self, signal: Any, encoder: Any, outputs: int) -> "AfterHead":
        """Raises UserError for a signal that is no electrodes', or an encoder without a stem."""
        return AfterHead(self, signal, _stem(encoder).width, outputs, local=True)


class PreLocal(SpatialHead):
    """The filter mixes the electrodes' recordings, before the stem; the transformer is left out."""

    kind: Literal["pre-local"] = "pre-local"

    def build(self, signal: Any, encoder: Any, outputs: int) -> "BeforeHead":
        """Raises UserError for a signal that is no electrodes', or an encoder without a stem."""
        return BeforeHead(self, signal, _stem(encoder).width, outputs)


class AfterHead(nn.Module):
    """`(encoder, batch) -> [B, outputs]`; a filter of tokens."""

    def __init__(self, config: SpatialHead, signal: Any, width: int, outputs: int, local: bool) -> None:
        super().__init__()
        channels, steps = _electrodes(signal)
        self.signal, self.local = signal, local
        self.mix = nn.Linear(channels, config.filters)
        self.leave = nn.Linear(config.filters * steps * width, outputs)

    def forward(self, encoder: nn.Module, batch: Any) -> Tensor:
        _require_all(batch, self.signal)
        view = View(self.signal.tokenise(batch))
        tokens = _stem(encoder)(view) if self.local else encoder(view)
        maps = tokens.unflatten(1, view.tokens.layout)  # [B, C, T, D]
        return self.leave(self.mix(maps.movedim(1, -1)).movedim(-1, 1).flatten(1))


class BeforeHead(nn.Module):
    """`(encoder, batch) -> [B, outputs]`; a filter of recordings."""

    def __init__(self, config: SpatialHead, signal: Any, width: int, outputs: int) -> None:
        super().__init__()
        channels, steps = _electrodes(signal)
        self.signal, self.filters = signal, config.filters
        self.mix = nn.Linear(channels, config.filters)
        self.leave = nn.Linear(config.filters * steps * width, outputs)

    def forward(self, encoder: nn.Module, batch: Any) -> Tensor:
        _require_all(batch, self.signal)
        values = self.mix(batch.values.mT).mT  # [B, V, S]
        nowhere = values.new_zeros(len(values), self.filters, 3)
        there = torch.ones(values.shape[:2], dtype=torch.bool, device=values.device)
        virtual = replace(batch, values=values, places=nowhere, valid=there)
        tokens = _stem(encoder)(View(self.signal.tokenise(virtual)))
        return self.leave(tokens.flatten(1))


def _electrodes(signal: Any) -> tuple[int, int]:
    if getattr(signal, "kind", "") != "electrodes":
        raise UserError("a spatial filter mixes electrodes: use --classifier linear for any other signal")
    return signal.layout


def _stem(encoder: Any) -> Any:
    stem = getattr(encoder, "stem", None)
    if stem is None:
        raise UserError(
            "a local head needs an encoder with a stem of channels: use --classifier contextual or linear"
        )
    return stem


def _require_all(batch: Any, signal: Any) -> None:
    if batch.values.shape[1] != len(signal.channels) or not bool(batch.valid.all()):
        raise UserError(
            f"a spatial filter needs all {len(signal.channels)} electrodes of the training data in every window: "
            "for recordings of several montages fine-tune with --classifier linear"
        )
