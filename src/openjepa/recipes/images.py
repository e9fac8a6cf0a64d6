"""Recipes for images: their six choices, and how their data are opened and fitted."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import torch
from pydantic import Field
from torch import Tensor

from openjepa.common.rng import Rng
from openjepa.config import Choice
from openjepa.energies import Energy
from openjepa.errors import UserError, warn
from openjepa.guards import Guard
from openjepa.health import Monitor
from openjepa.health.tasks import task_steps
from openjepa.hiding import Crops, Hiding
from openjepa.jepa import JEPA, Parts
from openjepa.nets.convnet import ConvNetEncoder
from openjepa.nets.encoders import Encoder
from openjepa.nets.heads import Head
from openjepa.nets.predictor import Predictor
from openjepa.nets.transformer import ViT
from openjepa.nets.unused import unused
from openjepa.recipes.base import Recipe
from openjepa.signals.images import ImageSet, open_images
from openjepa.signals.images.signal import ImageSignal
from openjepa.signals.images.tasks import image_tasks
from openjepa.targets import Target

MEASURABLE = ("range", "mean", "std")
"""Numbers of the signal that are measured on the training images."""
NEAR = 0.02
"""A configured mean or std is kept if it differs from the measured one by less than this, in stds."""
LEAST_STD = 1e-5
"""Smallest std of a channel that is normalised, in units of the range."""
OUTLYING = 0.02
"""A few values seem to be outliers if nearly all others keep within this part of the range."""
OTHER_UNITS = 0.1
"""Images with less than this part of the training images' spread are probably in other units."""


class Positions(Choice):
    """The predictor is told where the hidden tokens lie."""

    kind: Literal["positions"] = "positions"


class Nothing(Choice):
    """The predictor is told nothing."""

    kind: Literal["none"] = "none"


Condition = Annotated[Positions | Nothing, Field(discriminator="kind")]


class ImageRecipe(Recipe):
    """Config of an image recipe: the six choices, the sizes, the training."""

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

    @classmethod
    def by_hand(
        cls, plain: dict[str, Any], base: Mapping[str, Any], changes: Mapping[str, str]
    ) -> dict[str, Any]:
        signal, saved = plain.get("signal"), base.get("signal", {})
        if not isinstance(signal, Mapping) or not isinstance(saved, Mapping):
            return plain  # for `parse` to refuse
        signal, found = dict(signal), saved.get("measure") or ()
        given = {name for name in MEASURABLE if name in saved and name not in found}
        given |= {name for name in MEASURABLE if f"signal.{name}" in changes}
        if "signal.measure" not in changes:
            signal["measure"] = [name for name in MEASURABLE if name not in given]
        for name in ("mean", "std"):  # until they are measured
            values = signal.get(name)
            if name in signal.get("measure", ()) and isinstance(values, list | tuple):
                fits = len(values) in (1, signal.get("channels"))
                signal[name] = values if fits else [sum(values) / len(values)]
        return plain | {"signal": signal}

    def open(self, data: Any, adapt: bool) -> ImageSet:
        """Images at the config's size; in the config's channels unless `adapt`."""
        if isinstance(data, ImageSet):
            return data
        return open_images(data, size=self.signal.size, channels=None if adapt else self.signal.channels)

    def images(self, data: Any, split: str = "train") -> ImageSet:
        """Images as the trained model takes them; a warning where they seem to be in other units.

        Raises:
            UserError: data that cannot be read, or not be used.
        """
        found = open_images(data, split=split, size=self.signal.size, channels=self.signal.channels)
        _check_units(found, self.signal)
        return found

    def adapt(self, samples: ImageSet) -> Self:
        """Channels are those of the images; range, mean and std, unless set by hand, are measured on them."""
        signal = fitted(self.signal, samples)
        if signal == self.signal:
            return self
        return type(self).parse(self.model_dump(mode="json") | {"signal": signal.model_dump(mode="json")})

    def adapted(self, before: Any) -> str:
        signal, then, said = self.signal, before.signal, []
        if signal.channels != then.channels:
            said.append(f"the data have {signal.channels} channels, not {then.channels}")
        if signal.range != then.range and signal.range is not None:
            said.append(f"values from {signal.range[0]:g} to {signal.range[1]:g} become 0 to 1")
        if said:
            said.append(f"normalising with mean {_some(signal.mean)} and std {_some(signal.std)}")
        return "; ".join(said)

    def monitor(self, held_out: Tensor) -> Monitor:
        tasks, train = image_tasks(torch.as_tensor(held_out)), self.train
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
                unused=partial(unused, hidden=not isinstance(self.hiding, Crops) or self.hiding.drop > 0),
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
    apart = getattr(recipe.hiding, "target_augment", None) is not None
    if apart and recipe.predictor.kind == "convolutional":
        raise UserError(
            "--hiding.target_augment puts targets outside the context's grid, where --predictor convolutional cannot "
            "reach: use --predictor transformer"
        )
    if views and tokens:
        raise UserError("--hiding crops compares whole views: use --head projector")
    if views and recipe.predictor.kind != "none":
        raise UserError(
            "--hiding crops compares whole views, whose tokens do not correspond: use --predictor none"
        )


def _check_map(recipe: ImageRecipe, encoder: Any) -> None:
    """Raises UserError unless the encoder gives one feature a token, and enough: tokens are compared one by one."""
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
"""Fewest features along a side that an error advises: as many as a convnet has of 224 px."""


def _can_hide(recipe: ImageRecipe, side: int) -> bool:
    try:
        recipe.hiding.build(recipe.signal.model_copy(update={"size": side, "patch": 1}))
    except UserError:
        return False
    return True


def _alike(recipe: ImageRecipe, encoder: Any) -> bool:
    """Whether the layers that the target averages have one size."""
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


def fitted(signal: ImageSignal, images: ImageSet) -> ImageSignal:
    """The signal with the images' channels and what `signal.measure` names, measured on them.

    Raises:
        UserError: images that are all one value, or numbers set by hand for another number of channels.
    """
    found, channels = images.statistics, images.shape[0]
    changed: dict[str, Any] = {"channels": channels}
    if signal.measure:
        _check_values(images)
    limits = found.limits if "range" in signal.measure else signal.range
    changed["range"] = limits
    bottom, top = limits or ((0.0, 255.0) if found.whole else (0.0, 1.0))
    mean = [(value - bottom) / (top - bottom) for value in found.mean]
    std = [value / (top - bottom) for value in found.std]
    std = [value if value >= LEAST_STD else 1.0 for value in std]
    known = {"mean": signal.mean, "std": signal.std}
    for name, values in (("mean", mean), ("std", std)):
        if name in signal.measure:
            near = len(known[name]) == channels and all(
                abs(a - b) < NEAR * s for a, b, s in zip(known[name], values, std, strict=True)
            )
            changed[name] = known[name] if near else [float(f"{value:.4g}") for value in values]
        elif len(known[name]) not in (1, channels):
            raise UserError(
                f"signal.{name} has {len(known[name])} numbers, the images have {channels} channels: give one number "
                f"or one for each channel, or have them measured with --signal.measure '[mean, std]'"
            )
    return ImageSignal.parse(signal.model_dump(mode="json") | changed)


def _check_values(images: ImageSet) -> None:
    found = images.statistics
    if found.low == found.high:
        raise UserError(
            f"{images.name}: every value of every image is {found.low:g}, so there is nothing to learn"
        )
    if found.constant:
        some = ", ".join(map(str, found.constant[:8])) + (", ..." if len(found.constant) > 8 else "")
        warn(
            f"{images.name}: {len(found.constant):,} images hold one value all over and teach nothing ({some})"
        )
    limits = found.limits
    low, high = found.bulk
    if limits is not None and high - low < OUTLYING * (limits[1] - limits[0]):
        warn(
            f"{images.name}: nearly all values lie in {low:g} to {high:g}, a few in {limits[0]:g} to {limits[1]:g}: if "
            "these are outliers, set signal.range by hand"
        )


def _check_units(images: ImageSet, signal: ImageSignal) -> None:
    """Warn where images have so little spread beside the training images' that their units must differ."""
    found = images.statistics
    bottom, top = signal.range or ((0.0, 255.0) if found.whole else (0.0, 1.0))
    spread = max(found.std) / (top - bottom)
    if 0 < spread < OTHER_UNITS * max(signal.std):
        warn(
            f"{images.name}: its values, {found.low:g} to {found.high:g}, have {max(signal.std) / spread:.0f} times "
            f"less spread than the training images', on a scale of {bottom:g} to {top:g}: are they in other units?"
        )


def _some(values: Sequence[float]) -> str:
    return str(list(values)) if len(values) <= 4 else f"of {len(values)} channels"
