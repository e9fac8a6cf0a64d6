"""The idea, and the data that flows through it.

    batch ──hiding──▶ Views(context, target)
                         │            │
                      encoder       target
                         ▼            ▼
                        s_x          s_y
                         └─predictor──▶ ŝ_y ──energy(ŝ_y, s_y) + guard──▶ loss

LeCun, "A Path Towards Autonomous Machine Intelligence", 2022, section 4.4; Assran et al., arXiv:2301.08243.
"""

from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from openjepa.common.rng import Rng
from openjepa.errors import UserError


@dataclass(frozen=True, eq=False)
class Tokens:
    """A sample as a set of pieces.

    Attributes:
        values: `[B, N, F]`, raw (an image's patches in row order, flattened as channel, row, column).
        positions: `[1 or B, N, P]`, continuous coordinates (rows and columns, seconds, metres).
        grid: `(rows, columns)` when the tokens fill a grid in row order.
    """

    values: Tensor
    positions: Tensor
    grid: tuple[int, int] | None = None


@dataclass(frozen=True, eq=False)
class View:
    """What one pass of an encoder is given, and which of its outputs matter.

    Attributes:
        tokens: the whole sample.
        keep: `[B, K]` token indices that the encoder sees; `None` for all.
        select: `[B, M, T]` indices of the outputs to predict, M blocks of T; `None` for all.
        place: `[B, N, P]`, where a target's tokens lie in its context's coordinates; `None`: at their own positions.
    """

    tokens: Tokens
    keep: Tensor | None = None
    select: Tensor | None = None
    place: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Views:
    """What hiding makes of a batch: every context predicts the (mean of the) targets.

    Attributes:
        condition: what the predictor is told beside the places of the targets, first dimension B; `None` for nothing.

    Raises:
        UserError: several target views of which some select tokens: their mean is taken token by token.
    """

    context: list[View]
    target: list[View]
    condition: Tensor | None = None

    def __post_init__(self) -> None:
        selected = sum(view.select is not None for view in self.target)
        if selected and len(self.target) > 1:
            raise UserError(
                f"{selected} of {len(self.target)} target views select tokens, and a model takes the mean of its "
                "target views, token by token: give one target view, whose select may hold several blocks, or "
                "several whole ones"
            )


@dataclass(frozen=True, eq=False)
class Output:
    """What one forward pass gives.

    Attributes:
        loss: scalar; the weighted sum of energy and guard.
        terms: its parts by name, detached scalars, and what a guard wishes to log.
        s_x: `[B, K, D]` per context view.
        s_y: `[B, M, T, D]`, after the target's normalisation.
        prediction: `[B, M, T, D]` per context view.
    """

    loss: Tensor
    terms: dict[str, Tensor]
    s_x: list[Tensor]
    s_y: Tensor
    prediction: list[Tensor]


class Signal(Protocol):
    """What turns a batch into raw tokens."""

    @property
    def features(self) -> int: ...
    @property
    def grid(self) -> tuple[int, int]: ...
    def tensor(self, batch: Any) -> Tensor: ...
    def tokenize(self, batch: Tensor) -> Tokens: ...


@dataclass
class Parts:
    """The six choices, built (and the encoder's head, where the energy lives behind a projector).

    Attributes:
        unused: gives what `JEPA.unused` does.
    """

    signal: Any
    hiding: Any
    encoder: nn.Module
    head: nn.Module
    predictor: nn.Module
    target: Any
    energy: Callable[[Tensor, Tensor], Tensor]
    guard: Any
    guard_on: Callable[[list[Tensor], Tensor, Rng], list[Tensor]] = field(default=lambda s_x, s_y, rng: s_x)
    unused: Callable[["JEPA"], Collection[str] | None] = field(default=lambda model: None)


def gather(values: Tensor, index: Tensor) -> Tensor:
    """Rows of each sample: `[B, N, D]` and `[B, ...]` indices into N give `[B, ..., D]`."""
    rows = torch.arange(len(index), device=values.device).view(-1, *[1] * (index.dim() - 1))
    return values.expand(len(index), *values.shape[1:])[rows, index]


class JEPA(nn.Module):
    """Six choices wired together; see `openjepa.recipes` for the papers' rows of the table.

    A batch is `[B, C, H, W]`, tensor or array, in the units of the training images (of bytes: or floats in 0..1); a
    kind of model may take another (`WorldJEPA`: windows of episodes). Everything is a function of the batch and `Rng`.
    """

    def __init__(self, config: Any, parts: Parts) -> None:
        super().__init__()
        self.config = config
        self.signal, self.hiding, self.energy, self.guard = (
            parts.signal,
            parts.hiding,
            parts.energy,
            parts.guard,
        )
        self.encoder, self.head, self.predictor = parts.encoder, parts.head, parts.predictor
        self.guard_on, self._unused = parts.guard_on, parts.unused
        self.target = parts.target
        self.target.follow(self.encoder, self.head)

    def forward(self, batch: Any, rng: Rng) -> Output:
        """One training pass.

        Raises:
            UserError: the batch does not fit the signal (shape, size against patch).
        """
        views = self.views(batch, rng)
        s_x = self.represent(views.context)
        raw = self.raw_targets(views, s_x)
        s_y = self.finish_targets(raw, views)
        prediction = self.predict(s_x, views)
        energy = self.compare(prediction, s_y)
        penalty, logged = self.guard(self.guard_on(s_x, raw, rng), rng)
        loss = self.guard.combine(energy, penalty)
        terms = {"energy": energy.detach(), **logged}
        return Output(loss, terms, s_x, s_y, prediction)

    def views(self, batch: Any, rng: Rng) -> Views:
        """What the context sees and what it must predict."""
        return self.hiding(batch, rng)

    def represent(self, views: Sequence[View]) -> list[Tensor]:
        """`[B, K, D]` per view, behind the head; views of one shape share a pass."""
        return encode(self.encoder, self.head, views)

    def raw_targets(self, views: Views, s_x: Sequence[Tensor]) -> Tensor:
        """`[B, N, D]`: every token of the target branch, mean over target views, before normalisation."""
        online = {id(view): s for view, s in zip(views.context, s_x, strict=True)}

        def represent(wanted: Sequence[View]) -> list[Tensor]:
            fresh = [view for view in wanted if id(view) not in online]
            online.update({id(v): s for v, s in zip(fresh, self.represent(fresh), strict=True)})
            return [online[id(view)] for view in wanted]

        outputs = self.target(views.target, represent)
        return outputs[0] if len(outputs) == 1 else torch.stack(outputs).mean(0)

    def finish_targets(self, raw: Tensor, views: Views) -> Tensor:
        """Normalise and select: `[B, N, D] -> [B, M, T, D]`."""
        finished = self.target.normalise(raw)
        select = views.target[0].select
        return finished.unsqueeze(1) if select is None else gather(finished, select)

    def targets(self, views: Views, s_x: Sequence[Tensor]) -> Tensor:
        """`s_y`: `[B, M, T, D]`."""
        return self.finish_targets(self.raw_targets(views, s_x), views)

    def predict(self, s_x: Sequence[Tensor], views: Views) -> list[Tensor]:
        """`ŝ_y`: `[B, M, T, D]` per context view."""
        return [self.predictor(s, view, views.target[0]) for s, view in zip(s_x, views.context, strict=True)]

    def compare(self, prediction: Sequence[Tensor], s_y: Tensor) -> Tensor:
        """The energy, a scalar: mean over context views."""
        return torch.stack([self.energy(guess, s_y) for guess in prediction]).mean()

    def passes(self, views: Views) -> int:
        """How many samples `forward` sends through an encoder: of each view, context or target, all that it holds."""
        return sum(len(view.tokens.values) for view in [*views.context, *self.target.encoded(views)])

    def after_step(self, step: int, total_steps: int) -> None:
        """What follows an optimiser step (counted from 0): the target moves towards the encoder."""
        self.target.update(self.encoder, self.head, step, total_steps)

    def unused(self) -> Collection[str] | None:
        """Names of the parameters that no step of training reads, where every step reads all others.

        `None` where a step may leave out any, as before a loss that starts later: several processes then look in every
        step which have a gradient, which costs a little.
        """
        return self._unused(self)

    @property
    def evaluated(self) -> nn.Module:
        """The encoder whose features are used: the target's where it is an average of the online one."""
        return self.target.evaluated(self.encoder)

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of `tokens()`."""
        return self.evaluated.grid(self.signal.grid)  # ty: ignore[not-callable]

    def layers(self, batch: Any, count: int) -> list[Tensor]:
        """The last `count` layers' outputs, `[B, N, D]` each, last layer last; in eval mode, without gradients."""
        batch = batch if isinstance(batch, Tensor) else self.signal.tensor(batch)
        batch = batch.to(next(self.parameters()).device)
        with evaluating(self), torch.no_grad():
            return self.evaluated.layers(View(self.signal.tokenize(batch)), count)  # ty: ignore[not-callable]

    def tokens(self, batch: Any) -> Tensor:
        """Features of every token, `[B, N, D]`."""
        return self.layers(batch, 1)[-1]

    def embed(self, batch: Any) -> Tensor:
        """One feature vector a sample, `[B, D]`: the mean over tokens."""
        return self.tokens(batch).mean(1)


def encode(encoder: Callable[[View], Tensor], head: nn.Module, views: Sequence[View]) -> list[Tensor]:
    """`head(encoder(view))` per view; views of equal shape go through together, as one batch.

    A head that pools is given all views at once, in their order, so that its batch norm sees them as one batch.
    """
    groups: dict[tuple[object, ...], list[int]] = {}
    for i, view in enumerate(views):
        tokens, kept = view.tokens, None if view.keep is None else view.keep.shape
        alike = len(tokens.positions) == 1
        groups.setdefault((tokens.values.shape, tokens.grid, kept) if alike else (i,), []).append(i)
    pool = getattr(head, "pool", None)
    several = pool is not None and len(groups) > 1
    before = pool if several else head
    outputs: dict[int, Tensor] = {}
    for members in groups.values():
        together = _concatenate([views[i] for i in members])
        outputs.update(zip(members, before(encoder(together)).chunk(len(members)), strict=True))
    ordered = [outputs[i] for i in range(len(views))]
    return list(head(torch.cat(ordered)).split([len(part) for part in ordered])) if several else ordered


def _concatenate(views: Sequence[View]) -> View:
    first = views[0]
    if len(views) == 1:
        return first
    tokens = Tokens(torch.cat([v.tokens.values for v in views]), first.tokens.positions, first.tokens.grid)
    kept = [view.keep for view in views if view.keep is not None]
    return View(tokens, torch.cat(kept) if kept else None)


@contextmanager
def evaluating(model: nn.Module) -> Generator[None]:
    """Eval mode inside, every module's own mode again afterwards."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
