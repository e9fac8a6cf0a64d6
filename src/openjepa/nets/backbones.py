"""Trained encoders of images and films as networks: ours, and vision transformers of Hugging Face's transformers."""

import inspect
from typing import Any, cast

import torch
import torch.nn.functional as F
from pydantic import TypeAdapter
from torch import Tensor, nn

from openjepa.errors import UserError
from openjepa.jepa import View
from openjepa.nets.dynamics.base import Grid
from openjepa.nets.encoders import Encoder
from openjepa.nets.levels import LevelsViT
from openjepa.nets.transformer import ViT
from openjepa.signals.images.signal import ImageSignal
from openjepa.signals.video.mixed import MixedSignal
from openjepa.signals.video.signal import VideoSignal

GREY = 0.299, 0.587, 0.114
"""Shares of red, green and blue in brightness (ITU-R 601), for encoders of grey pictures."""


class Backbone(nn.Module):
    """Normalised pictures `[N, channels, side, side]` to tokens `[N, rows * columns, width]`.

    Attributes:
        net: what the source's weights are for.
    """

    net: nn.Module

    def __init__(self, channels: int, side: int, patch: int, width: int) -> None:
        super().__init__()
        if side % patch:
            raise UserError(
                f"pictures of {side} px do not divide into the frozen encoder's patches of {patch} px: set "
                "encoder.size to a multiple of them"
            )
        self.channels, self.side, self.width = channels, side, width
        self.places: Grid = (side // patch, side // patch)

    def fit(self, frames: Tensor) -> Tensor:
        """Frames `[N, C, H, W]` with the channels and the size that it takes."""
        if frames.shape[1] != self.channels:
            if self.channels == 1:
                frames = torch.einsum("nchw,c->nhw", frames, frames.new_tensor(GREY)).unsqueeze(1)
            else:
                frames = frames.expand(-1, self.channels, -1, -1)
        if frames.shape[-1] == self.side:
            return frames
        return F.interpolate(frames, (self.side, self.side), mode="bilinear", antialias=True)


class Ours(Backbone):
    """The encoder of one of our recipes of images or films.

    One of films is given each frame as often as a tubelet is long, as V-JEPA 2-AC does; one of films and images each
    frame as an image.
    """

    def __init__(self, architecture: dict[str, Any], size: int | None) -> None:
        trained: Any = pictured(architecture["signal"])
        config: Any = TypeAdapter(Encoder).validate_python(architecture["encoder"])
        films = isinstance(trained, VideoSignal)
        sides = set(trained.sides) if films else {trained.size}
        if size is None and len(sides) > 1:
            raise UserError(
                f"the frozen encoder was trained on films of {trained.sides[0]}x{trained.sides[1]} px, frames are "
                "square: set encoder.size"
            )
        side, plain = size or sides.pop(), {"mean": (0.0,), "std": (1.0,)}
        # a transformer keeps the grid that it was trained on and rescales positions, a backbone is built for its side
        built = trained if isinstance(config, ViT | LevelsViT) else trained.model_copy(update={"size": side})
        net = config.build(built.model_copy(update=plain))
        super().__init__(trained.channels, side, trained.patch, net.width)
        self.net, self.films = net, films
        self.signal: Any = trained.model_copy(update={"size": (side,) if films else side, **plain})
        layout = net.layout((1, *self.places) if films else self.places)
        self.places = layout[-2], layout[-1]

    def forward(self, pictures: Tensor) -> Tensor:
        if isinstance(self.signal, MixedSignal):
            return self.net(View(self.signal.still.tubelets(pictures.unsqueeze(1))))
        if not self.films:
            return self.net(View(self.signal.cut(pictures)))
        clips = pictures.unsqueeze(1).expand(-1, self.signal.tubelet, -1, -1, -1)
        return self.net(View(self.signal.tubelets(clips)))


def pictured(signal: Any) -> ImageSignal | VideoSignal:
    """The signal of a saved config, of images, of films or of both."""
    kinds = {"video": VideoSignal, "clips-and-images": MixedSignal}
    return kinds.get(signal.get("kind"), ImageSignal).parse(signal)


class Transformers(Backbone):
    """A vision transformer of Hugging Face's transformers, never one with code of its own.

    What comes before the patch tokens (class token, registers) is left out. V-JEPA 2, which takes films, is given each
    frame as often as a tubelet is long, as V-JEPA 2-AC does.
    """

    def __init__(self, architecture: dict[str, Any], size: int | None) -> None:
        library = transformers()
        sizes = dict(architecture["config"])
        self.film: int = sizes.get("tubelet_size", 0)
        name = "crop_size" if self.film else "image_size"
        side = size or sizes[name]
        if self.film:
            sizes[name] = side  # its rotary positions are those of the crop
        config = library.AutoConfig.for_model(**sizes)
        super().__init__(
            sizes.get("num_channels", sizes.get("in_chans", 3)),
            side,
            sizes["patch_size"],
            sizes["hidden_size"],
        )
        self.net = part(library.AutoModel.from_config(config, trust_remote_code=False))
        asked = "interpolate_pos_encoding" in inspect.signature(self.net.forward).parameters
        self._options = {"interpolate_pos_encoding": True} if asked and side != sizes[name] else {}

    def forward(self, pictures: Tensor) -> Tensor:
        given = pictures.unsqueeze(1).expand(-1, self.film, -1, -1, -1) if self.film else pictures
        tokens = self.net(given, **self._options).last_hidden_state
        return tokens[:, -self.places[0] * self.places[1] :]


def part(model: nn.Module) -> nn.Module:
    """What of a transformers model makes tokens of pictures: of V-JEPA 2 the encoder, without its predictor."""
    return cast(nn.Module, model.encoder) if hasattr(model, "predictor") else model


def transformers() -> Any:
    """The library; UserError where it is missing."""
    try:
        import transformers as library
    except ImportError:
        raise UserError("encoders of the Hub need transformers: pip install 'openjepa[hub]'") from None
    return library
