"""V-JEPA 2 checkpoints of Hugging Face and of Meta, as our models.

Two sets of names are understood: transformers' (`encoder.layer.0.attention.query`; with `vjepa2.` before and a pooler
beside it, of a classifier) and Meta's (`blocks.0.attn.qkv`, with the prefixes that training left on them). Meta's `.pt`
files are pickles: `openjepa convert` opens them. Every tensor must find its place; what is left out is told.

Meta's code of V-JEPA 2 is under the MIT licence and, in part, Apache 2.0; of weights the model's card says the licence.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from openjepa.config import Config
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
from openjepa.nets.classifiers import Attentive, AttentiveHead
from openjepa.nets.positions import RoPE
from openjepa.nets.predictor import Narrow, Ports, TokenPredictor
from openjepa.nets.transformer import TokenEncoder, ViT
from openjepa.recipes import build
from openjepa.recipes.finetune import FineTune
from openjepa.recipes.vjepa2 import VJEPA2
from openjepa.signals.video.signal import VideoSignal

_LAYER = r"(?:blocks|layer|predictor_blocks|self_attention_layers)\.(\d+)\."
_WB = r"(weight|bias)"
NAMES = (
    (rf"(?:patch_embed|embeddings\.patch_embeddings)\.proj\.{_WB}", r"embed.\1"),
    (rf"(?:norm|predictor_norm|layernorm)\.{_WB}", r"norm.\1"),
    (rf"(?:predictor_embed|embeddings\.predictor_embeddings)\.{_WB}", r"enter.\1"),
    (rf"(?:predictor_proj|proj)\.{_WB}", r"leave.\1"),
    (r"embeddings\.mask_tokens", r"mask_tokens"),
    (r"mask_tokens\.(\d+)", r"mask_tokens.\1"),
    (rf"{_LAYER}(?:norm|layer_norm)([12])\.{_WB}", r"blocks.\1.norm\2.\3"),
    (rf"{_LAYER}attn\.qkv\.{_WB}", r"blocks.\1.attention.qkv.\2"),
    (rf"{_LAYER}(?:attention\.query|self_attn\.q_proj)\.{_WB}", r"blocks.\1.attention.q.\2"),
    (rf"{_LAYER}(?:attention\.key|self_attn\.k_proj)\.{_WB}", r"blocks.\1.attention.k.\2"),
    (rf"{_LAYER}(?:attention\.value|self_attn\.v_proj)\.{_WB}", r"blocks.\1.attention.v.\2"),
    (
        rf"{_LAYER}(?:(?:attn|attention)\.proj|self_attn\.out_proj)\.{_WB}",
        r"blocks.\1.attention.proj.\2",
    ),
    (rf"{_LAYER}mlp\.fc1\.{_WB}", r"blocks.\1.mlp.0.\2"),
    (rf"{_LAYER}mlp\.fc2\.{_WB}", r"blocks.\1.mlp.2.\2"),
    (r"query_tokens", r"query"),
    (rf"cross_attention_layer\.layer_norm([12])\.{_WB}", r"norm\1.\2"),
    (rf"cross_attention_layer\.cross_attn\.q_proj\.{_WB}", r"ask.\1"),
    (rf"cross_attention_layer\.cross_attn\.([kv])_proj\.{_WB}", r"tell.\1.\2"),
    (rf"cross_attention_layer\.mlp\.fc1\.{_WB}", r"mlp.0.\1"),
    (rf"cross_attention_layer\.mlp\.fc2\.{_WB}", r"mlp.2.\1"),
    (rf"classifier\.{_WB}", r"classifier.\1"),
)
STALE = r"pos_embed|predictor_pos_embed"
"""Tables of positions that Meta's files may still carry beside rotary ones."""
HEADS = {384: 6, 768: 12, 1024: 16, 1280: 16, 1408: 22, 1664: 26}
"""Heads of Meta's encoders by width: no tensor's shape tells."""
PREDICTOR_HEADS = 12
FPS = 4.0
"""Frames a second that the released models were trained on; no file says it."""


@dataclass(frozen=True)
class ConvertedClips:
    """A checkpoint in our names.

    Attributes:
        signal: tubelet, patch, size, length and channels, read off shapes and config.
        encoder: sizes; positions are rotary.
        target: weights of the encoder that evaluation uses (Meta's `target_encoder`).
        online: weights of the encoder that further training moves; equal to `target` where a file has only one.
        predictor, predictor_weights: `None` where the file has none.
        classifier, classifier_weights: `None` where the file has none.
        names: of the classes.
        left_out: what of the file is not used, in sentences.
    """

    signal: VideoSignal
    encoder: ViT
    target: dict[str, Tensor]
    online: dict[str, Tensor]
    predictor: Narrow | None = None
    predictor_weights: dict[str, Tensor] | None = None
    classifier: Attentive | None = None
    classifier_weights: dict[str, Tensor] | None = None
    names: tuple[str, ...] = ()
    left_out: list[str] = field(default_factory=list)

    def build(self) -> JEPA:
        """A V-JEPA 2 in eval mode, or of a classifier's file a fine-tuned one; a predictor that the file does not have
        is a fresh one, of the paper's sizes."""
        data: dict[str, Any] = {"preset": "converted", "signal": self.signal, "encoder": self.encoder}
        if self.predictor is not None:
            data["predictor"] = self.predictor
        recipe = VJEPA2(**data)
        if self.classifier is not None:
            assert self.classifier_weights is not None
            answers = len(self.classifier_weights["leave.weight"])
            given = {"of": recipe, "classifier": self.classifier, "answers": answers, "names": self.names}
            plain = {k: v.model_dump(mode="json") if isinstance(v, Config) else v for k, v in given.items()}
            tuned: Any = build(FineTune.parse({"preset": "converted", **plain}))
            tuned.encoder.load_state_dict(self.target)
            tuned.classifier.load_state_dict(self.classifier_weights)
            return tuned.eval()
        return filled(build(recipe), self.online, self.target, self.predictor_weights)

    def said(self) -> str:
        """What of the file was left out and what the model lacks; empty where nothing is."""
        parts = list(self.left_out)
        if self.predictor is None and self.classifier is None:
            parts.append(FRESH_PREDICTOR)
        return "; ".join(parts)


def read(directory: str | Path) -> JEPA:
    """The model in a local copy of a Hub repository: `config.json` and `*.safetensors`.

    Warns of what is left out, and of a predictor that is not there.

    Raises:
        UserError: no such files, pickled ones only, or tensors that do not make a V-JEPA 2.
    """
    found = read_directory(Path(directory), "preprocessor_config.json", "video_preprocessor_config.json")
    converted = convert(*found)
    if said := converted.said():
        warn(f"{directory}: {said}")
    return converted.build()


def convert(
    tensors: Mapping[str, Tensor], config: Mapping[str, Any] | None = None, mask_token: int = 0
) -> ConvertedClips:
    """Tensors under either set of names, as ours.

    Args:
        config: Hugging Face's `config.json` and, of its preprocessor's, `image_mean` and `image_std`; not needed for
            Meta's files, but for the length and size of clips.
        mask_token: which of the file's mask tokens the predictor gets. Released ones were trained with the first
            alone; transformers uses the second.

    Raises:
        UserError: a tensor is unknown, missing or of the wrong shape, or the model is not a V-JEPA 2.
    """
    config = config or {}
    refuse_other_models(config, "vjepa2")
    if not config.get("qkv_bias", True):
        raise UserError("the checkpoint's queries, keys and values have no biases, ours have")
    example = "encoder.layer.0.attention.query.weight"
    groups, stale = networks(tensors, _place, NAMES, STALE, model="V-JEPA 2", example=example)
    left_out = stale_words(stale)
    target, online, signal, encoder = encoders(groups, lambda weights: _encoder(weights, config))
    found: dict[str, Any] = {}
    if "pooler" in groups:
        found["classifier_weights"], found["classifier"] = _classifier(groups["pooler"], encoder, signal)
        labels = config.get("id2label", {})
        found["names"] = tuple(labels[key] for key in sorted(labels, key=int))
        if len(found["names"]) != len(found["classifier_weights"]["leave.weight"]):
            found["names"] = ()
        if "predictor" in groups:
            left_out.append(
                f"{len(groups['predictor'])} tensors of the file's predictor are left out: a classifier has none"
            )
    elif "predictor" in groups:
        weights, predictor, words = _predictor(groups["predictor"], encoder, signal, config, mask_token)
        found |= {"predictor_weights": weights, "predictor": predictor}
        left_out += words
    return ConvertedClips(signal, encoder, target, online, left_out=left_out, **found)


def stale_words(stale: Sequence[str]) -> list[str]:
    """That tensors of `STALE` names are left out, in words; none where there are none."""
    return [f"{', '.join(stale)}: left out, positions are rotary"] if stale else []


def mask_token_names(weights: Mapping[str, Tensor]) -> list[str]:
    """Our names of mask tokens that are tensors of their own, by number."""
    names = [name for name in weights if name.startswith("mask_tokens.")]
    return sorted(names, key=lambda name: int(name.rpartition(".")[2]))


def _place(name: str, training: bool) -> tuple[str, str]:
    """See `networks`."""
    group, rest = "target", re.sub(r"^vjepa2\.", "", name)
    if rest.startswith("predictor."):
        group, rest = "predictor", rest.removeprefix("predictor.")
    elif rest.startswith(("pooler.", "classifier.")):
        group, rest = "pooler", rest.removeprefix("pooler.")
    elif rest.startswith("target_encoder."):
        rest = rest.removeprefix("target_encoder.")
    elif rest.startswith("encoder."):
        group, rest = "online" if training else "target", rest.removeprefix("encoder.")
    return group, rest.removeprefix("module.").removeprefix("backbone.")


def _encoder(
    weights: dict[str, Tensor], config: Mapping[str, Any]
) -> tuple[dict[str, Tensor], VideoSignal, ViT]:
    kernel = needed(weights, "embed.weight", 5)
    width, channels, tubelet, patch, other = kernel.shape
    if patch != other:
        raise UserError("only square patches can be converted")
    sizes = described_sizes(weights, width, config, HEADS)
    signal = VideoSignal.parse(
        {
            "size": [config.get("crop_size", 256)],
            "frames": config.get("frames_per_clip", 64),
            "fps": FPS,
            "tubelet": tubelet,
            "patch": patch,
            "channels": channels,
        }
        | pixel_scale(channels, config)
    )
    weights = weights | {"embed.weight": kernel.flatten(1)}
    encoder = ViT.parse(sizes | {"positions": RoPE(style="tiled").model_dump()})
    with torch.device("meta"):
        require_fit(weights, TokenEncoder(encoder, signal), "encoder")
    return weights, signal, encoder


def _predictor(
    weights: dict[str, Tensor],
    encoder: ViT,
    signal: VideoSignal,
    config: Mapping[str, Any],
    mask_token: int,
) -> tuple[dict[str, Tensor], Narrow, list[str]]:
    width = len(needed(weights, "enter.weight", 2))
    apart = mask_token_names(weights)
    tokens = (
        torch.cat([needed(weights, name, 3).flatten(1) for name in apart])
        if apart
        else needed(weights, "mask_tokens", 4).flatten(1)
    )
    if not 0 <= mask_token < len(tokens):
        raise UserError(f"mask_token {mask_token} is none of the checkpoint's {len(tokens)} mask tokens")
    predictor = Narrow.parse(
        transformer_sizes(weights, width)
        | {
            "heads": config.get("pred_num_attention_heads", PREDICTOR_HEADS),
            "norm_eps": config.get("layer_norm_eps", 1e-6),
            "joint": True,
            "mask_init": "zero",
            "mask_tokens": "one",
            "positions": RoPE(style="tiled").model_dump(),
        }
    )
    kept = {name: tensor for name, tensor in weights.items() if not name.startswith("mask_tokens")}
    kept["mask_token"] = tokens[mask_token]
    ports = Ports(signal, encoder.width, encoder.width)
    with torch.device("meta"):
        require_fit(kept, TokenPredictor(predictor, ports), "predictor")
    trained = [i for i, token in enumerate(tokens) if token.abs().sum() > 0]
    words = []
    if len(tokens) > 1:
        words.append(
            f"the predictor's mask token is number {mask_token} of the file's {len(tokens)}, the others are left out; "
            f"not zero: {', '.join(map(str, trained)) or 'none'}"
        )
    return kept, predictor, words


def _classifier(
    weights: dict[str, Tensor], encoder: ViT, signal: VideoSignal
) -> tuple[dict[str, Tensor], Attentive]:
    blocks = {int(name.split(".")[1]) for name in weights if name.startswith("blocks.")}
    hidden = len(needed(weights, "mlp.0.weight", 2))
    head = Attentive(
        depth=len(blocks), heads=encoder.heads, mlp_ratio=hidden / encoder.width, norm_eps=encoder.norm_eps
    )
    kept = {n: t for n, t in weights.items() if not n.startswith(("tell.", "classifier.", "query"))}
    kept["query"] = needed(weights, "query", 3).flatten()
    for part, dimensions in (("weight", 2), ("bias", 1)):
        kept[f"tell.{part}"] = torch.cat([needed(weights, f"tell.{n}.{part}", dimensions) for n in "kv"])
        kept[f"leave.{part}"] = needed(weights, f"classifier.{part}", dimensions)
    with torch.device("meta"):
        network = AttentiveHead(head, signal, encoder.width, len(kept["leave.weight"]))
        require_fit(kept, network, "classifier")
    return kept, head
