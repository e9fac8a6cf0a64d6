"""Checkpoints that Meta has released as pickles (`.pth.tar`, `.pt`), as models of ours.

The pickle is opened in a process of its own that has given up files, network and processes (`hub.unpickling`); here its
tensors alone are read, from safetensors.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from torch import Tensor

from openjepa.common.files import CONFIG, read_json, read_tensors
from openjepa.common.reach import regular
from openjepa.errors import UserError, first_line, warn
from openjepa.hub import ijepa, licences, unpickling, vjepa2, vjepa21
from openjepa.jepa import JEPA

RAW = ("patch_embed.proj.weight", "patch_embeddings.projection.weight", "patch_embeddings.proj.weight")
"""Ends of the name of the kernel that embeds patches; of films it has a time, too."""

IMAGES = "patch_embed_img.proj.weight"
"""End of the name of V-JEPA 2.1's kernel for images, beside that for clips."""


def convert(path: str | Path) -> tuple[JEPA, str | None]:
    """The model in a pickled checkpoint of I-JEPA, V-JEPA 2 or 2.1, and its licence where that is known.

    A `config.json` beside one of the first two, as Hugging Face writes it, says what no tensor's shape tells.

    Raises:
        UserError: no such file, more in it than tensors and plain containers, or tensors of another model.
    """
    path = regular(path)
    tensors = tensors_of(path)
    kernel = next((t for name, t in tensors.items() if name.endswith(RAW)), None)
    if kernel is None:
        raise UserError(
            f"{path} holds {len(tensors)} tensors, and none embeds patches: it is no I-JEPA or V-JEPA 2 or 2.1"
        )
    beside = path.parent / CONFIG
    config = read_json(beside) if beside.is_file() else None
    of_images = kernel.dim() == 4
    converted: ijepa.Converted | vjepa2.ConvertedClips | vjepa21.ConvertedMixed
    if of_images:
        converted = ijepa.convert(tensors, config)
    elif any(name.endswith(IMAGES) for name in tensors):
        converted = vjepa21.convert(tensors)
    else:
        converted = vjepa2.convert(tensors, config)
    if said := converted.said():
        warn(f"{path}: {said}")
    return converted.build(), licences.META_IJEPA if of_images else None


def tensors_of(path: Path) -> dict[str, Tensor]:
    """All tensors of a pickled file by their dotted names, without an optimiser's.

    Raises:
        UserError: there is more in it than tensors and plain containers, it is damaged, or this is Windows.
    """
    if sys.platform == "win32":
        raise UserError(
            "a pickled file is opened in a process that gives up its rights, which needs Linux or macOS"
        )
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "tensors.safetensors"
        with path.open("rb") as given, target.open("wb") as written:
            command = [sys.executable, "-I", unpickling.__file__]
            done = subprocess.run(
                command, stdin=given, stdout=written, stderr=subprocess.PIPE, cwd="/", env={}, check=False
            )
        if done.returncode != 0:
            raise UserError(
                f"{path} holds more than tensors, or is damaged: {_said(done.stderr.decode(errors='replace'))}"
            )
        return {name: tensor.to(torch.float32) for name, tensor in read_tensors(target).items()}


def _said(text: str) -> str:
    """The error of a process that failed, shortly."""
    lines = [line for line in text.splitlines() if line and not line.startswith((" ", "\t", "Traceback"))]
    return first_line(RuntimeError(lines[0] if lines else "it ended without a word"))[:300]
