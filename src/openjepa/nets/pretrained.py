"""Trained encoders of images and films, by where they lie: a run or exported model of ours, or a model that
transformers knows."""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from torch import Tensor, nn

from openjepa.common import files
from openjepa.common.hub import HUB, on_hub
from openjepa.common.renamed import current
from openjepa.config import Choice
from openjepa.errors import UserError, first_line, warn
from openjepa.nets.backbones import Backbone, part, pictured, transformers
from openjepa.nets.encoders import Encoder
from openjepa.targets import AVERAGED

UNREAD = "pooler."
"""Of weights that change no token."""
_UNTOLD = {"_name_or_path", "architectures", "dtype", "torch_dtype", "transformers_version"}
_UNTOLD |= {
    "id2label",
    "label2id",
    "problem_type",
    "return_dict",
    "output_attentions",
    "output_hidden_states",
}
"""Keys of Hugging Face's configs on which no shape of a network depends."""


def architecture(source: str) -> dict[str, Any]:
    """What `nets.frozen` needs to build the encoder again, plain data.

    Raises:
        UserError: nothing is named, or what lies there is no encoder of images or films, or cannot be read.
    """
    name = _theirs(source)
    if name is None:
        config = _config(source, files.saved_model(source)[0])
        signal = pictured(config["signal"])
        encoder: Choice = TypeAdapter(Encoder).validate_python(config["encoder"])
        return {
            "kind": "ours",
            "signal": signal.model_dump(mode="json"),
            "encoder": encoder.model_dump(mode="json"),
        }
    library = transformers()
    with _reading(source):
        config = library.AutoConfig.from_pretrained(name, trust_remote_code=False).to_dict()
    if not {"patch_size", "hidden_size"} <= config.keys():
        raise UserError(f"{source} is a {config['model_type']}, not a transformer over patches of a picture")
    pixels: dict[str, Any] = {}
    with contextlib.suppress(OSError):  # not every repository says how its pixels are scaled
        pixels = library.BaseImageProcessor.get_image_processor_dict(name)[0]
    scale = {
        ours: pixels[key] for ours, key in (("mean", "image_mean"), ("std", "image_std")) if key in pixels
    }
    return {"kind": "transformers", "config": {k: v for k, v in config.items() if k not in _UNTOLD}, **scale}


def fill(net: Backbone, source: str) -> None:
    """Give an encoder, built from the source's `architecture`, the source's weights; warn of those it leaves out.

    Raises:
        UserError: see `architecture`; or weights are missing, or of other sizes.
    """
    name = _theirs(source)
    if name is None:
        _config(source, files.saved_model(source)[0])
        found = encoder_weights(source)
    else:
        with _reading(source):
            model, loaded = transformers().AutoModel.from_pretrained(
                name, trust_remote_code=False, use_safetensors=True, dtype="float32", output_loading_info=True
            )
        found = _complete(source, part(model), model, loaded)
    files.fill(net.net, found, Path(source))


def _complete(source: str, used: nn.Module, model: nn.Module, loaded: Mapping[str, Any]) -> dict[str, Tensor]:
    """Weights of the part of a transformers model that is used, by what it tells of loading them all."""
    prefix = next(f"{name}." if name else "" for name, part in model.named_modules() if part is used)
    missing = sorted(
        name for name in loaded["missing_keys"] if name.startswith(prefix) and not name.startswith(UNREAD)
    )
    if missing:
        raise UserError(
            f"{source} lacks {len(missing)} of its encoder's tensors, such as {missing[0]}: they would be random"
        )
    if unknown := sorted(loaded["unexpected_keys"]):
        warn(f"{source}: {len(unknown)} tensors are left out, such as {unknown[0]}")
    return used.state_dict()


def _theirs(source: str) -> str | None:
    """The name or directory that transformers is to be asked for; `None`: the source is ours."""
    if not source:
        raise UserError(
            "a frozen encoder comes from somewhere: give --encoder.source a run of an image recipe (train one with "
            "`openjepa train lejepa`), or hub: and a model's name, e.g. hub:facebook/dinov2-small"
        )
    if on_hub(source):
        return source.removeprefix(HUB)
    config = Path(source) / files.CONFIG
    return source if config.is_file() and "model_type" in files.read_json(config) else None


def _config(source: str, path: Path) -> dict[str, Any]:
    """The saved config of one of our recipes of images or films, as it is in its file."""
    config = current(files.read_json(path))
    kind = config["signal"].get("kind") if isinstance(config.get("signal"), dict) else None
    if kind not in ("image", "video", "clips-and-images") or not isinstance(config.get("encoder"), dict):
        raise UserError(
            f"{source} is a run of {config.get('recipe', 'another program')}, which is no image encoder: name one of "
            "i-jepa, lejepa or v-jepa-2"
        )
    return config


def encoder_weights(source: str) -> dict[str, Tensor]:
    """Weights of the encoder whose features a run or model of ours uses: an average's where its target is one.

    Where only the trunk is averaged, all else is the encoder's own. Of an unfinished run they are those of its latest
    checkpoint that is sound.

    Raises:
        UserError: no model lies there, or none that can be read.
    """
    path, saved = files.saved_model(source)
    target = files.read_json(path).get("target", {})
    averaged, trunk = target.get("kind") in AVERAGED, target.get("average") == "trunk"
    for number, file in enumerate(saved):
        try:
            tensors = files.read_tensors(file)
        except UserError as error:
            if number == len(saved) - 1:
                raise
            warn(f"{error}; falling back to {saved[number + 1].parent}")
            continue
        if averaged and trunk:
            return _below("encoder.", tensors) | _below("target.encoder.own.", tensors)
        return _below("target.encoder." if averaged else "encoder.", tensors)
    raise UserError(
        f"{source} holds no model yet: its run was interrupted at the start; continue it with --resume"
    )


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


@contextlib.contextmanager
def _reading(source: str) -> Any:
    """What transformers says of a model that it cannot read, in one sentence."""
    try:
        yield
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"encoder.source {source} cannot be read: {first_line(error)}") from error
