"""The token transformer: a plain pre-norm ViT over whatever tokens a view keeps."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from openjepa.config import Choice
from openjepa.errors import UserError
from openjepa.jepa import View
from openjepa.nets.attention import attend
from openjepa.nets.modalities import ModalityEmbed
from openjepa.nets.positions import (
    EncoderPositions,
    PairwisePositions,
    Relative,
    RelativePositions,
    Rotary,
    RotaryPositions,
    SinCos,
)
from openjepa.nets.stems import Stem


class KeysValues:
    """What one attention layer remembers of earlier tokens, so that they need not be computed again.

    Of B rows at first, B dividing the rows asked for later, each is shared by equal runs of them: a problem's context
    by its candidates.
    """

    def __init__(self) -> None:
        self.seen: tuple[Tensor, Tensor] | None = None

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Remember `[N, heads, n, d]`, and give the keys and values of all tokens so far, for N rows."""
        if self.seen is not None:
            k, v = (spread(part, len(keys)) for part in self.seen)
            keys, values = torch.cat([k, keys], 2), torch.cat([v, values], 2)
        self.seen = keys, values
        return keys, values


def spread(shared: Tensor, rows: int) -> Tensor:
    """`[B, ...] -> [rows, ...]`: each of B rows for an equal run of `rows`."""
    return shared if len(shared) == rows else shared.repeat_interleave(rows // len(shared), 0)


class Attention(nn.Module):
    """Scaled dot-product attention, `[B, N, D] -> [B, N - first, D]`.

    Args:
        width: D.
        heads: how many.
        head_width: of each; `None`: their share of `width`.
        bias: whether queries, keys and values have one.
        dropout: of the attention weights.
        buckets: of offsets between tokens, each with a learned vector (`Relative` positions).
    """

    def __init__(
        self,
        width: int,
        heads: int,
        head_width: int | None = None,
        bias: bool = True,
        dropout: float = 0.0,
        buckets: int = 0,
    ) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        inner = heads * (head_width or width // heads)
        self.qkv = nn.Linear(width, 3 * inner, bias)
        self.proj = nn.Linear(inner, width)
        self.offsets = nn.Parameter(torch.zeros(buckets, inner // heads)) if buckets else None

    def forward(
        self,
        x_BND: Tensor,
        first: int = 0,
        *,
        turn: Rotary | None = None,
        memory: KeysValues | None = None,
        mask: Tensor | None = None,
        near: Tensor | None = None,
    ) -> Tensor:
        """`turn` rotates queries and keys by their positions. `mask` is True where a token may look: `[N, M + N]`,
        with M the tokens in `memory`, or with B, or B and heads, before; any axis but the last may be 1. `near` are the
        buckets of the tokens' offsets, `[1 or B, N, N]`."""
        q, k, v = self.qkv(x_BND).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        if turn is not None:
            q, k = turn(q), turn(k)
        if memory is not None:
            k, v = memory.append(k, v)
        dropout = self.dropout if self.training else 0.0
        mask = None if mask is None else _rows(mask, first)
        bias = None
        if self.offsets is not None and near is not None:
            bias = _scores(q[:, :, first:], self.offsets, near[:, first:])
        x = attend(q[:, :, first:], k, v, mask, dropout, bias)
        return self.proj(x.transpose(1, 2).flatten(-2))


def _scores(q: Tensor, offsets: Tensor, near: Tensor) -> Tensor:
    """`q · offset / √d`, `[B, heads, N, M]`, of queries `[B, heads, N, d]` and buckets `[1 or B, N, M]` of offsets."""
    q = q * q.shape[-1] ** -0.5
    keys = offsets[near].mT  # [1 or B, N, d, M]
    if len(keys) > 1:
        return (q.transpose(1, 2) @ keys).transpose(1, 2)
    together = q.permute(2, 0, 1, 3).flatten(1, 2) @ keys[0]  # [N, B * heads, M]
    return together.unflatten(1, q.shape[:2]).permute(1, 2, 0, 3)


def _rows(mask: Tensor, first: int) -> Tensor:
    """The mask of the tokens from number `first` on, as it broadcasts to `[B, heads, N - first, M + N]`."""
    mask = mask.unsqueeze(1) if mask.dim() == 3 else mask
    return mask if mask.shape[-2] == 1 else mask[..., first:, :]


class Block(nn.Module):
    """`x + attention(norm(x))`, then `x + mlp(norm(x))`: `[B, N, D] -> [B, N - first, D]`.

    All tokens are attended to; only those from number `first` on are computed. Other options are the attention's. In
    training each of the two sums leaves its addition out for a share `drop_path` of the samples (arXiv:1603.09382).

    Args:
        norm: `post`: `norm(x + attention(x))`, then `norm(x + mlp(x))` (Vaswani et al., arXiv:1706.03762).
        dropout: of attention's weights, of the MLP's hidden layer and of what is added.
        buckets: of offsets between tokens.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        mlp_ratio: float,
        norm_eps: float,
        drop_path: float = 0.0,
        *,
        norm: Literal["pre", "post"] = "pre",
        activation: Literal["gelu", "relu"] = "gelu",
        dropout: float = 0.0,
        buckets: int = 0,
    ) -> None:
        super().__init__()
        self.drop_path, self.dropout, self.post = drop_path, dropout, norm == "post"
        self.norm1, self.norm2 = nn.LayerNorm(width, norm_eps), nn.LayerNorm(width, norm_eps)
        self.attention = Attention(width, heads, dropout=dropout, buckets=buckets)
        self.mlp = mlp(width, mlp_ratio, activation, dropout)

    def forward(
        self,
        x_BND: Tensor,
        first: int = 0,
        *,
        turn: Rotary | None = None,
        memory: KeysValues | None = None,
        mask: Tensor | None = None,
        near: Tensor | None = None,
    ) -> Tensor:
        if self.post:
            attended = self.attention(x_BND, first, turn=turn, memory=memory, mask=mask, near=near)
            x_BND = self.norm1(x_BND[:, first:] + self._drop(attended))
            return self.norm2(x_BND + self._drop(self.mlp(x_BND)))
        attended = self.attention(self.norm1(x_BND), first, turn=turn, memory=memory, mask=mask, near=near)
        x_BND = x_BND[:, first:] + self._drop(attended)
        return x_BND + self._drop(self.mlp(self.norm2(x_BND)))

    def _drop(self, x_BND: Tensor) -> Tensor:
        x_BND = F.dropout(x_BND, self.dropout, self.training)
        if self.drop_path == 0 or not self.training:
            return x_BND
        kept = 1 - self.drop_path
        return x_BND * x_BND.new_empty(len(x_BND), 1, 1).bernoulli_(kept).div_(kept)


def mlp(
    width: int, ratio: float, activation: Literal["gelu", "relu"] = "gelu", dropout: float = 0.0
) -> nn.Sequential:
    """Two linear maps of each token with `ratio` times its width between them."""
    hidden = round(width * ratio)
    between: list[nn.Module] = [nn.GELU() if activation == "gelu" else nn.ReLU()]
    between += [nn.Dropout(dropout)] if dropout > 0 else []
    return nn.Sequential(nn.Linear(width, hidden), *between, nn.Linear(hidden, width))


def initialise(module: nn.Module, how: Literal["trunc", "xavier"]) -> None:
    """`trunc`: weights from a normal of std 0.02 (ViT, I-JEPA's released code); `xavier`: uniform, by fan."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            if how == "trunc":
                nn.init.trunc_normal_(layer.weight, std=0.02)
            else:
                nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)


class TransformerConfig(Choice):
    """Sizes that all transformers share."""

    width: int = Field(768, ge=8, le=65_536)
    depth: int = Field(12, ge=1, le=256)
    heads: int = Field(12, ge=1, le=1024)
    mlp_ratio: float = Field(4.0, gt=0, le=64)
    """Hidden width of the MLP over width; ViT-g is 48/11."""
    norm_eps: float = Field(1e-6, gt=0)
    """Epsilon of the layer norms."""
    init: Literal["trunc", "xavier"] = "trunc"

    @model_validator(mode="after")
    def _divisible(self) -> "TransformerConfig":
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        return self


class Placed(TransformerConfig):
    """A transformer whose tokens carry fixed positions."""

    position_scale: float = Field(1.0, ge=0)
    """Factor on the fixed positions. At 1 and small widths they outweigh the content, as `power/content` shows."""


class TransformerBlocks(TransformerConfig):
    """What a transformer's blocks are like."""

    norm: Literal["pre", "post"] = "pre"
    """Whether layer norms come before attention and MLP, or after their sums."""
    activation: Literal["gelu", "relu"] = "gelu"
    dropout: float = Field(0.0, ge=0, lt=1)
    """Dropout of attention's weights, of the MLP's hidden layer and of what each adds."""

    def block(self, drop_path: float = 0.0, buckets: int = 0) -> Block:
        """One of them, with random weights; `buckets` of offsets between tokens."""
        return Block(
            self.width,
            self.heads,
            self.mlp_ratio,
            self.norm_eps,
            drop_path,
            norm=self.norm,
            activation=self.activation,
            dropout=self.dropout,
            buckets=buckets,
        )


class TokenTransformer(Placed, TransformerBlocks):
    """A transformer over the tokens of a view."""

    hide: Literal["drop", "replace"] = "drop"
    """What becomes of tokens that a view does not keep: left out, or a learned mask token in their place."""
    positions: EncoderPositions = SinCos()
    """What is added to the embedded tokens, turns them, or is told between two of them, so that they tell where they
    lie."""
    positions_at: Literal["first", "every"] = "first"
    """Before which blocks positions are added: the first, or each (Point-JEPA)."""
    drop_path: float = Field(0.0, ge=0, lt=1)
    """Share of the samples that the last block passes over in training; it rises evenly from 0 at the first block
    (LeJEPA: 0.1)."""


class ViT(TokenTransformer):
    """Our token transformer (I-JEPA's: no class token, no registers)."""

    kind: Literal["vit"] = "vit"
    stem: Stem | None = None
    """What embeds raw tokens; none: a linear map of each."""

    @model_validator(mode="after")
    def _stem_drops(self) -> "ViT":
        if self.stem and self.hide == "replace":
            raise ValueError("a stem embeds the kept patches alone: use hide drop, or no stem")
        return self

    def build(self, signal: Any) -> "TokenEncoder":
        """For the raw tokens of `signal`.

        Raises:
            UserError: the stem's map is not the grid of patches.
        """
        stem = self.stem.build(signal) if self.stem else None
        if stem and stem.layout(signal.layout) != signal.layout:
            raise UserError(
                f"encoder.stem shrinks images by {stem.stride} and signal.patch is {signal.patch}: they must be equal"
            )
        return TokenEncoder(self, signal, stem)


class TokenEncoder(nn.Module):
    """`View -> [B, K, D]`: the kept tokens (drop), or all of them with mask tokens in place (replace).

    Three parts: a stem embeds raw tokens, positions are added (`enter`), and the blocks follow (`trunk`), which turn by
    rotary positions and look up relative ones. Tokens that are not there are not looked at; what stands in their place
    means nothing.

    Attributes:
        entrance: what belongs to `enter`; all else is the trunk.
    """

    def __init__(self, config: TokenTransformer, signal: Any, stem: Any = None) -> None:
        super().__init__()
        self.config, self.width = config, config.width
        rates = [config.drop_path * i / max(config.depth - 1, 1) for i in range(config.depth)]
        if stem and stem.embeds and stem.width != config.width:
            raise UserError(
                f"encoder.stem gives tokens of width {stem.width}: use --encoder.width {stem.width}"
            )
        entered = stem.width if stem else signal.features
        self.embed = nn.Identity() if stem and stem.embeds else _embed(signal, entered, config.width)
        buckets = config.positions.buckets(signal) if isinstance(config.positions, Relative) else 0
        self.blocks = nn.ModuleList(config.block(rate, buckets) for rate in rates)
        self.norm = nn.LayerNorm(config.width, config.norm_eps)
        initialise(self, config.init)
        self.stem = stem
        self.positions = config.positions.build(signal, config.width)
        self.entrance = ("stem", "embed", "positions", "mask_token")
        if isinstance(self.positions, RotaryPositions):
            self.positions.require_room(config.width // config.heads)
        if isinstance(self.positions, PairwisePositions):
            self.entrance = ("stem", "embed", "mask_token")
        self.register_load_state_dict_pre_hook(_table_of_before)
        if config.hide == "replace":
            self.mask_token = nn.Parameter(torch.randn(config.width) * 0.02)

    barred = 0.0
    """Share of the tokens that no token attends to, drawn anew in each block, in training (A-JEPA's regularised
    masking). Such a token's own output is what the others give it, and what it was."""

    def forward(self, view: View) -> Tensor:
        return self.layers(view, 1)[-1]

    def layers(self, view: View, count: int) -> list[Tensor]:
        """Outputs of the last `count` blocks, `[B, K, D]` each; the last through the final norm."""
        return self.trunk(self.enter(view), view, count, self.again(view))

    def trunk(self, x: Tensor, view: View, count: int, again: Tensor | None = None) -> list[Tensor]:
        """Outputs of the last `count` blocks for tokens `[B, K, D]` that `enter` has given.

        Args:
            again: what `again` gives for the view.
        """
        there = view.present if self.config.hide == "drop" else view.tokens.valid
        mask, turn = None if there is None else there[:, None, None], self._turn(view)
        near = self._near(view)
        outputs = []
        for i, block in enumerate(self.blocks):
            if self.training and self.barred:
                mask = unbarred(there, x.shape[:2], self.barred, x.device)[:, None, None]
            x = block(x if i == 0 or again is None else x + again, mask=mask, turn=turn, near=near)
            if i >= len(self.blocks) - count and i < len(self.blocks) - 1:
                outputs.append(x)
        return [*outputs, self.norm(x)]

    def layout(self, layout: tuple[int, ...]) -> tuple[int, ...]:
        """The grid of the outputs for an input grid: the same."""
        return layout

    def enter(self, view: View) -> Tensor:
        """Embedded tokens with what is added for their positions, `[B, K, D]`."""
        embedded = self._embedded(view)
        if isinstance(self.positions, PairwisePositions):
            return embedded
        return embedded + self._kept(self.positions(view.tokens) * self._scale, view)

    def again(self, view: View) -> Tensor | None:
        """What every block after the first adds to its tokens, `[B, K, D]`: their positions, or nothing."""
        if self.config.positions_at == "first" or isinstance(self.positions, PairwisePositions):
            return None
        return self._kept(self.positions(view.tokens) * self._scale, view)

    def _embedded(self, view: View) -> Tensor:
        values = view.tokens.values
        if self.stem is not None:
            return self.embed(self.stem(view))
        if view.keep is not None and self.config.hide == "replace":
            return torch.where(view.shown[..., None], self.embed(values), self.mask_token)
        return self.embed(view.kept(values))

    def _turn(self, view: View) -> Rotary | None:
        """What blocks turn queries and keys by; `None` where positions are added."""
        if not isinstance(self.positions, RotaryPositions):
            return None
        places = self._kept(self.positions(view.tokens), view)
        return self.positions.turn(places, self.config.width // self.config.heads)

    def _near(self, view: View) -> Tensor | None:
        """Buckets of the offsets between tokens; `None` where positions are others."""
        if not isinstance(self.positions, RelativePositions):
            return None
        return self.positions.near(self._kept(self.positions(view.tokens), view))

    def _kept(self, of_all: Tensor, view: View) -> Tensor:
        """Of `[1 or B, N, ...]` what belongs to the tokens that the blocks are given."""
        return of_all if self.config.hide == "replace" else view.kept(of_all)

    @property
    def _scale(self) -> float:
        return self.config.position_scale if isinstance(self.config.positions, SinCos) else 1.0


def _embed(signal: Any, features: int, width: int) -> nn.Module:
    """A linear map of raw tokens, or one for each kind of them that the signal has."""
    kinds = getattr(signal, "modalities", ())
    return ModalityEmbed(kinds, width) if len(kinds) > 1 else nn.Linear(features, width)


def unbarred(there: Tensor | None, shape: Sequence[int], share: float, device: torch.device) -> Tensor:
    """`[B, K]` bool: the tokens that are there (`None`: all) but for a random share of each sample's, rounded down."""
    there = torch.ones(*shape, dtype=torch.bool, device=device) if there is None else there
    order = torch.rand(*shape, device=device).masked_fill(~there, 2)
    barred = order.argsort(1).argsort(1) < (there.sum(1, keepdim=True) * share).floor()
    return there & ~barred


def _table_of_before(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Let weights load that were saved when the encoder itself held the table of positions."""
    table = state.pop(f"{prefix}position_table", None)
    if table is not None:
        state[f"{prefix}positions.position_table"] = table
