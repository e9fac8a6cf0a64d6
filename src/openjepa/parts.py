"""Parts of one's own: a function or a class becomes a choice that recipes can be swapped to.

    from torch import nn
    from openjepa import parts

    @parts.encoder
    def small_net(signal, width: int = 64):
        return nn.Sequential(nn.Conv2d(signal.channels, width, 4, 4), nn.GELU(), nn.Conv2d(width, width, 1))

    openjepa train i-jepa --encoder my_net.py:small_net --encoder.width 32

One rule serves all: what the choice hands over comes first, without a default; every other argument has one and becomes
an option of that name and type. The part's kind is its name, in lower case with hyphens (`SmallNet`, `small_net`:
`small-net`). A class derived from `Choice` is entered as it is.
"""

import inspect
import re
import typing
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal, TypeVar

import torch
from pydantic import Field, create_model
from pydantic.errors import PydanticSchemaGenerationError
from torch import Tensor, nn

from openjepa.common.rng import Rng
from openjepa.config import Choice, Width, enter
from openjepa.energies import EnergyChoice
from openjepa.errors import UserError, first_line
from openjepa.hiding.base import HidingChoice, masked_pair, there_of
from openjepa.jepa import Pair, Tokens, View
from openjepa.nets.adapter import NetEncoder, QueryPredictor, StepPredictor
from openjepa.nets.dynamics.base import Grid
from openjepa.nets.dynamics.gru import require_vectors
from openjepa.nets.predictor import Ports
from openjepa.targets import Represent, TargetBase, TargetChoice

Made = TypeVar("Made", bound=Callable[..., Any])


class OwnPart(Choice):
    """A choice made of somebody's function or class.

    Attributes:
        function: what they wrote.
        options: the names of its arguments that are options.
    """

    function: ClassVar[Callable[..., Any]]
    options: ClassVar[tuple[str, ...]] = ()
    handed: ClassVar[tuple[str, ...]] = ()
    """What the choice hands over, for what is said where that does not fit."""

    def call(self, *given: Any) -> Any:
        """What the function gives, with the options' values."""
        return type(self).function(*given, **{name: getattr(self, name) for name in self.options})


class OwnEncoder(OwnPart):
    """Called with the signal; gives a network of pictures (see `NetEncoder`)."""

    handed: ClassVar[tuple[str, ...]] = ("signal",)

    def build(self, signal: Any) -> NetEncoder:
        """Raises UserError where the network does not fit the signal."""
        return NetEncoder(self.call(signal), signal, self.kind)


class OwnStem(OwnEncoder):
    """Called with the signal; gives a network of pictures with one output a patch (see `NetEncoder`)."""


class OwnPredictor(OwnPart):
    """Called with the width; gives a network of queries and context (see `QueryPredictor`)."""

    handed: ClassVar[tuple[str, ...]] = ("width",)
    width: Width | None = None
    """Numbers of a token inside; none: as many as the encoder's."""

    def build(self, ports: Ports) -> QueryPredictor:
        width = self.width or ports.width
        return QueryPredictor(self.call(width), ports, width, self.kind)


class OwnDynamics(OwnPart):
    """Called with the widths of state and action; gives a network of both (see `StepPredictor`)."""

    handed: ClassVar[tuple[str, ...]] = ("width", "actions")

    def build(
        self, width: int, condition_dim: int, grid: Grid | None = None, head: nn.Module | None = None
    ) -> StepPredictor:
        """Raises UserError when states are not vectors."""
        require_vectors(self, grid)
        return StepPredictor(self.call(width, condition_dim), width, condition_dim, head, self.kind)


class OwnEnergy(OwnPart, EnergyChoice):
    """Called with prediction and target, `[..., D]`; gives one number a token, `[...]`."""

    handed: ClassVar[tuple[str, ...]] = ("prediction", "target")

    def __call__(self, prediction: Tensor, target: Tensor) -> Tensor:
        found = self.call(prediction, target)
        if found.shape != prediction.shape[:-1]:
            raise UserError(
                f"{self.kind} gives energies of shape {list(found.shape)} for predictions of {list(prediction.shape)}: "
                "give one number a token, the mean over the last axis"
            )
        return found


class OwnGuard(OwnPart):
    """Called with embeddings `[B, D]`; gives a penalty, of which the mean over all sets is added to the energy.

    On several processes it is computed on each one's part of the batch, unless it takes its moments by
    `openjepa.common.distributed.global_mean`.
    """

    handed: ClassVar[tuple[str, ...]] = ("embeddings",)
    weight: float = Field(1.0, ge=0)

    @property
    def of_batch(self) -> bool:
        return True

    def __call__(self, embeddings: list[Tensor], rng: Rng) -> tuple[Tensor, dict[str, Tensor]]:
        penalty = torch.stack([self.call(z) for z in embeddings]).mean()
        return penalty, {self.kind: penalty.detach()}

    def combine(self, energy: Tensor, penalty: Tensor) -> Tensor:
        return energy + self.weight * penalty


class OwnHiding(OwnPart, HidingChoice):
    """Called with tokens and `Rng`; gives which tokens are hidden, `[B, N]` bool. The others are the context."""

    handed: ClassVar[tuple[str, ...]] = ("tokens", "rng")
    ragged: ClassVar[bool] = True

    def build(self, signal: Any) -> "OwnMask":
        return OwnMask(self, signal)


class OwnMask:
    """A batch to one pair: what a mask leaves is the context, what it hides is asked for."""

    def __init__(self, config: OwnHiding, signal: Any) -> None:
        self.config, self.signal = config, signal

    def __call__(self, batch: Any, rng: Rng) -> list[Pair]:
        tokens = self.signal.tokenise(batch)
        return [self.pair(tokens, self.config.call(tokens, rng).to(tokens.values.device))]

    def pair(self, tokens: Tokens, hidden: Tensor) -> Pair:
        """The pair of a mask `[B, N]`. Raises UserError where a sample hides nothing, or all."""
        shape, name = tokens.values.shape[:2], self.config.kind
        if hidden.shape != shape or hidden.dtype != torch.bool:
            raise UserError(
                f"{name} gives {hidden.dtype} of shape {list(hidden.shape)}, not bool of {list(shape)}"
            )
        there = there_of(tokens)
        hidden, shown = hidden & there, there & ~hidden
        if not bool(hidden.any(1).all() and shown.any(1).all()):
            raise UserError(f"{name} must hide some tokens of every sample, and never all")
        return masked_pair(tokens, hidden, tokens, None)


class OwnTarget(OwnPart, TargetChoice):
    """Called with the signal; gives a network of pictures, never trained, whose features are predicted."""

    handed: ClassVar[tuple[str, ...]] = ("signal",)

    def build(self) -> TargetBase:
        raise UserError(f"--target {self.kind} is for recipes of images and other samples, not of episodes")

    def of(self, signal: Any) -> "OperatorTarget":
        return OperatorTarget(self, NetEncoder(self.call(signal), signal, self.kind))


class OperatorTarget(TargetBase):
    """Whole views through a network that stays as it is.

    Attributes:
        width: D of what it gives.
    """

    def __init__(self, config: OwnTarget, net: NetEncoder) -> None:
        super().__init__(config)
        self.net, self.width = net.requires_grad_(False), net.width
        if net.layout(None) != net.signal.layout:
            raise UserError(
                f"{config.kind} gives features on a grid of {net.layout(None)}, and one a token is wanted, "
                f"{net.signal.layout}"
            )

    def train(self, mode: bool = True) -> "OperatorTarget":
        """Always in eval mode: batch normalisation would else change with every batch it sees."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, views: Sequence[View], represent: Represent) -> list[Tensor]:
        return [self.net(view) for view in views]


def encoder(made: Made) -> Made:
    """An encoder: given the signal, a network from pictures to a map, a vector or tokens.

    Examples:
        >>> @encoder
        ... def patch_net(signal, width: int = 32):
        ...     return torch.nn.Conv2d(signal.channels, width, signal.patch, signal.patch)
        >>> from openjepa.recipes import build, configure
        >>> model = build(configure("i-jepa", "tiny-vit", {"encoder": "patch-net", "encoder.width": "16"}))
        >>> tuple(model.embed(torch.rand(2, 1, 28, 28)).shape)
        (2, 16)
    """
    return _enter("encoder", OwnEncoder, made)


def stem(made: Made) -> Made:
    """A stem of the transformer: given the signal, a network from pictures to a map with one place a patch."""
    return _enter("stem", OwnStem, made)


def predictor(made: Made) -> Made:
    """A predictor: given a width, a network from queries and context to answers, `[B, Q, width]`."""
    return _enter("predictor", OwnPredictor, made)


def dynamics(made: Made) -> Made:
    """A world model's predictor: given the widths of state and action, a network of both to the next state."""
    return _enter("dynamics", OwnDynamics, made)


def target(made: Made) -> Made:
    """A target: given the signal, a network from pictures to one feature vector a token; it is not trained."""
    return _enter("target", OwnTarget, made)


def energy(made: Made) -> Made:
    """An energy: given prediction and target `[..., D]`, one number a token.

    Examples:
        >>> @energy
        ... def power(prediction, target, exponent: float = 3.0):
        ...     return (prediction - target).abs().pow(exponent).mean(-1)
        >>> from openjepa.recipes import configure
        >>> configure("i-jepa", "tiny-vit", {"energy": "power", "energy.exponent": "4"}).energy.exponent
        4.0
    """
    return _enter("energy", OwnEnergy, made)


def hiding(made: Made) -> Made:
    """A mask: given tokens and `Rng`, which tokens are hidden, `[B, N]` bool.

    Examples:
        >>> @hiding
        ... def first_half(tokens, rng):
        ...     batch, count = tokens.values.shape[:2]
        ...     return (torch.arange(count) < count // 2).expand(batch, count)
        >>> from openjepa.recipes import build, configure
        >>> model = build(configure("i-jepa", "tiny-vit", {"hiding": "first-half"}))
        >>> (pair,) = model.pairs(torch.rand(2, 1, 28, 28), Rng(seed=0, step=0))
        >>> pair.select[0, 0, :5].tolist()  # the tokens that are asked for
        [0, 1, 2, 3, 4]
    """
    return _enter("hiding", OwnHiding, made)


def guard(made: Made) -> Made:
    """A guard: given embeddings `[B, D]`, a penalty."""
    return _enter("guard", OwnGuard, made)


ROOMS = {part.__name__: part for part in (encoder, stem, predictor, dynamics, target, energy, hiding, guard)}
"""The choices that take parts of one's own."""
OPTIONS = {room: (room,) for room in ROOMS} | {"predictor": ("predictor", "dynamics")}
"""The choices that an option may be of, by the last part of its name: images' predictors and world models' are two."""


def _enter(room: str, base: type[OwnPart], made: Made) -> Made:
    if isinstance(made, type) and issubclass(made, Choice):
        enter(room, made)
        return made
    name = _name(made)
    kind = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).replace("_", "-").lower().strip("-")
    try:
        member = create_model(
            name,
            __base__=base,
            __module__=made.__module__,
            __doc__=made.__doc__,
            kind=(Literal[kind], kind),  # ty: ignore[invalid-type-form]
            **_options(made, base),
        )
    except PydanticSchemaGenerationError as error:
        raise UserError(f"{name}: an option has a type that cannot be read: {first_line(error)}") from None
    member.function = staticmethod(made)  # ty: ignore[invalid-assignment]
    member.options = tuple(_options(made, base))
    enter(room, member)
    return made


def _options(made: Callable[..., Any], base: type[OwnPart]) -> dict[str, Any]:
    """Type and default of each argument with a default. Raises UserError where the others are not what is handed."""
    signature = inspect.signature(made)
    hints = typing.get_type_hints(made.__init__ if isinstance(made, type) else made)
    plain = [p for p in signature.parameters.values() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    first = [p.name for p in plain if p.default is p.empty]
    if len(first) != len(base.handed):
        raise UserError(
            f"{_name(made)} must take {' and '.join(base.handed)}, and options with a default; it takes "
            f"{', '.join(first) or 'nothing'} without one"
        )
    found = {}
    for parameter in plain[len(first) :]:
        if hasattr(OwnPart, parameter.name) or parameter.name in ("kind", "build"):
            raise UserError(f"{_name(made)}: no option can be called {parameter.name!r}")
        given = hints.get(parameter.name, Any if parameter.default is None else type(parameter.default))
        found[parameter.name] = (given, parameter.default)
    return found


def _name(made: Callable[..., Any]) -> str:
    return str(getattr(made, "__name__", type(made).__name__))
