"""A recipe: one row of the table of choices, with its training, as one typed config."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from openjepa.config import Choice, Config
from openjepa.energies import Energy
from openjepa.errors import UserError
from openjepa.guards import Guard
from openjepa.hiding import Hiding
from openjepa.jepa import JEPA, Parts
from openjepa.nets.heads import Head
from openjepa.nets.predictor import Predictor
from openjepa.nets.timm import Timm
from openjepa.nets.transformer import ViT
from openjepa.rng import Rng
from openjepa.signals.images.signal import ImageSignal
from openjepa.targets import Target

Encoder = Annotated[ViT | Timm, Field(discriminator="kind")]


class Positions(Choice):
    """The predictor is told where the hidden tokens lie."""

    kind: Literal["positions"] = "positions"


class Nothing(Choice):
    """The predictor is told nothing."""

    kind: Literal["none"] = "none"


Condition = Annotated[Positions | Nothing, Field(discriminator="kind")]


class Training(Config):
    """Optimisation. What depends on the run's length is a fraction of it."""

    steps: int = Field(10_000, ge=1)
    batch_size: int = Field(256, ge=2)
    """Samples per optimiser step, over all processes."""
    accumulate: int = Field(1, ge=1)
    """Micro-batches per optimiser step."""
    lr: float = Field(1e-3, gt=0)
    """Peak of AdamW's learning rate."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """After warm-up: cosine to `final_lr`, or constant with a linear cooldown."""
    warmup: float = Field(0.1, ge=0, lt=1)
    """Share of the steps in which the learning rate rises linearly from `start_lr`."""
    cooldown: float = Field(0.05, ge=0, le=1)
    """Share of the steps of the linear descent that ends a constant schedule."""
    start_lr: float = Field(0.0, ge=0, le=1)
    """At the first step, as a share of `lr`."""
    final_lr: float = Field(0.0, ge=0, le=1)
    """At the last step, as a share of `lr`."""
    weight_decay: float = Field(0.05, ge=0)
    """Not on biases, norms and other 1-D parameters."""
    final_weight_decay: float | None = Field(None, ge=0)
    """Reached by a cosine; `None` keeps it constant."""
    beta2: float = Field(0.999, gt=0, lt=1)
    clip: float | None = Field(None, gt=0)
    """Largest gradient norm."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """`auto`: bf16 where the hardware computes in it, else fp32."""
    compile: bool = False
    """Compile each transformer block."""
    seed: int = Field(0, ge=0)
    workers: int = Field(2, ge=0)
    """Decoding processes for sets that do not fit into memory."""
    health_every: float = Field(0.02, gt=0, le=1)
    """Share of the steps between two looks at the held-out batch."""
    save_every: float = Field(0.1, gt=0, le=1)
    """Share of the steps between two checkpoints."""
    keep: int = Field(2, ge=1)
    """Checkpoints kept, the latest."""
    on_collapse: Literal["warn", "stop", "rollback"] = "warn"


class Recipe(Config):
    """The six choices, the sizes, the training."""

    presets: ClassVar[dict[str, dict[str, Any]]] = {}
    paper: ClassVar[str] = ""

    recipe: str
    preset: str
    data: str = "fashion-mnist"
    """A name, a folder of images, tar shards, or a numpy file."""
    signal: ImageSignal = ImageSignal()
    hiding: Hiding
    condition: Condition
    encoder: Encoder = ViT()
    head: Head
    predictor: Predictor
    target: Target
    energy: Energy
    guard: Guard
    train: Training = Training()

    def build(self) -> JEPA:
        """The model, initialised from torch's current random state (see `recipes.build` for a seeded one).

        Raises:
            UserError: choices that cannot go together, masks that can never hold.
        """
        _check_fit(self)
        encoder = self.encoder.build(self.signal)
        _check_map(self, encoder.grid(self.signal.grid))
        width = self.head.out(encoder.width)
        head = self.head.build(encoder.width)
        return JEPA(
            self,
            Parts(
                signal=self.signal,
                hiding=self.hiding.build(self.signal),
                encoder=encoder,
                head=head,
                predictor=self.predictor.build(width, self.signal.grid, self.condition.kind),
                target=self.target.build(),
                energy=self.energy,
                guard=self.guard,
                guard_on=guarded_embeddings,
            ),
        )


GUARDED_TOKENS = 4
"""Tokens per sample that a guard sees where the energy compares tokens."""


def guarded_embeddings(s_x: list[Tensor], s_y: Tensor, rng: Rng) -> list[Tensor]:
    """`[B, D]` embeddings for a guard: one per view, or a few tokens drawn at random where a view has many.

    Tokens come from the target branch if gradients reach it, else from the context.
    """
    if s_x[0].shape[1] == 1:
        return [s[:, 0] for s in s_x]
    tokens = s_y if s_y.requires_grad else s_x[0]
    order = torch.randperm(tokens.shape[1], generator=rng.generator())
    return [tokens[:, i] for i in order[:GUARDED_TOKENS].tolist()]


def _check_fit(recipe: Recipe) -> None:
    hiding, views, tokens = recipe.hiding.kind, recipe.hiding.kind == "crops", recipe.head.kind == "none"
    if not views and recipe.predictor.kind == "none":
        raise UserError(
            f"--hiding {hiding} hides tokens that only a predictor can fill in: add --predictor transformer"
        )
    if not views and not tokens:
        raise UserError(
            f"--hiding {hiding} predicts tokens, which --head projector pools away: use --head none"
        )
    if views and tokens:
        raise UserError("--hiding crops compares whole views: use --head projector")
    if views and recipe.predictor.kind != "none":
        raise UserError(
            "--hiding crops compares whole views, whose tokens do not correspond: use --predictor none"
        )


def _check_map(recipe: Recipe, features: tuple[int, int]) -> None:
    """Hidden tokens are compared one by one, so the encoder must give one feature a token."""
    grid, size = recipe.signal.grid, recipe.signal.size
    if recipe.hiding.kind != "crops" and features != grid:
        raise UserError(
            f"this encoder gives {features[0]}x{features[1]} features, --hiding {recipe.hiding.kind} hides "
            f"{grid[0]}x{grid[1]} patches: set signal.patch to {max(1, size // features[0])}, or hide whole views with "
            f"--hiding crops"
        )


_REGISTRY: dict[str, type[Recipe]] = {}


def register(name: str) -> Callable[[type[Recipe]], type[Recipe]]:
    """Enter a recipe under its command-line name."""

    def enter(cls: type[Recipe]) -> type[Recipe]:
        _REGISTRY[name] = cls
        return cls

    return enter


def registered() -> Mapping[str, type[Recipe]]:
    """All recipes by name."""
    return _REGISTRY
