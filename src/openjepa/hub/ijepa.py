"""I-JEPA checkpoints of Meta and of Hugging Face, as our models.

Three sets of names are understood: Meta's (`blocks.0.attn.qkv`, with the prefixes that training left on them),
transformers 5 (`layers.0.attention.q_proj`) and transformers 4, which the files on the Hub still use
(`encoder.layer.0.attention.attention.query`). Meta's `.pth.tar` files are pickles: `openjepa convert` opens
them. Every tensor must find its place: what may be left out is listed in `_UNUSED`.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from openjepa.errors import UserError, warn
from openjepa.hub.tensors import (
    FRESH_PREDICTOR,
    described_sizes,
    encoders,
    filled,
    needed,
    networks,
    pixel_scale,
    read_directory,
    refuse_other_models,
    require_fit,
    transformer_sizes,
)
from openjepa.jepa import JEPA
from openjepa.nets.positions import sincos
from openjepa.nets.predictor import Narrow, Ports, TokenPredictor
from openjepa.nets.transformer import TokenEncoder, ViT
from openjepa.recipes import build
from openjepa.recipes.ijepa import IJEPA
from openjepa.signals.images.signal import ImageSignal, grid_positions

_LAYER = r"(?:blocks|layers|encoder\.layer|predictor_blocks)\.(\d+)\."
_WB = r"(weight|bias)"
_NAMES = (
    (r"pos_embed|predictor_pos_embed|embeddings\.position_embeddings", r"position_table"),
    (rf"(?:patch_embed\.proj|embeddings\.patch_embeddings\.projection)\.{_WB}", r"embed.\1"),
    (rf"(?:norm|predictor_norm|layernorm)\.{_WB}", r"norm.\1"),
    (rf"predictor_embed\.{_WB}", r"enter.\1"),
    (rf"predictor_proj\.{_WB}", r"leave.\1"),
    (r"mask_token", r"mask_token"),
    (rf"{_LAYER}(?:norm1|layernorm_before)\.{_WB}", r"blocks.\1.norm1.\2"),
    (rf"{_LAYER}(?:norm2|layernorm_after)\.{_WB}", r"blocks.\1.norm2.\2"),
    (rf"{_LAYER}attn\.qkv\.{_WB}", r"blocks.\1.attention.qkv.\2"),
    (rf"{_LAYER}attention\.(?:attention\.query|q_proj)\.{_WB}", r"blocks.\1.attention.q.\2"),
    (rf"{_LAYER}attention\.(?:attention\.key|k_proj)\.{_WB}", r"blocks.\1.attention.k.\2"),
    (rf"{_LAYER}attention\.(?:attention\.value|v_proj)\.{_WB}", r"blocks.\1.attention.v.\2"),
    (
        rf"{_LAYER}(?:attn\.proj|attention\.o_proj|attention\.output\.dense)\.{_WB}",
        r"blocks.\1.attention.proj.\2",
    ),
    (rf"{_LAYER}(?:mlp\.fc1|intermediate\.dense)\.{_WB}", r"blocks.\1.mlp.0.\2"),
    (rf"{_LAYER}(?:mlp\.fc2|output\.dense)\.{_WB}", r"blocks.\1.mlp.2.\2"),
)
_UNUSED = r"pooler\.dense\.(weight|bias)|classifier\.(weight|bias)|embeddings\.mask_token"
"""What Hugging Face's classes add to the encoder: a pooler, a classifier, a mask token that pretraining did not use."""

_HEADS = {192: 3, 384: 6, 768: 12, 1024: 16, 1280: 16, 1408: 16}
"""Heads of Meta's models by width: no tensor's shape tells."""


@dataclass(frozen=True)
class Converted:
    """A checkpoint in our names.

    Attributes:
        signal: patch, size and channels, read off the shapes.
        encoder: sizes; positions are `learned` where the file's are not the fixed ones.
        target: weights of the encoder that evaluation uses (Meta's `target_encoder`).
        online: weights of the encoder that further training moves; equal to `target` where a file has only one.
        predictor, predictor_weights: `None` where the file has none (Hugging Face's never do).
        unused: names of the file's tensors that no I-JEPA is made of (see `_UNUSED`).
    """

    signal: ImageSignal
    encoder: ViT
    target: dict[str, Tensor]
    online: dict[str, Tensor]
    predictor: Narrow | None
    predictor_weights: dict[str, Tensor] | None
    unused: tuple[str, ...] = ()

    def build(self) -> JEPA:
        """An I-JEPA in eval mode; a predictor that the file does not have is a fresh one, of the paper's sizes."""
        data: dict[str, Any] = {"preset": "converted", "signal": self.signal, "encoder": self.encoder}
        if self.predictor is not None:
            data["predictor"] = self.predictor
        return filled(build(IJEPA(**data)), self.online, self.target, self.predictor_weights)

    def said(self) -> str:
        """What of the file was left out and what the model lacks, in a sentence; empty where nothing is."""
        count, parts = len(self.unused), []
        if count:
            parts.append(f"{count} tensors that are no part of I-JEPA are left out, such as {self.unused[0]}")
        if self.predictor is None:
            parts.append(FRESH_PREDICTOR)
        return "; ".join(parts)


def read(directory: str | Path) -> JEPA:
    """The model in a local copy of a Hub repository: `config.json` and `*.safetensors`.

    Warns of tensors that are left out, and of a predictor that is not there.

    Raises:
        UserError: no such files, pickled ones only, or tensors that do not make an I-JEPA.
    """
    converted = convert(*read_directory(Path(directory), "preprocessor_config.json"))
    if said := converted.said():
        warn(f"{directory}: {said}")
    return converted.build()


def convert(tensors: Mapping[str, Tensor], config: Mapping[str, Any] | None = None) -> Converted:
    """Tensors under any of the three sets of names, as ours.

    Args:
        config: Hugging Face's `config.json` (`num_attention_heads`, `layer_norm_eps`) and, of its
            `preprocessor_config.json`, `image_mean` and `image_std`; not needed for Meta's files.

    Raises:
        UserError: a tensor is unknown, missing or of the wrong shape, or the model is not an I-JEPA.
    """
    config = config or {}
    refuse_other_models(config, "ijepa")
    groups, left_out = networks(
        tensors, _place, _NAMES, _UNUSED, model="I-JEPA", example="blocks.0.attn.qkv.weight"
    )
    unused = tuple(left_out)
    target, online, signal, encoder = encoders(groups, lambda weights: _encoder(weights, config))
    if "predictor" not in groups:
        return Converted(signal, encoder, target, online, None, None, unused)
    weights, predictor = _predictor(groups["predictor"], encoder, signal)
    return Converted(signal, encoder, target, online, predictor, weights, unused)


def _place(name: str, training: bool) -> tuple[str, str]:
    """See `networks`. Without a training's two encoders, `encoder.` begins the names of layers."""
    group, rest = "target", re.sub(r"^ijepa\.", "", name)
    if rest.startswith("predictor."):
        group, rest = "predictor", rest.removeprefix("predictor.")
    elif training and rest.startswith("target_encoder."):
        rest = rest.removeprefix("target_encoder.")
    elif training and rest.startswith("encoder."):
        group, rest = "online", rest.removeprefix("encoder.")
    return group, rest.removeprefix("module.")


def _encoder(
    weights: dict[str, Tensor], config: Mapping[str, Any]
) -> tuple[dict[str, Tensor], ImageSignal, ViT]:
    kernel, table = needed(weights, "embed.weight", 4), needed(weights, "position_table", 3)
    width, channels, patch, side = *kernel.shape[:3], math.isqrt(table.shape[1])
    if kernel.shape[2] != kernel.shape[3] or side**2 != table.shape[1]:
        raise UserError("only square patches on a square grid can be converted")
    sizes = described_sizes(weights, width, config, _HEADS)
    data = {"size": patch * side, "channels": channels, "patch": patch}
    signal = ImageSignal.parse(data | pixel_scale(channels, config))
    weights = weights | {
        "embed.weight": kernel.flatten(1),
        "positions.position_table": table.view(1, side, side, width),
    }
    del weights["position_table"]
    fixed = _fixed(table, side)
    if fixed:
        del weights["positions.position_table"]
    encoder = ViT.parse(sizes | {"positions": "sincos" if fixed else "learned"})
    with torch.device("meta"):
        require_fit(weights, TokenEncoder(encoder, signal), "encoder")
    return weights, signal, encoder


def _predictor(
    weights: dict[str, Tensor], encoder: ViT, signal: ImageSignal
) -> tuple[dict[str, Tensor], Narrow]:
    width = len(needed(weights, "enter.weight", 2))
    config = Narrow.parse(transformer_sizes(weights, width) | {"heads": encoder.heads})
    table = needed(weights, "position_table", 3)
    if table.shape[1] != math.prod(signal.layout) or not _fixed(table, signal.layout[0]):
        raise UserError("the predictor's positions are not the fixed ones of its encoder's grid")
    weights = {name: tensor for name, tensor in weights.items() if name != "position_table"}
    weights["mask_token"] = needed(weights, "mask_token", 3).flatten()
    with torch.device("meta"):
        require_fit(weights, TokenPredictor(config, Ports(signal, encoder.width, encoder.width)), "predictor")
    return weights, config


def _fixed(table: Tensor, side: int) -> bool:
    """Whether a table `[1, N, D]` holds the fixed sine-cosine positions."""
    if table.shape[2] % 4:
        return False
    return torch.allclose(table, sincos(grid_positions(side, side), table.shape[2]), atol=1e-5)
