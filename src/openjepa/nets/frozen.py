"""Trained encoders of images or films, ours or the Hub's, of which a world model predicts the patch tokens."""

from typing import Any, Literal

from pydantic import Field

from openjepa.config import Choice
from openjepa.nets.backbones import Backbone, Ours, Transformers


class FrozenNet(Choice):
    """A trained encoder of images or films that stays as it is; a state is its patch tokens (DINO-WM, V-JEPA 2-AC).

    Its sizes are read from `source` when training begins and kept in `architecture`, its weights are saved with the
    world model: a saved model needs its source no more.
    """

    kind: Literal["frozen"] = "frozen"
    source: str = ""
    """A run's or exported model's directory of ours (i-jepa, lejepa, v-jepa-2), a directory in Hugging Face's format,
    or `hub:` and the name of a model that transformers knows, e.g. `hub:facebook/dinov2-small` (extra `hub`). Weights
    are read from safetensors only, and no code that comes with them is run."""
    size: int | None = Field(None, ge=1, le=4096)
    """Frames are resized to this side, pixels; none: to that of the pictures it was trained on."""
    norm: Literal["none", "layer"] = "none"
    """`layer`: each token to mean 0 and variance 1 over its features, without parameters; predictions end in it too."""
    statistics: Literal["source", "half"] = "source"
    """Mean and spread by which pixels are normalised: those that it was trained with, or 0.5 and 0.5 (DINO-WM)."""
    pretrained: bool = True
    """Whether its weights are the source's, or random."""
    architecture: dict[str, Any] = Field(default_factory=dict)
    """Filled in from the source: its `kind`, `ours` with `signal` and `encoder`, or `transformers` with `config` and,
    of the pixels, `mean` and `std`."""

    def known(self) -> "FrozenNet":
        """This config with the source's architecture, where its weights are to be the source's.

        Raises:
            UserError: no source is named, or it cannot be read.
        """
        if not self.pretrained:
            return self
        from openjepa.nets import pretrained

        return self.model_copy(update={"architecture": pretrained.architecture(self.source)})

    def scale(self, channels: int) -> dict[str, tuple[float, ...]]:
        """Mean and spread of the pixels, for frames of so many channels (see `statistics`); empty: not known."""
        if self.statistics == "half":
            return {"mean": (0.5,), "std": (0.5,)}
        of = self.architecture.get("signal", self.architecture)
        found = {name: tuple(of[name]) for name in ("mean", "std") if name in of}
        if limits := of.get("range"):  # frames are bytes, so they are taken for values of that range
            low, width = limits[0] / 255, (limits[1] - limits[0]) / 255
            found = {name: tuple(v * width for v in values) for name, values in found.items()}
            found["mean"] = tuple(low + v for v in found["mean"])
        return {k: v if len(v) in (1, channels) else (sum(v) / len(v),) for k, v in found.items()}

    def build(self) -> "Backbone":
        """The network, with random weights (see `fill`); UserError for sizes that do not fit, or where nothing is known
        of it."""
        known = self if self.architecture else self.model_copy(update={"pretrained": True}).known()
        kind = Ours if known.architecture["kind"] == "ours" else Transformers
        return kind(known.architecture, self.size)

    def fill(self, net: "Backbone") -> None:
        """Give a network that was built the source's weights."""
        if self.pretrained:
            from openjepa.nets import pretrained

            pretrained.fill(net, self.source)
