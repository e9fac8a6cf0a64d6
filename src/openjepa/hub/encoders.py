"""Trained image encoders, by where they lie: a run or exported model of ours, or a model that transformers knows."""

import contextlib
from pathlib import Path
from typing import Any

from torch import nn

from openjepa.errors import UserError
from openjepa.hub import store
from openjepa.jepa import JEPA
from openjepa.nets.frozen import Backbone, part, transformers
from openjepa.recipes.images import ImageRecipe
from openjepa.training import load

HUB = "hub:"
_UNTOLD = {"_name_or_path", "architectures", "dtype", "torch_dtype", "transformers_version"}
_UNTOLD |= {
    "id2label",
    "label2id",
    "problem_type",
    "return_dict",
    "output_attentions",
    "output_hidden_states",
}
"""Of Hugging Face's configs: nothing that a network's shape depends on."""


def architecture(source: str) -> dict[str, Any]:
    """What `nets.frozen` needs to build the encoder again, plain data.

    Raises:
        UserError: nothing is named, or what lies there is no image encoder, or cannot be read.
    """
    name = _theirs(source)
    if name is None:
        config = _ours(source).config
        parts = {name: getattr(config, name).model_dump(mode="json") for name in ("signal", "encoder")}
        return {"kind": "ours", **parts}
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
    """Give an encoder, built from the source's `architecture`, the source's weights.

    Raises:
        UserError: see `architecture`; or the weights are of other sizes.
    """
    name = _theirs(source)
    if name is None:
        found: nn.Module = _ours(source).evaluated
    else:
        with _reading(source):
            model = transformers().AutoModel.from_pretrained(
                name, trust_remote_code=False, use_safetensors=True, dtype="float32"
            )
        found = part(model)
    store.fill(net.net, found.state_dict(), Path(source))


def _theirs(source: str) -> str | None:
    """The name or directory that transformers is to be asked for; `None`: the source is ours."""
    if not source:
        raise UserError(
            "a frozen encoder comes from somewhere: give --encoder.source a run of an image recipe (train one with "
            "`openjepa train lejepa`), or hub: and a model's name, e.g. hub:facebook/dinov2-small"
        )
    if source.startswith(HUB):
        return source.removeprefix(HUB)
    config = Path(source) / store.CONFIG
    return source if config.is_file() and "model_type" in store.read_json(config) else None


def _ours(source: str) -> JEPA:
    model = load(source)
    if not isinstance(model.config, ImageRecipe):
        raise UserError(
            f"{source} is a run of {model.config.recipe}, which is no image encoder: name one of i-jepa or lejepa"
        )
    return model


@contextlib.contextmanager
def _reading(source: str) -> Any:
    """What transformers says of a model that it cannot read, in one sentence."""
    try:
        yield
    except (OSError, ValueError, KeyError) as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"encoder.source {source} cannot be read: {first}") from error
