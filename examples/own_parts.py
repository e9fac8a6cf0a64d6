"""A part of every kind that one can bring: functions and classes, without a line of configuration.

    openjepa train i-jepa --preset tiny-vit --encoder own_parts.py:small_net --encoder.width 48 \
        --predictor own_parts.py:decoder --hiding own_parts.py:specks --hiding.share 0.7 --energy own_parts.py:huber

What a choice hands over comes first; every other argument has a default and is an option.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from openjepa import parts
from openjepa.common.rng import Rng
from openjepa.jepa import Tokens
from openjepa.signals.images.signal import ImageSignal


@parts.encoder
def small_net(signal: ImageSignal, width: int = 64, kernel: int = 3) -> nn.Module:
    """Pictures `[B, C, H, W]` to a map `[B, width, h, w]` with one place a patch."""
    return nn.Sequential(
        nn.Conv2d(signal.channels, width, signal.patch, signal.patch),
        nn.GELU(),
        nn.Conv2d(width, width, kernel, padding=kernel // 2),
    )


@parts.encoder
class OneVector(nn.Module):
    """Pictures to one vector `[B, width]`, for recipes that compare whole views."""

    def __init__(self, signal: ImageSignal, width: int = 64) -> None:
        super().__init__()
        self.conv = nn.Conv2d(signal.channels, width, signal.patch, signal.patch)
        self.out = nn.Linear(width, width)

    def forward(self, pictures: Tensor) -> Tensor:
        return self.out(F.relu(self.conv(pictures)).mean((2, 3)))


@parts.stem
def two_steps(signal: ImageSignal, width: int = 32) -> nn.Module:
    """What embeds the transformer's tokens: two convolutions in place of a linear map."""
    return nn.Sequential(
        nn.Conv2d(signal.channels, width, 1), nn.GELU(), nn.Conv2d(width, width, signal.patch, signal.patch)
    )


@parts.predictor
def decoder(width: int, depth: int = 1, heads: int = 2) -> nn.Module:
    """Queries and context to answers, `[B, Q, width]`."""
    layer = nn.TransformerDecoderLayer(
        width, heads, 2 * width, dropout=0.0, batch_first=True, norm_first=True
    )
    return nn.TransformerDecoder(layer, depth)


@parts.dynamics
class Residual(nn.Module):
    """A world model's predictor: a state `[N, width]` and an action `[N, actions]` to the next state."""

    def __init__(self, width: int, actions: int, hidden: int = 64) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(width + actions, hidden), nn.ReLU(), nn.Linear(hidden, width))

    def forward(self, state: Tensor, action: Tensor) -> Tensor:
        return state + self.mlp(torch.cat([state, action], -1))


@parts.target
def edges(signal: ImageSignal) -> nn.Module:
    """How much each colour of a patch changes to the right and downwards: `[B, 2 * channels, h, w]`."""

    class Edges(nn.Module):
        def forward(self, pictures: Tensor) -> Tensor:
            right = pictures.diff(dim=3, append=pictures[:, :, :, -1:]).abs()
            down = pictures.diff(dim=2, append=pictures[:, :, -1:]).abs()
            return F.avg_pool2d(torch.cat([right, down], 1), signal.patch)

    return Edges()


@parts.energy
def huber(prediction: Tensor, target: Tensor, delta: float = 1.0) -> Tensor:
    """One number a token."""
    return F.huber_loss(prediction, target, delta=delta, reduction="none").mean(-1)


@parts.hiding
def specks(tokens: Tokens, rng: Rng, share: float = 0.5) -> Tensor:
    """Which tokens are hidden, `[B, N]`: equally many of each sample, at random."""
    count = tokens.values.shape[1]
    order = rng.uniform(len(tokens.values), count).argsort(1).argsort(1)
    return order < max(1, min(count - 1, round(share * count)))


@parts.guard
def spread(embeddings: Tensor, least: float = 1.0) -> Tensor:
    """A penalty on features that vary less than `least`."""
    return F.relu(least - (embeddings.var(0) + 1e-4).sqrt()).mean()
