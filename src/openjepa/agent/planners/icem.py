"""Improved CEM: coloured noise, elites that are kept, fewer samples as it narrows."""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from openjepa.agent.planners.cem import Refit
from openjepa.agent.planners.problem import Problem


class ICEM(Refit):
    """iCEM (Pinneri et al., arXiv:2008.06389).

    Against CEM: noise is correlated in time; a share of the elites are candidates again in the next iteration, and,
    shifted, in the next plan; the number of samples decays; the best candidate of all is the answer. The mean is
    a candidate in every iteration (the paper: in the last).
    """

    kind: Literal["icem"] = "icem"
    samples: int = Field(128, ge=2, le=1_000_000)
    iterations: int = Field(5, ge=1, le=100_000)
    elites: int = Field(10, ge=1, le=1_000_000)
    sigma: float = Field(0.5, gt=0)
    momentum: float = Field(0.1, ge=0, lt=1)
    answer: Literal["mean", "best"] = "best"
    colour: float = Field(2.0, ge=0)
    """Exponent of the noise's spectrum, 1 / f^colour along time: 0 white, 1 pink, 2 red."""
    reuse: float = Field(0.3, ge=0, le=1)
    """Share of the elites that are candidates again."""
    decay: float = Field(1.25, ge=1)
    """Factor by which the samples fall from one iteration to the next, to twice the elites at least."""

    def _count(self, iteration: int) -> int:
        return min(self.samples, max(2 * self.elites, round(self.samples * self.decay**-iteration)))

    def _noise(self, problem: Problem, count: int) -> Tensor:
        white = super()._noise(problem, count)
        steps = white.unflatten(-1, (problem.box.block, -1)).flatten(
            2, 3
        )  # a block's steps follow one another in time
        return coloured(steps, self.colour).reshape(white.shape)

    def _keep(self, elites: Tensor) -> Tensor:
        return elites[:, : round(self.reuse * elites.shape[1])]


def coloured(white: Tensor, exponent: float) -> Tensor:
    """White noise `[B, S, H, A]` filtered to a spectrum 1 / f^exponent along H, with unit variance at every step.

    The lowest frequency, 0, counts as 1 / H (Timmer & Koenig 1995, as in iCEM).
    """
    steps = white.shape[2]
    frequencies = torch.fft.fftfreq(steps, device=white.device).abs().clamp(min=1 / steps)
    gain = frequencies ** (-exponent / 2)
    gain = gain / gain.square().mean().sqrt()
    spectrum = torch.fft.rfft(white, dim=2) * gain[: steps // 2 + 1, None]
    return torch.fft.irfft(spectrum, n=steps, dim=2)
