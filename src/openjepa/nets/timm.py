"""Any timm backbone as an encoder (extra `timm`)."""

import difflib
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from openjepa.config import Choice
from openjepa.errors import UserError, first_line
from openjepa.jepa import View
from openjepa.nets.pictured import PictureEncoder
from openjepa.signals.images.signal import ImageSignal


class Timm(Choice):
    """A timm backbone, from scratch or with its published weights; its last feature map gives the tokens."""

    kind: Literal["timm"] = "timm"
    name: str = "resnet18"
    """Any name that `timm.list_models()` prints."""
    pretrained: bool = False
    drop_path: float = Field(0.0, ge=0, lt=1)

    def build(self, signal: ImageSignal) -> "TimmEncoder":
        """Raises UserError: timm is missing or does not know the name, no weights are at hand, images are too small."""
        return TimmEncoder(self, signal)


class TimmEncoder(PictureEncoder):
    """`View -> [B, h * w, D]`, the feature map in row order.

    What a view does not keep is grey in the picture (zero after normalisation). Only the kept tokens' features are
    returned where the feature map has the token grid's size, else the whole map.
    """

    def __init__(self, config: Timm, signal: ImageSignal) -> None:
        super().__init__()
        self.config, self.signal = config, signal
        self.trunk = _create(config, signal).to(memory_format=torch.channels_last)
        self.width: int = self.trunk.num_features  # ty: ignore[invalid-assignment]
        self._stages: list[dict[str, Any]] = list(getattr(self.trunk, "feature_info", None) or [])
        self._map = self._probe()

    @property
    def stride(self) -> int:
        """Pixels of the picture to one place of the feature map, along a side."""
        known = self._stages[-1]["reduction"] if self._stages else self.signal.size / self._map[0]
        return max(1, round(known))

    def alike(self, count: int) -> bool:
        """Whether the last `count` layers have one size and one width."""
        return len({(stage["reduction"], stage["num_chs"]) for stage in self._stages[-count:]}) <= 1

    @torch.no_grad()
    def _probe(self) -> tuple[int, int]:
        """The feature map's rows and columns; in eval mode, so that no running statistics take part."""
        self.trunk.eval()
        picture = torch.zeros(1, self.signal.channels, self.signal.size, self.signal.size)
        try:
            rows, columns = self._features(picture).shape[1:3]
        except (AssertionError, RuntimeError, ValueError) as error:
            raise UserError(
                f"{self.config.name} takes no images of {self.signal.size} px ({_line(error)}): {self._advice()}"
            ) from None
        self.trunk.train()
        return rows, columns

    def places(self, pictures: Tensor) -> Tensor:
        return self._features(pictures).flatten(1, 2)

    def layers(self, view: View, count: int) -> list[Tensor]:
        """Up to `count` last feature maps, `[B, h * w, D]` each, earlier stages at their own size; the output last."""
        last = self.forward(view)
        intermediates = getattr(self.trunk, "forward_intermediates", None)
        if count == 1 or intermediates is None or view.keep is not None:
            return [last]
        maps = intermediates(self.picture(view), indices=count, intermediates_only=True, output_fmt="NCHW")
        return [*(m.flatten(2).transpose(1, 2) for m in maps[:-1]), last]

    def layout(self, layout: tuple[int, ...]) -> tuple[int, int]:
        """The feature map of an image of `signal.size`, whatever the token grid."""
        return self._map

    def _advice(self) -> str:
        """The size that timm made the model for, and the patch that goes with its feature map."""
        side = (getattr(self.trunk, "pretrained_cfg", None) or {}).get("input_size", (3, 224, 224))[-1]
        if not self._stages:
            return f"use --signal.size {side}"
        return f"use --signal.size {side} --signal.patch {self._stages[-1]['reduction']}"

    def _features(self, images: Tensor) -> Tensor:
        """`[B, h, w, D]`."""
        images = images.contiguous(memory_format=torch.channels_last)
        features = self.trunk.forward_features(images)  # ty: ignore[not-callable]
        if features.dim() == 4:
            return (
                features
                if getattr(self.trunk, "output_fmt", "NCHW") == "NHWC"
                else features.permute(0, 2, 3, 1)
            )
        tokens = features[:, int(getattr(self.trunk, "num_prefix_tokens", 0)) :]
        rows = round((tokens.shape[1] * images.shape[-2] / images.shape[-1]) ** 0.5)
        return tokens.unflatten(1, (rows, tokens.shape[1] // rows))


def _create(config: Timm, signal: ImageSignal) -> nn.Module:
    try:
        import timm
    except ImportError:
        raise UserError("--encoder timm needs timm: pip install 'openjepa[timm]'") from None
    if not timm.is_model(config.name):
        close = difflib.get_close_matches(config.name, timm.list_models(), n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise UserError(f"timm has no model {config.name!r}{hint}")
    common: dict[str, Any] = {"pretrained": config.pretrained, "num_classes": 0, "in_chans": signal.channels}
    common |= {"drop_path_rate": config.drop_path} if config.drop_path else {}
    try:
        # Plain transformers take both, hierarchical ones the size alone, and convnets neither.
        for sized in ({"img_size": signal.size, "dynamic_img_size": True}, {"img_size": signal.size}):
            try:
                return timm.create_model(config.name, **common, **sized)
            except TypeError:
                continue
        return timm.create_model(config.name, **common)
    except TypeError as error:
        raise UserError(f"{config.name} cannot be built so ({_line(error)}): leave that option out") from None
    except Exception as error:  # of any kind: timm, the Hub's client and the network each have their own
        if not config.pretrained:
            raise UserError(
                f"{config.name} cannot be built for images of {signal.size} px ({_line(error)}): "
                "use a larger --signal.size, or another --encoder.name"
            ) from None
        raise UserError(
            f"the published weights of {config.name} cannot be had ({_line(error)}): connect to the network, or "
            "train it from scratch with --encoder.pretrained false"
        ) from None


def _line(error: Exception) -> str:
    """The first sentence of a message."""
    return first_line(error).split(". ")[0].rstrip(".")
