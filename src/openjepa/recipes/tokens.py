"""Recipes for signals that are cut into tokens: their six choices, built for whatever signal a recipe names."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from openjepa.common.rng import Rng
from openjepa.conditions import Condition
from openjepa.config import open_to_own
from openjepa.energies import Energy
from openjepa.errors import UserError
from openjepa.guards import Guard
from openjepa.health import Monitor
from openjepa.health.tasks import task_steps
from openjepa.jepa import JEPA, Pair, Parts, gather
from openjepa.nets.convnet import ConvNetEncoder
from openjepa.nets.heads import Head, NoHead
from openjepa.nets.predictor import Ports
from openjepa.nets.unused import unused
from openjepa.recipes.base import Recipe
from openjepa.signals.base import Samples
from openjepa.signals.images.signal import ImageSignal
from openjepa.targets import Target, require_levels


class TokenRecipe(Recipe):
    """Config of a recipe for a signal of tokens: the six choices, the sizes, the training.

    A recipe names the types of `signal`, `hiding`, `encoder` and `predictor`: a choice among those that fit together.
    """

    data: str = ""
    """What the signal opens: a name, a folder, a file."""
    signal: Any
    hiding: Any
    condition: Condition
    encoder: Any
    head: Head = NoHead()
    predictor: Any
    target: Target
    energy: Energy
    guard: Guard

    @classmethod
    def __pydantic_init_subclass__(cls, **options: Any) -> None:
        """Whatever a recipe chooses from, somebody's own part can take its place."""
        super().__pydantic_init_subclass__(**options)
        open_to_own(cls, ("hiding", "encoder", "predictor"))

    @classmethod
    def by_hand(
        cls, plain: dict[str, Any], base: Mapping[str, Any], changes: Mapping[str, str]
    ) -> dict[str, Any]:
        signal, saved = plain.get("signal"), base.get("signal", {})
        if not isinstance(signal, Mapping) or not isinstance(saved, Mapping):
            return plain  # for `parse` to refuse
        kind: Any = cls.model_fields["signal"].annotation
        return plain | {"signal": kind.by_hand(signal, saved, changes)}

    def open(self, data: Any, adapt: bool) -> Samples:
        return self.signal.open(self._named(data), adapt=adapt)

    def samples(self, data: Any, split: str = "train") -> Any:
        """Samples as the trained model takes them; a warning where they seem to be in other units.

        Raises:
            UserError: data that cannot be read, or not be used.
        """
        found = self.signal.open(self._named(data), split)
        self.signal.check(found)
        return found

    def _named(self, data: Any) -> Any:
        """The data; UserError for an empty name, which as a path is the working directory."""
        if isinstance(data, str) and not data:
            raise UserError(f"{self.recipe} learns from {self.signal.noun}: name them with --data")
        return data

    def adapt(self, samples: Any) -> Self:
        """The signal is fitted to the samples."""
        signal = self.signal.fitted(samples)
        if signal == self.signal:
            return self
        return type(self).parse(self.model_dump(mode="json") | {"signal": signal.model_dump(mode="json")})

    def adapted(self, before: Any) -> str:
        return self.signal.changed(before.signal)

    def monitor(self, held_out: Any) -> Monitor:
        tasks, train = self.signal.tasks(held_out), self.train
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
        hiding = self.hiding.build(self.signal)
        target = self.target.of(self.signal)
        out = target.width or width
        require_levels(self.target, out)
        if out != width and self.predictor.kind == "none":
            raise UserError(
                f"--target {self.target.kind} gives {out} numbers a token and the encoder {width}: add a predictor, "
                "such as --predictor transformer"
            )
        positions = getattr(encoder, "positions", None)
        ports = Ports(self.signal, width, out, self.condition.kind, self.hiding.kinds, positions)
        return JEPA(
            self,
            Parts(
                signal=self.signal,
                hiding=hiding,
                encoder=encoder,
                head=head,
                predictor=self.predictor.build(ports),
                target=target,
                energy=self.energy,
                guard=self.guard,
                guard_on=guarded_embeddings,
                unused=partial(unused, hidden=self.hiding.hides),
            ),
        )


def require_tokens(who: str | Path, config: Recipe) -> TokenRecipe:
    """The config, of samples with tokens; UserError, which names `who` asked, for a recipe of episodes."""
    if not isinstance(config, TokenRecipe):
        raise UserError(
            f"{who}: {config.recipe} learns from episodes, and this is for recipes of images, clips and other samples"
        )
    return config


GUARDED_TOKENS = 4
"""Tokens per sample that a guard sees where the energy compares tokens."""


def guarded_embeddings(pairs: Sequence[Pair], s_x: list[Tensor], s_y: list[Tensor], rng: Rng) -> list[Tensor]:
    """`[B, D]` embeddings for a guard: one per view, or a few tokens drawn at random where a view has many.

    Tokens come from the target branch if gradients reach it, else from the context. Where samples have unequal numbers
    of tokens, each draws its own.
    """
    if s_x[0].shape[1] == 1:
        return [s[:, 0] for s in s_x]
    of_target = s_y[0].requires_grad
    tokens = s_y[0] if of_target else s_x[0]
    valid = pairs[0].target[0].there if of_target else pairs[0].context.present
    if valid is not None:
        order = rng.uniform(*valid.shape).to(valid.device).masked_fill(~valid, -1)
        drawn = order.topk(min(GUARDED_TOKENS, valid.shape[1]), 1).indices
        again = torch.arange(GUARDED_TOKENS, device=drawn.device) % valid.sum(1, keepdim=True).clamp_min(1)
        return list(gather(tokens, drawn.gather(1, again)).unbind(1))  # of fewer, some come twice
    order = torch.randperm(tokens.shape[1], generator=rng.generator())
    return [tokens[:, i] for i in order[:GUARDED_TOKENS].tolist()]


def _check_fit(recipe: TokenRecipe) -> None:
    hiding, views, tokens = recipe.hiding.kind, recipe.hiding.kind == "crops", not recipe.head.pools
    if not views and recipe.predictor.kind == "none":
        raise UserError(
            f"--hiding {hiding} hides tokens that only a predictor can fill in: add --predictor transformer"
        )
    if not views and not tokens:
        raise UserError(
            f"--hiding {hiding} predicts tokens, which --head {recipe.head.kind} pools away: use --head none"
        )
    if recipe.hiding.ragged and recipe.predictor.kind == "convolutional":
        raise UserError(
            f"--hiding {hiding} may hide unequal numbers of tokens, which --predictor convolutional cannot tell apart: "
            "use --predictor transformer"
        )
    if getattr(recipe.predictor, "context", False) and not getattr(recipe.hiding, "dense", False):
        raise UserError(
            f"--hiding {hiding} asks for hidden tokens alone, which --predictor.context true has a second head beside: "
            "use --predictor.context false"
        )
    if recipe.predictor.kind == "in-place" and getattr(recipe.encoder, "hide", "drop") != "replace":
        raise UserError(
            "--predictor in-place predicts from mask tokens of the encoder, which leaves hidden tokens out: "
            "add --encoder.hide replace, which a vit has"
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


def _check_map(recipe: TokenRecipe, encoder: Any) -> None:
    """Raises UserError unless the encoder gives one feature a token, and enough: tokens are compared one by one."""
    signal, features = recipe.signal, encoder.layout(recipe.signal.layout)
    fixed = getattr(encoder, "stride", None)  # of an encoder whose feature map does not follow signal.patch
    if recipe.hiding.kind == "crops":
        if features != signal.layout and recipe.hiding.drop and isinstance(encoder, ConvNetEncoder):
            raise UserError(
                f"the encoder gives {features[0]}x{features[1]} features and --hiding.drop hides some of "
                f"{signal.layout[0]}x{signal.layout[1]} patches: use --signal.patch {encoder.stride}, or "
                "--hiding.drop 0"
            )
        return
    images = isinstance(signal, ImageSignal)
    if features == signal.layout and (fixed is None or not images or _can_hide(recipe, features)):
        return
    if getattr(encoder, "vector", False):
        raise UserError(
            f"--encoder {recipe.encoder.kind} gives one vector an image, and --hiding {recipe.hiding.kind} predicts "
            "tokens: let it give a map [B, D, h, w], or hide whole views, as lejepa does"
        )
    if not images:
        raise UserError(
            f"the encoder gives features on a grid of {features}, --hiding {recipe.hiding.kind} hides tokens on one of "
            f"{signal.layout}: use an encoder that keeps the grid, such as vit"
        )
    stride = fixed or max(1, signal.size // features[0])
    side = next(
        n for n in (features[0], *range(USEFUL_GRID, 33)) if n >= USEFUL_GRID and _can_hide(recipe, (n, n))
    )
    one = "" if _alike(recipe, encoder) else " --target.layers 1"
    raise UserError(
        f"the encoder gives {features[0]}x{features[1]} features of {signal.size} px images, --hiding "
        f"{recipe.hiding.kind} hides {signal.layout[0]}x{signal.layout[1]} patches: use --signal.size {stride * side} "
        f"--signal.patch {stride}{one} ({side}x{side} of both), or hide whole views, as lejepa does"
    )


USEFUL_GRID = 7
"""Fewest features along a side that an error advises: as many as a convnet has of 224 px."""


def _can_hide(recipe: TokenRecipe, sides: tuple[int, ...]) -> bool:
    side = sides[0]
    try:
        recipe.hiding.build(recipe.signal.model_copy(update={"size": side, "patch": 1}))
    except UserError:
        return False
    return True


def _alike(recipe: TokenRecipe, encoder: Any) -> bool:
    """Whether the layers that the target averages have one size."""
    alike = getattr(encoder, "alike", None)
    return alike is None or alike(getattr(recipe.target, "layers", 1))


def _check_layers(recipe: TokenRecipe, encoder: Any) -> None:
    if not _alike(recipe, encoder):
        count = getattr(recipe.target, "layers", 1)
        raise UserError(
            f"--target.layers {count} takes the mean of the encoder's last {count} layers, which differ in size here: "
            "use --target.layers 1"
        )
