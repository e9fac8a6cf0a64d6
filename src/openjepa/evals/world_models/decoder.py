"""Pictures of states, for looking only: a decoder fitted on detached states of a finished model.

It tells what is in a state, and how an imagined one would look. No loss of any model ever sees it: what a picture
needs and the task does not is just what a joint embedding leaves out (LeCun 2022, section 4.3).

The other way would be the real frame whose state is nearest: it looks sharp however far the state lies from every
real one, and so hides what a picture is to show.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from openjepa.agent.heads import descend
from openjepa.world_models.model import StateLayout, WorldJEPA

LARGEST = 64
"""Side of the pictures, at most: larger frames are drawn smaller."""
CHANNELS = (64, 32, 16, 8)
"""Channels at each doubling of the side; the last serves for all later ones."""
BATCH, UPDATES, LR = 32, 400, 3e-3


class Decoder(nn.Module):
    """States `[N, *L]` to pictures `[N, C, s, s]` in 0..1, s at most `LARGEST`.

    Args:
        layout: of the states.
        width: D, of a state's token.
        frame: channels, rows, columns.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, layout: StateLayout, width: int, frame: tuple[int, int, int]) -> None:
        super().__init__()
        self.layout, (channels, side, _) = layout, frame
        self.side = min(side, LARGEST)
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("std", torch.ones(width))
        spread = 4 if layout.grid == (1, 1) else 1  # a vector has no places: it is given 4 x 4
        self.start = nn.Linear(width, CHANNELS[0] * spread**2)
        rows, layers, now = layout.grid[0] * spread, [], CHANNELS[0]
        for i in range(_doublings(rows, self.side)):
            more = CHANNELS[min(i + 1, len(CHANNELS) - 1)]
            layers += [nn.SiLU(), nn.Conv2d(now, 4 * more, 3, padding=1), nn.PixelShuffle(2)]
            now = more
        self.rest = nn.Sequential(*layers, nn.SiLU(), nn.Conv2d(now, channels, 3, padding=1))
        self.spread = spread

    def forward(self, states: Tensor) -> Tensor:
        tokens = (self.layout.tokens(states) - self.mean) / self.std
        grid = self.start(tokens).unflatten(-1, (CHANNELS[0], self.spread, self.spread))
        rows, columns = self.layout.grid
        maps = grid.unflatten(1, (rows, columns)).permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)
        pictures = self.rest(maps).sigmoid()
        if pictures.shape[-1] == self.side:
            return pictures
        return interpolate(pictures, (self.side, self.side), mode="bilinear", antialias=True)

    @torch.no_grad()
    def draw(self, states: Tensor) -> Tensor:
        """uint8 `[..., C, s, s]` on the CPU, of states `[..., *L]`."""
        lead = states.shape[: states.dim() - len(self.layout.shape)]
        flat = states.reshape(-1, *self.layout.shape)
        parts = [(255 * self(part)).round().to(torch.uint8).cpu() for part in flat.split(256)]
        return torch.cat(parts).unflatten(0, lead)


def fit_decoder(
    model: WorldJEPA, frames: Tensor, states: Tensor, *, seed: int = 0, updates: int = UPDATES
) -> Decoder:
    """A decoder of the model's states; the model is not touched.

    Pixels that differ from the windows' usual ones count as much in all as those that do not, however few they are:
    else what moves, small as it is, would be the last thing that is learned.

    Args:
        frames: uint8 `[B, T, C, H, W]`, windows of episodes.
        states: `[B, T, *L]`, what the model makes of them.
        seed: of the first weights and of the batches.
    """
    states = states.detach().flatten(0, 1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        decoder = Decoder(
            model.state_layout, model.state_layout.tokens(states[:1]).shape[-1], model.signal.frame
        ).to(states)
    tokens = model.state_layout.tokens(states).flatten(0, 1)
    decoder.mean.copy_(tokens.mean(0))
    decoder.std.copy_(tokens.std(0, correction=0) + 1e-3 * tokens.std(correction=0) + 1e-6)
    size = (decoder.side, decoder.side)
    wanted = interpolate(frames.flatten(0, 1).float() / 255, size, mode="area").to(states)
    weights = moving(wanted.unflatten(0, frames.shape[:2])).flatten(0, 1)
    generator = torch.Generator().manual_seed(seed)

    def loss() -> Tensor:
        rows = torch.randint(len(wanted), (BATCH,), generator=generator).to(states.device)
        return (weights[rows] * (decoder(states[rows]) - wanted[rows]).square()).mean()

    descend(decoder, loss, updates=updates, lr=LR)
    return decoder.requires_grad_(False)


def moving(windows: Tensor) -> Tensor:
    """Weights `[B, T, 1, H, W]` of pixels `[B, T, C, H, W]`: 1, plus how far each is from its window's median, over the
    mean of that."""
    away = (windows - windows.median(1, keepdim=True).values).abs().mean(2, keepdim=True)
    return 1 + away / away.mean().clamp(min=1e-6)


def _doublings(rows: int, side: int) -> int:
    count = 0
    while rows < side:
        rows, count = 2 * rows, count + 1
    return count
