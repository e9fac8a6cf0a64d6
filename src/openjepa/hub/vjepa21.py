"""V-JEPA 2.1 checkpoints of Meta, as our models.

They were released as pickles (`vjepa2_1_*.pt`): `openjepa convert` opens them. Every tensor must find its place; what
is left out is told.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from openjepa.errors import UserError
from openjepa.hub.tensors import (
    FRESH_PREDICTOR,
    encoders,
    filled,
    needed,
    networks,
    pixel_scale,
    require_fit,
    transformer_sizes,
)
from openjepa.hub.vjepa2 import FPS, HEADS, NAMES, PREDICTOR_HEADS, STALE, mask_token_names, stale_words
from openjepa.jepa import JEPA
from openjepa.nets.levels import LevelsEncoder, LevelsViT
from openjepa.nets.positions import RoPE
from openjepa.nets.predictor import Narrow, Ports, TokenPredictor
from openjepa.recipes import build
from openjepa.recipes.vjepa21 import VJEPA21
from openjepa.signals.video.mixed import MixedSignal

_WB = r"(weight|bias)"
_NAMES = (
    (rf"patch_embed\.proj\.{_WB}", r"embed.maps.0.\1"),
    (rf"patch_embed_img\.proj\.{_WB}", r"embed.maps.1.\1"),
    (r"video_mod_embed", r"kinds.0"),
    (r"img_mod_embed", r"kinds.1"),
    (rf"norms_block\.(\d+)\.{_WB}", r"norms.\1.\2"),
    (rf"predictor_embed\.([02])\.{_WB}", r"enter.\1.\2"),
    (rf"predictor_proj_context\.{_WB}", r"leave_context.\1"),
    *NAMES,
)
LEVELS = {12: (2, 5, 8, 11), 24: (5, 11, 17, 23), 40: (9, 19, 29, 39), 48: (11, 23, 37, 47)}
"""Blocks whose outputs are predicted, by depth: no tensor's shape tells."""
ROTARY = RoPE(grid=16).model_dump()


@dataclass(frozen=True)
class ConvertedMixed:
    """A checkpoint in our names; see `openjepa.hub.vjepa2.ConvertedClips`."""

    signal: MixedSignal
    encoder: LevelsViT
    target: dict[str, Tensor]
    online: dict[str, Tensor]
    predictor: Narrow | None = None
    predictor_weights: dict[str, Tensor] | None = None
    left_out: list[str] = field(default_factory=list)

    def build(self) -> JEPA:
        """A V-JEPA 2.1 in eval mode; a predictor that the file does not have is a fresh one, of the paper's sizes."""
        levels = {"kind": "ema", "norm": "layer", "levels": len(self.encoder.levels), "to_one": False}
        data: dict[str, Any] = {"preset": "converted", "signal": self.signal, "encoder": self.encoder}
        data["target"] = levels | {"half_life": 924}
        if self.predictor is not None:
            data["predictor"] = self.predictor
        return filled(build(VJEPA21(**data)), self.online, self.target, self.predictor_weights)

    def said(self) -> str:
        """What of the file was left out and what the model lacks; empty where nothing is."""
        parts = list(self.left_out)
        if self.predictor is None:
            parts.append(FRESH_PREDICTOR)
        return "; ".join(parts)


def convert(
    tensors: Mapping[str, Tensor],
    *,
    size: int = 384,
    frames: int = 64,
    heads: int | None = None,
    predictor_heads: int = PREDICTOR_HEADS,
    levels: tuple[int, ...] | None = None,
) -> ConvertedMixed:
    """Meta's tensors as ours.

    Args:
        size, frames: of the clips that the model was last trained on.
        heads: of the encoder; `None`: those of Meta's models of its width.
        levels: numbers of the blocks whose outputs are predicted; `None`: those of Meta's models of its depth.

    Raises:
        UserError: a tensor is unknown, missing or of the wrong shape, or the model is not a V-JEPA 2.1.
    """
    example = "blocks.0.attn.qkv.weight"
    groups, stale = networks(tensors, _place, _NAMES, STALE, model="V-JEPA 2.1", example=example)
    left_out = stale_words(stale)
    target, online, signal, encoder = encoders(
        groups, lambda weights: _encoder(weights, size, frames, heads, levels)
    )
    if "predictor" not in groups:
        return ConvertedMixed(signal, encoder, target, online, left_out=left_out)
    width = encoder.width * len(encoder.levels)
    weights = groups["predictor"]
    given = needed(weights, "leave.weight", 2).shape[0]
    if given != width:
        left_out.append(
            f"the predictor is left out: it gives {given} numbers a token, of a larger teacher, the encoder {width}"
        )
        return ConvertedMixed(signal, encoder, target, online, left_out=left_out)
    kept, predictor, words = _predictor(weights, signal, width, predictor_heads)
    return ConvertedMixed(signal, encoder, target, online, predictor, kept, [*left_out, *words])


def _place(name: str, training: bool) -> tuple[str, str]:
    """See `networks`."""
    group, rest = "target", name
    for prefix, of in (
        ("predictor.", "predictor"),
        ("target_encoder.", "target"),
        ("ema_encoder.", "target"),
        ("encoder.", "online" if training else "target"),
    ):
        if rest.startswith(prefix):
            group, rest = of, rest.removeprefix(prefix)
            break
    return group, rest.removeprefix("module.").removeprefix("backbone.")


def _encoder(
    weights: dict[str, Tensor], size: int, frames: int, heads: int | None, levels: tuple[int, ...] | None
) -> tuple[dict[str, Tensor], MixedSignal, LevelsViT]:
    clips, images = needed(weights, "embed.maps.0.weight", 5), needed(weights, "embed.maps.1.weight", 5)
    width, channels, tubelet, patch, other = clips.shape
    if patch != other or images.shape[1:] != (channels, 1, patch, patch):
        raise UserError("only square patches, alike in clips and images, can be converted")
    heads = heads or HEADS.get(width)
    if heads is None:
        raise UserError(f"the number of heads of an encoder of width {width} is not known: give heads")
    sizes = transformer_sizes(weights, width)
    norms = sum(name.startswith("norms.") and name.endswith(".weight") for name in weights)
    levels = levels or LEVELS.get(sizes["depth"], ())[-norms:]
    if len(levels) != norms:
        raise UserError(
            f"the checkpoint has {norms} levels of {sizes['depth']} blocks: give their numbers, levels"
        )
    signal = MixedSignal.parse(
        {
            "size": [size],
            "frames": frames,
            "fps": FPS,
            "tubelet": tubelet,
            "patch": patch,
            "channels": channels,
            "image_size": size,
        }
        | pixel_scale(channels, {})
    )
    kept = _with_kinds(weights, "embed.kinds.vectors")
    kept |= {"embed.maps.0.weight": clips.flatten(1), "embed.maps.1.weight": images.flatten(1)}
    encoder = LevelsViT.parse(sizes | {"heads": heads, "levels": levels, "positions": ROTARY})
    with torch.device("meta"):
        require_fit(kept, LevelsEncoder(encoder, signal), "encoder")
    return kept, signal, encoder


def _predictor(
    weights: dict[str, Tensor], signal: MixedSignal, width: int, heads: int
) -> tuple[dict[str, Tensor], Narrow, list[str]]:
    several = "enter.0.weight" in weights
    inner = len(needed(weights, "enter.2.weight" if several else "enter.weight", 2))
    tokens = mask_token_names(weights)
    if not tokens:
        raise UserError("the checkpoint lacks tensors, such as 'mask_tokens.0'")
    predictor = Narrow.parse(
        transformer_sizes(weights, inner)
        | {
            "heads": heads,
            "joint": True,
            "mask_init": "zero",
            "mask_tokens": "one",
            "enter": len(weights["enter.0.weight"]) if several else None,
            "context": "leave_context.weight" in weights,
            "positions": ROTARY,
        }
    )
    kept = {name: t for name, t in _with_kinds(weights, "kinds.vectors").items() if name not in tokens}
    kept["mask_token"] = weights[tokens[0]].flatten()
    with torch.device("meta"):
        require_fit(kept, TokenPredictor(predictor, Ports(signal, width, width)), "predictor")
    said = f"the predictor's mask token is the first of the file's {len(tokens)}, the others are left out"
    return kept, predictor, [said] if len(tokens) > 1 else []


def _with_kinds(weights: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Weights with the vectors of clips and of images under our names."""
    others = {name: tensor for name, tensor in weights.items() if not name.startswith("kinds.")}
    return others | {f"{prefix}.{i}": needed(weights, f"kinds.{i}", 3).flatten() for i in range(2)}
