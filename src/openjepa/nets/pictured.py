"""What encoders share that are given a whole picture, whatever network is inside."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from openjepa.jepa import Tokens, View, evaluating, gather


class PictureEncoder(nn.Module):
    """`View -> [B, n, D]`, of the picture that a view shows; what it does not keep is zero in it (grey).

    Attributes:
        signal: an `openjepa.signals.base.Signal`.
        width: D.
    """

    signal: Any
    width: int

    def places(self, pictures: Tensor) -> Tensor:
        """Features of every place, `[B, n, D]` in row order."""
        raise NotImplementedError

    def forward(self, view: View) -> Tensor:
        return self.picked(self.places(self.picture(view)), view)

    def picture(self, view: View) -> Tensor:
        """Normalised pictures `[B, C, H, W]`; raw tokens `[B, N, F]` of a signal that has none."""
        tokens = view.tokens
        if view.keep is not None:
            tokens = Tokens(tokens.values * view.shown[..., None], tokens.positions, tokens.layout)
        return self.signal.fold(tokens) if hasattr(self.signal, "fold") else tokens.values

    def picked(self, features: Tensor, view: View) -> Tensor:
        """Those of the kept tokens where there is one a token, else all."""
        if view.keep is None or features.shape[1] != view.tokens.values.shape[1]:
            return features
        return gather(features, view.keep)

    def example(self, device: torch.device | None = None) -> Tensor:
        """What `places` is given of one sample, zeros."""
        signal = self.signal
        count = math.prod(signal.layout or (1,))
        values = torch.zeros(1, count, signal.features, device=device)
        tokens = Tokens(values, values.new_zeros(1, count, len(signal.axes)), signal.layout)
        return self.picture(View(tokens))

    def unused(self) -> set[str]:
        """Names of the parameters that no feature depends on: what a backbone keeps for its classifier."""
        trained = {name: p for name, p in self.named_parameters() if p.requires_grad}
        if not trained:
            return set()
        with evaluating(self), torch.enable_grad():
            features = self.places(self.example(next(iter(trained.values())).device))
            gradients = torch.autograd.grad(features.sum(), list(trained.values()), allow_unused=True)
        return {name for name, gradient in zip(trained, gradients, strict=True) if gradient is None}
