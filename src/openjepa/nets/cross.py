"""A predictor that asks the context: mask tokens attend to one another and to the context's features."""

from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from openjepa.errors import UserError
from openjepa.jepa import Pair
from openjepa.nets.attention import attend
from openjepa.nets.positions import PairwisePositions, PositionsKind, placed
from openjepa.nets.predictor import Ports, mask_tokens, queries_of
from openjepa.nets.transformer import Attention, TransformerBlocks, initialise, mlp


class Cross(TransformerBlocks):
    """A transformer decoder: self-attention among mask tokens, then attention to the context (Signal-JEPA)."""

    kind: Literal["cross"] = "cross"
    width: int = Field(64, ge=8, le=65_536)
    """The width of tokens; where it is not the encoder's, linear maps lead in and out."""
    depth: int = Field(4, ge=1, le=256)
    heads: int = Field(8, ge=1, le=1024)
    init: Literal["trunc", "xavier"] = "xavier"
    positions: PositionsKind | None = None
    """What is added to the mask tokens; none: the encoder's own positions."""

    def build(self, ports: Ports) -> "CrossPredictor":
        """Raises UserError where there are no positions to share."""
        return CrossPredictor(self, ports)


class CrossPredictor(nn.Module):
    """`s_x [B, K, D]` and where to predict: `[B, M, T, D]`; the M blocks are asked together."""

    def __init__(self, config: Cross, ports: Ports) -> None:
        super().__init__()
        self.config, self.condition = config, ports.condition
        self.mask_token = mask_tokens(ports, config.width)
        alike = config.width == ports.width == ports.out
        self.enter = nn.Identity() if alike else nn.Linear(ports.width, config.width)
        self.blocks = nn.ModuleList(CrossBlock(config) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.width, config.norm_eps)
        self.leave = nn.Identity() if alike else nn.Linear(config.width, ports.out)
        initialise(self, config.init)
        nn.init.trunc_normal_(self.mask_token, std=0.02)
        own = config.positions.build(ports.signal, config.width) if config.positions else None
        if own is None and (ports.positions is None or config.width != ports.width):
            raise UserError(
                f"--predictor cross shares the positions of an encoder of its own width, {config.width}: use "
                f"--predictor.width {ports.width} with an encoder that has positions, or --predictor.positions sincos"
            )
        if isinstance(own or ports.positions, PairwisePositions):
            raise UserError(
                "--predictor cross adds positions to what it asks for: use positions sincos, not rotary or relative"
            )
        self.positions = own
        self._shared = [ports.positions]  # in a list, so that it stays a part of the encoder alone

    def forward(self, s_x: Tensor, pair: Pair) -> Tensor:
        positions = self.positions or self._shared[0]
        assert positions is not None
        place = placed(positions, pair.target[0].tokens, pair.place).expand(len(s_x), -1, -1)
        queries = queries_of(self.mask_token, place, pair, self.condition)
        x, memory = queries.flatten(1, 2), self.enter(s_x)
        there, wanted = pair.context.present, pair.asked
        look = None if there is None else there[:, None, None]
        among = None if wanted is None else wanted.flatten(1)[:, None, None]
        for block in self.blocks:
            x = block(x, memory, look, among)
        return self.leave(self.norm(x)).view(queries.shape[0], queries.shape[1], queries.shape[2], -1)


class CrossBlock(nn.Module):
    """Self-attention, attention to a memory, an MLP: `[B, T, D]` and `[B, K, D]` to `[B, T, D]`."""

    def __init__(self, config: Cross) -> None:
        super().__init__()
        width, eps = config.width, config.norm_eps
        self.post = config.norm == "post"
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width, eps) for _ in range(3))
        self.attention = Attention(width, config.heads, dropout=config.dropout)
        self.look = Look(width, config.heads, config.dropout)
        self.mlp = mlp(width, config.mlp_ratio, config.activation, config.dropout)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, memory: Tensor, look: Tensor | None, among: Tensor | None) -> Tensor:
        """`look` and `among`: which of the memory and of the tokens are there, `[B, 1, 1, K]` and `[B, 1, 1, T]`."""
        if self.post:
            x = self.norm1(x + self.dropout(self.attention(x, mask=among)))
            x = self.norm2(x + self.dropout(self.look(x, memory, look)))
            return self.norm3(x + self.dropout(self.mlp(x)))
        x = x + self.dropout(self.attention(self.norm1(x), mask=among))
        x = x + self.dropout(self.look(self.norm2(x), memory, look))
        return x + self.dropout(self.mlp(self.norm3(x)))


class Look(nn.Module):
    """Attention of tokens `[B, T, D]` to a memory `[B, K, D]`."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.q, self.kv = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, memory: Tensor, mask: Tensor | None = None) -> Tensor:
        q = self.q(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        k, v = self.kv(memory).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attended = attend(q, k, v, mask, self.dropout if self.training else 0.0)
        return self.proj(attended.transpose(1, 2).flatten(-2))
