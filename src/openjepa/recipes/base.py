"""A recipe: one row of the table of choices with its training, as one typed config, and what the trainer asks of it."""

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.metadata import entry_points
from typing import Any, ClassVar, Literal, Protocol, Self

from pydantic import Field
from torch import Tensor

from openjepa.common.memory import require_room
from openjepa.config import Config
from openjepa.errors import warn
from openjepa.health import Verdict, judge
from openjepa.jepa import JEPA
from openjepa.signals.base import Batch, Samples, hold_out


class Training(Config):
    """Optimisation. What depends on the run's length is a fraction of it."""

    steps: int = Field(10_000, ge=1, le=1_000_000_000)
    batch_size: int = Field(256, ge=2, le=1_000_000)
    """Samples per optimiser step, over all processes."""
    accumulate: int = Field(1, ge=1, le=100_000)
    """Micro-batches per optimiser step, which gives what the whole batch would; refused where something is computed
    over the whole batch: guards, batch norm, some targets and latent variables."""
    lr: float = Field(1e-3, gt=0)
    """Peak of AdamW's learning rate."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """After warm-up: cosine to `final_lr`, or constant with a linear cooldown."""
    warmup: float = Field(0.1, ge=0, lt=1)
    """Share of the steps in which the learning rate rises linearly from `start_lr`."""
    cooldown: float = Field(0.05, ge=0, le=1)
    """Share of the steps of the linear descent that ends a constant schedule."""
    start_lr: float = Field(0.0, ge=0, le=1)
    """The learning rate at the first step, as a share of `lr`."""
    final_lr: float = Field(0.0, ge=0, le=1)
    """The learning rate at the last step, as a share of `lr`."""
    weight_decay: float = Field(0.05, ge=0)
    """Not on biases, norms and other 1-D parameters."""
    decay_mask_tokens: bool = False
    """Whether mask tokens are decayed as well (I-JEPA's released code)."""
    final_weight_decay: float | None = Field(None, ge=0)
    """Reached by a cosine; `None` keeps it constant."""
    beta2: float = Field(0.999, gt=0, lt=1)
    clip: float | None = Field(None, gt=0)
    """Largest gradient norm."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """`auto`: the fastest in a few measured steps, of fp32 and, where the hardware computes in it, bf16."""
    attention: Literal["auto", "fused", "math"] = "auto"
    """Kernels of attention: PyTorch's fused ones, or plain matrix products, which are faster for few tokens in bf16 on
    CPUs. `auto`: fused in fp32, measured in bf16."""
    compile: bool = False
    """Compile each transformer block."""
    seed: int = Field(0, ge=0, le=2**63 - 1)
    workers: int = Field(2, ge=0, le=512)
    """Decoding processes for sets that do not fit into memory."""
    health_every: float = Field(0.02, gt=0, le=1)
    """Share of the steps between two measurements of health on the held-out batch."""
    save_every: float = Field(0.1, gt=0, le=1)
    """Share of the steps between two checkpoints."""
    keep: int = Field(2, ge=1, le=1_000_000)
    """Checkpoints kept: the latest ones."""
    on_collapse: Literal["warn", "stop", "rollback"] = "warn"
    log: tuple[str, ...] = Field((), max_length=64)
    """Trackers (csv, tensorboard, wandb, trackio) that metrics go to beside the run's own `metrics.jsonl`; of several
    processes the first one logs."""


class Measures(Protocol):
    """Reads a model's health off a held-out batch (`openjepa.health.Monitor`)."""

    def measure(
        self, model: Any, step: int, history: Sequence[Mapping[str, float]] = ()
    ) -> dict[str, float]: ...
    def begin(self, model: Any) -> None:
        """Look at the model as it is before the first step; `measure` does so at step 0."""


class Recipe(Config):
    """What all recipes are: a name, a size, data, training. `tokens`, `images`, `sounds` and `worlds` add the choices.

    The trainer knows nothing of signals: it opens the data, fits the config to them, holds some out and measures health
    through these methods.
    """

    presets: ClassVar[dict[str, dict[str, Any]]] = {}
    paper: ClassVar[str] = ""
    measured: ClassVar[str] = ""
    """What a small preset came to, beside what it is to be compared with, for the table of systems."""

    recipe: str
    preset: str
    data: str
    train: Training = Training()
    init: str = ""
    """Trained weights to start from: a run, an exported model, a folder in the Hub's layout, or `hub:owner/name`."""

    @classmethod
    def by_hand(
        cls, plain: dict[str, Any], base: Mapping[str, Any], changes: Mapping[str, str]
    ) -> dict[str, Any]:
        """Plain config data, in which what neither a saved config nor an option has set is left to the data."""
        return plain

    @abstractmethod
    def open(self, data: Any, adapt: bool) -> Samples:
        """The samples that `data` names or holds; with `adapt` as they are, else converted to what the config says.

        Raises:
            UserError: data that cannot be read, or not be used.
        """

    @abstractmethod
    def adapt(self, samples: Any) -> Self:
        """The config with what is to be taken from the samples: channels, statistics."""

    def adapted(self, before: Any) -> str:
        """What `adapt` has changed, in a sentence for the run's log; empty where that says nothing new."""
        return ""

    @abstractmethod
    def build(self) -> JEPA:
        """The model, initialised from torch's current random state (see `recipes.build` for a seeded one).

        Raises:
            UserError: choices that cannot go together.
        """

    def fill(self, model: JEPA) -> None:
        """Give a model that was built the weights that are not drawn: those of a trained part of it.

        Raises:
            UserError: they cannot be read.
        """

    def from_scratch(self) -> Self:
        """The config with a random encoder, also where it would start from published weights."""
        encoder: Any = getattr(self, "encoder", None)
        if not getattr(encoder, "pretrained", False):
            return self
        return self.model_copy(update={"encoder": encoder.model_copy(update={"pretrained": False})})

    @abstractmethod
    def monitor(self, held_out: Any) -> Measures:
        """What measures health on a held-out batch."""

    def judge(self, readings: Sequence[Mapping[str, float]]) -> Verdict:
        """The verdict on what `monitor` has measured, oldest first."""
        return judge(readings, self.train.steps, self.model_dump(mode="json"))

    def hold_out(self, samples: Any) -> tuple[Tensor, Batch]:
        """Which samples to train on, ascending, and a batch of others that health is measured on.

        Raises:
            UserError: too few of them.
        """
        rows, held_out = hold_out(samples)
        self.require_room(len(held_out), samples)
        return rows, samples.read(held_out)

    def require_room(self, held_out: int, samples: Any) -> None:
        """Raises UserError where a batch of samples is larger than the machine's memory."""
        together = max(held_out, min(len(samples), self.train.batch_size // self.train.accumulate))
        require_room(
            together * math.prod(samples.shape),
            f"{together} {samples.noun} of shape {list(samples.shape)} together",
            "choose smaller sizes of the signal or a smaller train.batch_size",
        )


GROUPS = "openjepa.recipes", "openjepa.parts"
"""Entry points of installed packages by which commands find recipes and parts of other people's: a name, and the module
that registers them."""
_REGISTRY: dict[str, type[Recipe]] = {}
_UNLISTED: set[str] = set()


def register(name: str, *, listed: bool = True) -> Callable[[type[Recipe]], type[Recipe]]:
    """Enter a recipe under its command-line name; `listed` is False for what is no JEPA, such as fine-tuning."""

    def enter(cls: type[Recipe]) -> type[Recipe]:
        _REGISTRY[name] = cls
        if not listed:
            _UNLISTED.add(name)
        return cls

    return enter


def registered() -> Mapping[str, type[Recipe]]:
    """All JEPAs' recipes by name, in its order; with those of installed packages (see `GROUPS`)."""
    return {name: cls for name, cls in all_recipes().items() if name not in _UNLISTED}


def all_recipes() -> Mapping[str, type[Recipe]]:
    """All recipes by name, in its order, also what is no JEPA."""
    _import_installed()
    return dict(sorted(_REGISTRY.items()))


@cache
def _import_installed() -> None:
    for point in (point for group in GROUPS for point in entry_points(group=group)):
        try:
            point.load()
        except Exception as error:
            package = point.dist.name if point.dist else point.value
            what = point.group.rpartition(".")[2].removesuffix("s")
            warn(f"{what} {point.name} of {package} cannot be used: {type(error).__name__}: {error}")
