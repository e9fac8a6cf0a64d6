"""What reading other people's checkpoints shares: files by folder, names by patterns, shapes that must fit."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from openjepa.common.files import read_json, read_tensors
from openjepa.errors import UserError

TensorNames = Sequence[tuple[str, str]]
"""Patterns of whole names, and what each becomes; the first that fits counts."""


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
