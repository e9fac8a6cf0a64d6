"""Recipes for images: their six choices, and how their data are opened and fitted."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

import torch
from pydantic import Field
from torch import Tensor

from openjepa.config import Choice
from openjepa.energies import Energy
from openjepa.errors import UserError
from openjepa.guards import Guard
from openjepa.health import Monitor
from openjepa.health.tasks import task_steps
from openjepa.hiding import Hiding
from openjepa.jepa import JEPA, Parts
from openjepa.nets.convnet import ConvNet, ConvNetEncoder
from openjepa.nets.heads import Head
from openjepa.nets.predictor import Predictor
from openjepa.nets.timm import Timm
from openjepa.nets.transformer import ViT
from openjepa.recipes.base import Recipe
from openjepa.rng import Rng
from openjepa.samples import hold_out
from openjepa.signals.images import ImageSet, open_images
from openjepa.signals.images.signal import ImageSignal
from openjepa.signals.images.tasks import image_tasks
from openjepa.targets import Target

MEASURED = 2000
"""Images from which a channel's mean and std are measured."""

Encoder = Annotated[ViT | ConvNet | Timm, Field(discriminator="kind")]


class Positions(Choice):
    """The predictor is told where the hidden tokens lie."""

    kind: Literal["positions"] = "positions"


class Nothing(Choice):
    """The predictor is told nothing."""

    kind: Literal["none"] = "none"


Condition = Annotated[Positions | Nothing, Field(discriminator="kind")]


class ImageRecipe(Recipe):
    """The six choices, the sizes, the training."""

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

    def open(self, data: Any, adapt: bool) -> ImageSet:
        """Images at the config's size; in the config's channels unless `adapt`."""
        if isinstance(data, ImageSet):
            return data
        return open_images(data, size=self.signal.size, channels=None if adapt else self.signal.channels)

    def adapt(self, samples: ImageSet) -> Self:
        """Where the channels change, the mean and std of each are measured on the images that are trained on."""
        if samples.shape[0] == self.signal.channels:
            return self
        mean, std = channel_statistics(samples)
        signal = self.signal.model_dump() | {"channels": samples.shape[0], "mean": mean, "std": std}
        return type(self).parse(self.model_dump(mode="json") | {"signal": signal})

    def adapted(self, before: Any) -> str:
        signal = self.signal
        if signal == before.signal:
            return ""
        return (
            f"the data have {signal.channels} channels, not {before.signal.channels}: "
            f"normalising with their mean {list(signal.mean)} and std {list(signal.std)}"
        )

    def monitor(self, held_out: Tensor) -> Monitor:
        tasks, train = image_tasks(self.signal.to_float(torch.as_tensor(held_out))), self.train
        every = max(1, round(train.health_every * train.steps))
        return Monitor(
            held_out, tasks=tasks, task_steps=task_steps(train.steps, every, train.batch_size, tasks.encoded)
        )

    def build(self) -> JEPA:
        """The model, initialised from torch's current random state (see `recipes.build` for a seeded one).

        Raises:
            UserError: choices that cannot go together, masks that can never hold.
        """
        _check_fit(self)
        encoder = self.encoder.build(self.signal)
        _check_map(self, encoder)
        _check_layers(self, encoder)
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


def _check_fit(recipe: ImageRecipe) -> None:
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


def _check_map(recipe: ImageRecipe, encoder: Any) -> None:
    """Hidden tokens are compared one by one, so the encoder must give one feature a token, and enough of them."""
    signal, features = recipe.signal, encoder.grid(recipe.signal.grid)
    fixed = getattr(encoder, "stride", None)  # of an encoder whose feature map does not follow signal.patch
    if recipe.hiding.kind == "crops":
        if features != signal.grid and recipe.hiding.drop and isinstance(encoder, ConvNetEncoder):
            raise UserError(
                f"the encoder gives {features[0]}x{features[1]} features and --hiding.drop hides some of "
                f"{signal.grid[0]}x{signal.grid[1]} patches: use --signal.patch {encoder.stride}, or --hiding.drop 0"
            )
        return
    if features == signal.grid and (fixed is None or _can_hide(recipe, features[0])):
        return
    stride = fixed or max(1, signal.size // features[0])
    side = next(
        n for n in (features[0], *range(USEFUL_GRID, 33)) if n >= USEFUL_GRID and _can_hide(recipe, n)
    )
    one = "" if _alike(recipe, encoder) else " --target.layers 1"
    raise UserError(
        f"the encoder gives {features[0]}x{features[1]} features of {signal.size} px images, --hiding "
        f"{recipe.hiding.kind} hides {signal.grid[0]}x{signal.grid[1]} patches: use --signal.size {stride * side} "
        f"--signal.patch {stride}{one} ({side}x{side} of both), or hide whole views, as lejepa does"
    )


USEFUL_GRID = 7
"""Features along a side that are advised at least, as many as a convnet has of 224 px."""


def _can_hide(recipe: ImageRecipe, side: int) -> bool:
    try:
        recipe.hiding.build(recipe.signal.model_copy(update={"size": side, "patch": 1}))
    except UserError:
        return False
    return True


def _alike(recipe: ImageRecipe, encoder: Any) -> bool:
    """Whether the layers of which the target takes the mean have one size."""
    alike = getattr(encoder, "alike", None)
    return alike is None or alike(getattr(recipe.target, "layers", 1))


def _check_layers(recipe: ImageRecipe, encoder: Any) -> None:
    if not _alike(recipe, encoder):
        count = getattr(recipe.target, "layers", 1)
        raise UserError(
            f"--target.layers {count} takes the mean of the encoder's last {count} layers, which differ in size here: "
            "use --target.layers 1"
        )


def require_images(who: str | Path, config: Recipe) -> "ImageRecipe":
    """The config, of images; UserError, which names `who` asked, for a recipe of anything else."""
    if not isinstance(config, ImageRecipe):
        raise UserError(f"{who}: {config.recipe} learns from episodes, and this is for recipes of images")
    return config


def channel_statistics(images: ImageSet) -> tuple[list[float], list[float]]:
    """Mean and std of each channel, in 0..1, of up to 2,000 of the images that are trained on."""
    rows, _ = hold_out(images)
    some = rows[torch.linspace(0, len(rows) - 1, min(MEASURED, len(rows))).long()]
    pixels = images.read(some).transpose(0, 1).flatten(1).double() / 255
    mean, std = pixels.mean(1), pixels.std(1).clamp(min=0.01)
    return [round(v, 4) for v in mean.tolist()], [round(v, 4) for v in std.tolist()]
