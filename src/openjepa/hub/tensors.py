"""What reading other people's checkpoints shares: files by folder, networks and names by patterns, sizes by shapes."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from openjepa.common.files import read_json, read_tensors
from openjepa.errors import UserError
from openjepa.jepa import JEPA

_Signal = TypeVar("_Signal")
_Sizes = TypeVar("_Sizes")
TensorNames = Sequence[tuple[str, str]]
"""Patterns of whole names, and what each becomes; the first that fits counts."""
FRESH_PREDICTOR = "it has no predictor, a fresh one stands in its place, which features do not need"
"""Said of a file that has none."""


def read_directory(directory: Path, *processors: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and config in a local copy of a Hub repository: `*.safetensors` and `config.json`.

    Args:
        processors: files beside the config whose values are added to it, where they exist.

    Raises:
        UserError: no such files, or pickled ones only.
    """
    files = sorted(directory.glob("*.safetensors")) or [directory / "model.safetensors"]
    tensors = {name: tensor for file in files for name, tensor in read_tensors(file).items()}
    config = read_json(directory / "config.json")
    for name in processors:
        if (directory / name).exists():
            config |= read_json(directory / name)
    return tensors, config


def refuse_other_models(config: Mapping[str, Any], kind: str) -> None:
    """Raises UserError where Hugging Face's config is not of a model of type `kind`, or has another activation."""
    given, activation = config.get("model_type", kind), config.get("hidden_act", "gelu")
    if given != kind:
        raise UserError(f"config.json describes a model of type {given!r}, only {kind!r} can be converted")
    if activation != "gelu":
        raise UserError(f"the checkpoint's activation is {activation!r}, our transformer has only 'gelu'")


def networks(
    tensors: Mapping[str, Tensor],
    place: Callable[[str, bool], tuple[str, str]],
    names: TensorNames,
    unused: str,
    *,
    model: str,
    example: str,
) -> tuple[dict[str, dict[str, Tensor]], list[str]]:
    """Tensors by the network they belong to, under our names, in float32; and the file's names of unused ones.

    Args:
        place: the network of a tensor, by its name and whether a training's two encoders are there; and the name's rest
            within the network. An encoder alone is `target`; of two, the other one is `online`.
        names: of those rests.
        unused: pattern of rests that are left out.
        model: what these are tensors of, for errors.
        example: of an encoder's name, for errors.

    Raises:
        UserError: a tensor is unknown, a part of its queries, keys and values is missing, or there is no encoder.
    """
    groups: dict[str, dict[str, Tensor]] = {}
    unknown, left_out = [], []
    training = any(name.startswith("target_encoder.") for name in tensors)
    for name, tensor in tensors.items():
        group, rest = place(name, training)
        ours = renamed(rest, names)
        if ours is not None:
            groups.setdefault(group, {})[ours] = tensor.float()
        elif re.fullmatch(unused, rest):
            left_out.append(name)
        else:
            unknown.append(name)
    if unknown:
        raise UserError(f"{len(unknown)} tensors have names that no {model} has, such as {unknown[0]!r}")
    if "target" not in groups:
        raise UserError(f"no encoder among the tensors: expected names such as {example!r}")
    return {group: fused(weights) for group, weights in groups.items()}, left_out


def encoders(
    groups: Mapping[str, dict[str, Tensor]],
    read: Callable[[dict[str, Tensor]], tuple[dict[str, Tensor], _Signal, _Sizes]],
) -> tuple[dict[str, Tensor], dict[str, Tensor], _Signal, _Sizes]:
    """Weights of the target and of the online encoder, which are the target's where a file has only one; their signal
    and sizes.

    Args:
        groups: what `networks` gives.
        read: weights, signal and sizes of one encoder.

    Raises:
        UserError: two encoders that differ in size; and see `read`.
    """
    target, signal, encoder = read(groups["target"])
    if "online" not in groups:
        return target, target, signal, encoder
    online, *others = read(groups["online"])
    if others != [signal, encoder]:
        raise UserError("encoder and target_encoder differ in size: give the tensors of one checkpoint")
    return target, online, signal, encoder


def renamed(name: str, names: TensorNames) -> str | None:
    """Our name of a tensor; `None` where no pattern fits."""
    for pattern, ours in names:
        if match := re.fullmatch(pattern, name):
            return match.expand(ours)
    return None


def fused(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Queries, keys and values of a block in one matrix. Raises UserError where one is missing."""
    joined = {
        name: tensor for name, tensor in weights.items() if not re.search(r"\.attention\.[qkv]\.", name)
    }
    for name in weights.keys() - joined.keys():
        parts = [re.sub(r"\.[qkv]\.", f".{part}.", name) for part in "qkv"]
        if missing := [part for part in parts if part not in weights]:
            raise UserError(f"the checkpoint lacks tensors, such as {missing[0]!r}")
        joined[re.sub(r"\.[qkv]\.", ".qkv.", name)] = torch.cat([weights[part] for part in parts])
    return joined


def needed(weights: Mapping[str, Tensor], name: str, dimensions: int) -> Tensor:
    """A tensor; UserError where it is missing or has another number of dimensions."""
    if name not in weights or weights[name].dim() != dimensions:
        raise UserError(f"the checkpoint lacks a tensor of {dimensions} dimensions for our {name!r}")
    return weights[name]


def transformer_sizes(weights: Mapping[str, Tensor], width: int) -> dict[str, Any]:
    """Width, depth and the MLP's ratio, read off the shapes of blocks."""
    blocks = {int(name.split(".")[1]) for name in weights if name.startswith("blocks.")}
    hidden = len(needed(weights, "blocks.0.mlp.0.weight", 2))
    return {"width": width, "depth": max(blocks) + 1, "mlp_ratio": hidden / width}


def described_sizes(
    weights: Mapping[str, Tensor], width: int, config: Mapping[str, Any], heads: Mapping[int, int]
) -> dict[str, Any]:
    """`transformer_sizes` of an encoder with what Hugging Face's config says of it; `heads` by width stand in for it.

    Raises:
        UserError: the number of heads is not known.
    """
    known = config.get("num_attention_heads", heads.get(width))
    if known is None:
        raise UserError(
            f"the number of heads of an encoder of width {width} is not known: give its config.json"
        )
    return transformer_sizes(weights, width) | {
        "heads": known,
        "norm_eps": config.get("layer_norm_eps", 1e-6),
    }


def pixel_scale(channels: int, config: Mapping[str, Any]) -> dict[str, Any]:
    """`mean` and `std` of Hugging Face's preprocessor; without it a half, of three channels the signal's own."""
    scale: dict[str, Any] = {} if channels == 3 else {"mean": (0.5,), "std": (0.5,)}
    return scale | {name: config[f"image_{name}"] for name in ("mean", "std") if f"image_{name}" in config}


def filled(
    model: JEPA,
    online: Mapping[str, Tensor],
    target: Mapping[str, Tensor],
    predictor: Mapping[str, Tensor] | None,
) -> JEPA:
    """A model that was built with a checkpoint's weights, in eval mode; its predictor as drawn where there are none."""
    model.encoder.load_state_dict(online)
    model.target.encoder.load_state_dict(target)
    if predictor is None:
        model.drawn = ("predictor",)
    else:
        model.predictor.load_state_dict(predictor)
    return model.eval()


def require_fit(weights: Mapping[str, Tensor], network: nn.Module, what: str) -> None:
    """Raises UserError unless the weights have the network's names and shapes, all of them and no other."""
    expected = {name: list(tensor.shape) for name, tensor in network.state_dict().items()}
    given = {name: list(tensor.shape) for name, tensor in weights.items()}
    wrong = sorted(name for name in expected.keys() | given.keys() if expected.get(name) != given.get(name))
    if wrong:
        first = wrong[0]
        raise UserError(
            f"{len(wrong)} tensors of the {what} do not fit, such as our {first!r}: "
            f"expected shape {json.dumps(expected.get(first))}, given {json.dumps(given.get(first))}"
        )
