"""Targets: what produces `s_y`.

Every target sees whole views; `normalise` then prepares its `[B, N, D]` output for the energy.
"""

import copy
import math
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from openjepa.common.distributed import global_mean, global_mean_in_network
from openjepa.config import Choice, OneOf
from openjepa.errors import UserError
from openjepa.jepa import Pair, View, encode, everywhere, fitting, mean_of, target_views
from openjepa.signals.images.gradient_ratio import gradient_ratio
from openjepa.signals.images.signal import ImageSignal, patches

Radius = Annotated[int, Field(ge=1, le=1024)]
Represent = Callable[[Sequence[View]], list[Tensor]]


class TargetChoice(Choice):
    """What all targets share: how their output is prepared."""

    norm: Literal["layer", "batch", "none"] = "none"
    """`layer`: each token to mean 0 and variance 1 over its features, without parameters (the papers). `batch`: each
    feature to mean 0 and variance 1 over the batch's tokens, so that no feature of the target can die and tokens in
    which samples hardly differ (a dark background) weigh little."""
    centre: Literal["none", "position"] = "none"
    """`position`: first subtract the batch's mean at each position, so that what is the same in every sample
    (`power/constant` and `power/position` in the health metrics) cannot be "predicted"."""

    levels: int = Field(1, ge=1, le=64)
    """Equal parts of the features that `layer` normalises each for itself: the encoder's levels (V-JEPA 2.1)."""

    @property
    def of_batch(self) -> bool:
        return self.norm == "batch" or self.centre == "position"

    def build(self) -> "TargetBase":
        """The module that gives `s_y`."""
        raise NotImplementedError

    def of(self, signal: Any) -> "TargetBase":
        """The same, where it is of a signal's own; of most it is not."""
        return self.build()


def require_levels(target: Any, width: int) -> None:
    """Raises UserError where the target's `width` features do not split into `target.levels` equal parts."""
    levels = getattr(target, "levels", 1)  # a target of somebody's own has none
    if width % levels:
        raise UserError(
            f"target.levels {levels} does not divide the target's {width} features into equal parts"
        )


class EMA(TargetChoice):
    """A moving average of the encoder, without gradients.

    The momentum at step i of n is 1 - (1 - m)(1 - i/(n-1)) when `to_one` (I-JEPA: linear from m to exactly 1 at the
    last step), else m; m = 2^(-1/half-life).
    """

    kind: Literal["ema"] = "ema"
    half_life: float = Field(173.0, ge=0)
    """Half-life of the average at the start: steps if >= 1, a fraction of the run's steps if below 1; 0 copies the
    encoder every step. The papers' momenta .996 and .998 are 173 and 346 steps."""
    layers: int = Field(1, ge=1, le=256)
    """The target is the mean of this many last layers, each layer-normalised (data2vec, arXiv:2202.03555, 3.3);
    1: the last alone (I-JEPA)."""
    average: Literal["all", "trunk"] = "all"
    """What the average is of: encoder and head, or the blocks alone, before which stem and positions are those
    of the encoder itself (Signal-JEPA, Point-JEPA)."""
    to_one: bool = True
    """Whether the momentum rises to 1 over the run, so that the target stands still at its end."""

    def build(self) -> "EMATarget":
        return EMATarget(self)

    def momentum(self, step: int, total_steps: int) -> float:
        """Momentum of the update after optimiser step `step` (from 0) of `total_steps`."""
        steps = self.half_life if self.half_life >= 1 else self.half_life * total_steps
        start = 0.5 ** (1 / steps) if steps > 0 else 0.0
        if not self.to_one or steps == 0:
            return start
        left = 0.0 if total_steps <= 1 else max(0.0, 1 - step / (total_steps - 1))
        return 1 - (1 - start) * left


class Neighbours(EMA):
    """What the average of a head draws, for each place of the grid, from its most similar neighbours (DMT-JEPA).

    Features are of the average of the encoder, layer-normalised. For each place, the mean of the sample's features asks
    those of the `similar` neighbours whose features have the largest cosines with the place's own; the place itself is
    not asked. At borders there are fewer neighbours.
    """

    kind: Literal["neighbours"] = "neighbours"  # ty: ignore[incompatible-attribute-override]
    similar: int = Field(4, ge=1, le=4096)
    """How many neighbours a place is made of."""
    reach: int = Field(1, ge=1, le=64)
    """How far away they may lie along each axis: 1 is a window of 3 x 3."""

    def build(self) -> "NeighboursTarget":
        return NeighboursTarget(self)

    def of(self, signal: Any) -> "NeighboursTarget":
        """Raises UserError where tokens fill no grid."""
        if signal.layout is None:
            raise UserError(
                f"--target neighbours needs tokens on a grid, and those of {signal.noun} fill none: use --target ema"
            )
        return self.build()


class Shared(TargetChoice):
    """The encoder itself."""

    kind: Literal["shared"] = "shared"
    stop_gradient: bool = False
    """Whether gradients end at the target."""

    def build(self) -> "SharedTarget":
        return SharedTarget(self)


class Frozen(TargetChoice):
    """The encoder as it was at the start (random, or loaded from a run), never changed."""

    kind: Literal["frozen"] = "frozen"

    def build(self) -> "FrozenTarget":
        return FrozenTarget(self)


class Operator(TargetChoice):
    """A fixed map of the image, cut into its patches: nothing of it is learned, so that nothing can collapse."""

    kind: Literal["operator"] = "operator"
    operator: Literal["gradient-ratio", "pixels"] = "gradient-ratio"
    """Gradients by ratio at several scales (SAR-JEPA), or the pixels themselves (MAE, LoMaR)."""
    radii: tuple[Radius, ...] = Field((5, 9, 13, 17), min_length=1, max_length=16)
    """Pixels about each that its gradients look at; a scale each."""
    offset: float = Field(0.01, gt=0)
    """Added to amplitudes in 0..1, so that the ratio of two dark areas is 1."""

    def build(self) -> "TargetBase":
        raise UserError("--target operator is for recipes of images, not of episodes")

    def of(self, signal: Any) -> "TargetBase":
        """Raises UserError for what are no images, and for images that are smaller than a scale."""
        if not isinstance(signal, ImageSignal):
            raise UserError(f"--target operator is for images, and {signal.noun} are none: use --target ema")
        if self.operator == "gradient-ratio" and max(self.radii) >= signal.size:
            raise UserError(
                f"target.radii reach {max(self.radii)} px and images have {signal.size}: use smaller ones"
            )
        return FixedTarget(self, signal)


Target = Annotated[EMA | Neighbours | Shared | Frozen | Operator, OneOf("target")]

AVERAGED = ("ema", "neighbours")
"""Kinds of targets whose encoder is an average of the trained one."""

FIXED = ("frozen", "operator")
"""Kinds of targets that training does not change: features that become a constant predict them no better."""


class TargetBase(nn.Module):
    """Normalisation, and the hooks that the model calls.

    Attributes:
        width: D of what it gives; `None`: the encoder's.
    """

    width: int | None = None

    def __init__(self, config: TargetChoice) -> None:
        super().__init__()
        self.config = config

    def follow(self, encoder: nn.Module, head: nn.Module) -> None:
        """Called once, when the model is assembled."""

    def update(self, encoder: nn.Module, head: nn.Module, step: int, total_steps: int) -> None:
        """Called after every optimiser step."""

    def evaluated(self, encoder: nn.Module) -> nn.Module:
        """The encoder that gives features after training."""
        return encoder

    def encoded(self, pairs: Sequence[Pair]) -> list[View]:
        """The target views that take a pass of their own."""
        return target_views(pairs)

    def normalise(self, raw: Tensor, valid: Tensor | None = None) -> Tensor:
        """`[B, N, D] -> [B, N, D]`; statistics are of tokens that are there (`valid`, `[B, N]` bool; `None`: all)."""
        if self.config.centre == "position":
            raw = raw - _mean(raw, valid, (0,))
        if self.config.norm == "layer":
            parts = raw.unflatten(-1, (self.config.levels, -1))
            return F.layer_norm(parts, parts.shape[-1:]).flatten(-2)
        if self.config.norm == "batch":
            raw = raw - _mean(raw, valid, (0, 1))
            return raw * torch.rsqrt(_mean(raw.square(), valid, (0, 1)) + 1e-6)
        return raw


def _mean(values: Tensor, valid: Tensor | None, over: tuple[int, ...]) -> Tensor:
    """The mean over axes of `[B, N, D]` and over processes, of the tokens that are there."""
    if valid is None:
        return global_mean_in_network(values.mean(over, keepdim=True))
    there = valid.unsqueeze(-1)
    total = global_mean_in_network(torch.where(there, values, 0).sum(over, keepdim=True))
    return total / global_mean(there.to(values.dtype).sum(over, keepdim=True)).clamp_min(1)


class SharedTarget(TargetBase):
    config: Shared

    def encoded(self, pairs: Sequence[Pair]) -> list[View]:
        """A view that is a context too has been encoded."""
        known = {id(pair.context) for pair in pairs}
        return [view for view in target_views(pairs) if id(view) not in known]

    def forward(self, views: Sequence[View], represent: Represent) -> list[Tensor]:
        if self.config.stop_gradient:
            return [s.detach() for s in represent(views)]
        return represent(views)


class AveragedTrunk(nn.Module):
    """An encoder whose blocks are its own, and whose stem and positions are another encoder's.

    Args:
        encoder: the other one, which is neither trained nor saved here; it has `enter`, whose parts `entrance`
            names, and `trunk` (`openjepa.nets.transformer.TokenEncoder`).

    Raises:
        UserError: it has not.
    """

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        if not hasattr(encoder, "entrance"):
            raise UserError(
                "target.average trunk needs an encoder of stem and blocks: use encoder vit, or average all"
            )
        self.own, self.width = copy.deepcopy(encoder), encoder.width
        for part in encoder.entrance:
            setattr(self.own, part, None)
        self._entering = (encoder,)

    def forward(self, view: View) -> Tensor:
        return self.layers(view, 1)[-1]

    def layers(self, view: View, count: int) -> list[Tensor]:
        entering = self._entering[0]
        return self.own.trunk(entering.enter(view), view, count, entering.again(view))

    def layout(self, layout: tuple[int, ...] | None) -> tuple[int, ...] | None:
        return self._entering[0].layout(layout)


class CopyTarget(TargetBase):
    """Copies of encoder and head, outside the optimiser."""

    encoder: nn.Module
    head: nn.Module

    def follow(self, encoder: nn.Module, head: nn.Module) -> None:
        self.encoder, self.head = copy.deepcopy(encoder), copy.deepcopy(head)
        self.requires_grad_(False)

    def followed(self, encoder: nn.Module, head: nn.Module) -> list[tuple[Tensor, Tensor]]:
        """Each parameter of its own, and that of encoder or head of which it is a copy."""
        own = self.encoder.own if isinstance(self.encoder, AveragedTrunk) else self.encoder
        return [
            (mine, theirs.get_parameter(name))
            for part, theirs in ((own, encoder), (self.head, head))
            for name, mine in part.named_parameters()
        ]

    @torch.no_grad()
    def forward(self, views: Sequence[View], represent: Represent) -> list[Tensor]:
        return encode(self.encoder, self.head, views)


class FrozenTarget(CopyTarget):
    def train(self, mode: bool = True) -> "FrozenTarget":
        """Always in eval mode: batch normalisation would else change with every batch it sees."""
        return super().train(False)


class FixedTarget(TargetBase):
    """Maps of whole images, without gradients: `[B, N, maps * C * patch * patch]`."""

    config: Operator

    def __init__(self, config: Operator, signal: ImageSignal) -> None:
        super().__init__(config)
        self.signal = signal
        maps = len(config.radii) if config.operator == "gradient-ratio" else 1
        self.width = maps * signal.features

    @torch.no_grad()
    def forward(self, views: Sequence[View], represent: Represent) -> list[Tensor]:
        return [view.kept(patches(self.maps(view), self.signal.patch)) for view in views]

    def maps(self, view: View) -> Tensor:
        """`[B, maps * C, H, W]` of the images that a view is of."""
        images = self.signal.scaled(view.tokens)
        if self.config.operator == "pixels":
            return images
        return gradient_ratio(images, self.config.radii, self.config.offset)


class EMATarget(CopyTarget):
    config: EMA

    def follow(self, encoder: nn.Module, head: nn.Module) -> None:
        if self.config.average == "all":
            return super().follow(encoder, head)
        self.encoder, self.head = AveragedTrunk(encoder), copy.deepcopy(head)
        self.requires_grad_(False)

    @torch.no_grad()
    def forward(self, views: Sequence[View], represent: Represent) -> list[Tensor]:
        if self.config.layers == 1:
            return super().forward(views, represent)
        return encode(self._mean_of_layers, self.head, views)

    def _mean_of_layers(self, view: View) -> Tensor:
        layers = self.encoder.layers(view, self.config.layers)  # ty: ignore[not-callable]
        return torch.stack([F.layer_norm(layer, layer.shape[-1:]) for layer in layers]).mean(0)

    @torch.no_grad()
    def update(self, encoder: nn.Module, head: nn.Module, step: int, total_steps: int) -> None:
        """One fused update of all parameters; batch norm keeps statistics of what the target itself has seen."""
        mine, theirs = zip(*self.followed(encoder, head), strict=True)
        torch._foreach_lerp_(list(mine), list(theirs), 1 - self.config.momentum(step, total_steps))

    def evaluated(self, encoder: nn.Module) -> nn.Module:
        return self.encoder


class NeighboursTarget(EMATarget):
    def __init__(self, config: Neighbours) -> None:
        super().__init__(config)
        self.similar, self.reach = config.similar, config.reach

    def follow(self, encoder: nn.Module, head: nn.Module) -> None:
        if not hasattr(head, "ask"):
            raise UserError("--target neighbours needs a head that asks neighbours: use --head aggregation")
        super().follow(encoder, head)

    @torch.no_grad()
    def forward(self, views: Sequence[View], represent: Represent) -> list[Tensor]:
        features = encode(self._mean_of_layers, nn.Identity(), views)
        return [self._asked(everywhere(of, view), view) for of, view in zip(features, views, strict=True)]

    def _asked(self, features: Tensor, view: View) -> Tensor:
        """`[B, N, D] -> [B, N, D]`."""
        there = fitting(view.there, features)
        layout = self.encoder.layout(view.tokens.layout)  # ty: ignore[not-callable]
        look = most_similar(features, layout, self.similar, self.reach, there)
        mean = mean_of(features, there).unsqueeze(1)
        return self.head.ask(mean.expand_as(features), features, look)  # ty: ignore[not-callable]


def most_similar(
    features: Tensor, layout: Sequence[int], count: int, reach: int = 1, there: Tensor | None = None
) -> Tensor:
    """Which `count` of the places around each have features most like its own, by cosine: `[B, N, N]` bool.

    Around a place lie others, at most `reach` away along each axis of the grid; at its borders there may be fewer.

    Args:
        features: `[B, N, D]`, of a grid of `layout` in row order.
        there: `[B, N]` bool, which places can be chosen; `None`: all.
    """
    axes = [torch.arange(side, device=features.device) for side in layout]
    places = torch.cartesian_prod(*axes).view(-1, len(axes))
    away = (places.unsqueeze(1) - places).abs().amax(-1)
    around = (away > 0) & (away <= reach)
    around = around if there is None else around & there.unsqueeze(1)
    with torch.autocast(features.device.type, enabled=False):  # bf16 does not tell close cosines apart
        directions = F.normalize(features.float(), dim=-1)
        likeness = (directions @ directions.mT).masked_fill(~around, -torch.inf)
    nearest = likeness.topk(min(count, likeness.shape[-1]))
    chosen = torch.zeros_like(likeness, dtype=torch.bool)
    return chosen.scatter_(-1, nearest.indices, nearest.values > -torch.inf)


def half_life(momentum: float) -> float:
    """Steps after which half of an average with this momentum (in 0..1) is forgotten.

    Examples:
        >>> round(half_life(0.996))
        173
    """
    return math.inf if momentum >= 1 else 0.0 if momentum <= 0 else -1 / math.log2(momentum)
