"""The idea, and the data that flows through it.

    batch ──hiding──▶ pairs of context, target and condition
                         │        │         │
                      encoder   target      │
                         ▼        ▼         │
                        s_x      s_y        │
                         └─predictor────────┴──▶ ŝ_y ──energy(ŝ_y, s_y) + guard──▶ loss

LeCun, "A Path Towards Autonomous Machine Intelligence", 2022, section 4.4; Assran et al., arXiv:2301.08243.
"""

from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from openjepa.common.distributed import global_mean
from openjepa.common.rng import Rng


@dataclass(frozen=True, eq=False)
class Tokens:
    """Samples as sets of pieces.

    Attributes:
        values: `[B, N, F]`, raw (an image's patches in row order, flattened as channel, row, column).
        positions: `[1 or B, N, P]`, continuous coordinates on the signal's P axes (rows and columns, seconds, metres).
        layout: the sides of the grid that the tokens fill in row order, of any rank; `None` where they fill none.
        valid: `[B, N]` bool, which tokens are there: samples of fewer are padded; `None`: all are.
        links: `[B, N, N]`, how pieces hang together (graphs).
    """

    values: Tensor
    positions: Tensor
    layout: tuple[int, ...] | None = None
    valid: Tensor | None = None
    links: Tensor | None = None


@dataclass(frozen=True, eq=False)
class View:
    """What one pass of an encoder is given.

    Attributes:
        tokens: the whole sample.
        keep: `[B, K]` token indices that the encoder sees; `None` for all.
        valid: `[B, K]` bool, which of the kept indices count, where samples keep unequal numbers of tokens; `None`: all
            whose tokens are there.
    """

    tokens: Tokens
    keep: Tensor | None = None
    valid: Tensor | None = None

    @property
    def present(self) -> Tensor | None:
        """Which of the encoder's inputs are there, `[B, K]` bool; `None`: all."""
        there = self.tokens.valid
        return _both(there if self.keep is None else _of(there, self.keep), self.valid)

    @property
    def there(self) -> Tensor | None:
        """Which of all tokens the view shows and are there, `[B, N]` bool; `None`: all."""
        return self.tokens.valid if self.keep is None else _both(self.shown, self.tokens.valid)

    @property
    def shown(self) -> Tensor:
        """Which of all tokens the view keeps, `[B, N]` bool, where it does not keep all."""
        assert self.keep is not None
        shown = torch.zeros(self.tokens.values.shape[:2], dtype=torch.bool, device=self.keep.device)
        if self.valid is None:
            return shown.scatter_(1, self.keep, True)
        return shown.scatter_reduce_(1, self.keep, self.valid, "amax")

    def kept(self, of_all: Tensor) -> Tensor:
        """Of `[1 or B, N, ...]`, of all tokens, the part of those that the view keeps, `[B, K, ...]`."""
        return of_all if self.keep is None else gather(of_all, self.keep)


@dataclass(frozen=True, eq=False)
class Pair:
    """One thing to predict: from what a context shows to what targets hold.

    Attributes:
        context: what the encoder is given.
        target: views, whole or of what is asked for alone; of several, the mean of their outputs is predicted. Pairs
            that share them share a pass.
        select: `[B, M, T]` indices of the target's tokens to predict, M blocks of T; `None` for all.
        valid: `[B, M, T]` bool, which of these count, where samples ask for unequal numbers; `None`: all.
        weight: `[B, M, T]`, by which the energy of each is multiplied; `None`: 1.
        place: `[B, N, P]`, where the target's tokens lie in the context's coordinates; `None`: at their own positions.
        within: `[B, M, T]` indices of the context's tokens in whose places those asked for lie, where context and
            target are of different tokens; `None`: the same indices.
        condition: what the predictor is told beside the places, first dimension B; `None` for nothing.
        kind: which of the predictor's mask tokens stands for what is hidden.
        visible: how many of the last T that are asked for are the tokens that the context keeps, in their order; a
            predictor may give its own outputs for them.
    """

    context: View
    target: tuple[View, ...]
    select: Tensor | None = None
    valid: Tensor | None = None
    weight: Tensor | None = None
    place: Tensor | None = None
    within: Tensor | None = None
    condition: Tensor | None = None
    kind: int = 0
    visible: int = 0

    @property
    def asked(self) -> Tensor | None:
        """Which of the predictions count, `[B, M, T]` bool; `None`: all."""
        there = self.target[0].tokens.valid
        return _both(None if there is None else self.picked(there.unsqueeze(-1)).squeeze(-1), self.valid)

    def picked(self, values: Tensor) -> Tensor:
        """What is asked for of the target's tokens: `[B, N, D] -> [B, M, T, D]`."""
        return values.unsqueeze(1) if self.select is None else gather(values, self.select)

    def in_place(self, values: Tensor) -> Tensor:
        """Of the context's tokens those in whose places what is asked for lies: `[B, N, D] -> [B, M, T, D]`."""
        return self.picked(values) if self.within is None else gather(values, self.within)


@dataclass(frozen=True, eq=False)
class Output:
    """What one forward pass gives.

    Attributes:
        loss: scalar; the weighted sum of energy and guard.
        terms: its parts by name, detached scalars, and what a guard wishes to log.
        s_x: `[B, K, D]` per pair.
        s_y: `[B, M, T, D]` per pair, after the target's normalisation.
        prediction: `[B, M, T, D]` per pair.
    """

    loss: Tensor
    terms: dict[str, Tensor]
    s_x: list[Tensor]
    s_y: list[Tensor]
    prediction: list[Tensor]


class Distance(Protocol):
    """An energy: how far predictions `[..., D]` are from targets `[..., D]`."""

    def __call__(self, prediction: Tensor, target: Tensor, /) -> Tensor:
        """`[...]`: of each token."""
        ...

    def mean(self, prediction: Tensor, target: Tensor, /) -> Tensor:
        """A scalar: over all tokens."""
        ...


@dataclass
class Parts:
    """The six choices, built (and the encoder's head, where the energy lives behind a projector).

    Attributes:
        signal: an `openjepa.signals.base.Signal`.
        hiding: called with a batch and an `Rng`, gives pairs.
        guard_on: what a guard regularises, from the contexts' and the targets' representations.
        unused: gives what `JEPA.unused` does.
    """

    signal: Any
    hiding: Any
    encoder: nn.Module
    head: nn.Module
    predictor: nn.Module
    target: Any
    energy: Distance
    guard: Any
    guard_on: Callable[[Sequence[Pair], list[Tensor], list[Tensor], Rng], list[Tensor]] = field(
        default=lambda pairs, s_x, s_y, rng: s_x
    )
    unused: Callable[["JEPA"], Collection[str] | None] = field(default=lambda model: None)


def gather(values: Tensor, index: Tensor) -> Tensor:
    """Rows of each sample: `[B, N, D]` and `[B, ...]` indices into N give `[B, ..., D]`.

    Examples:
        >>> values = torch.arange(6.0).view(1, 3, 2)
        >>> gather(values, torch.tensor([[2, 0]])).tolist()
        [[[4.0, 5.0], [0.0, 1.0]]]
    """
    rows = torch.arange(len(index), device=values.device).view(-1, *[1] * (index.dim() - 1))
    return values.expand(len(index), *values.shape[1:])[rows, index]


def _of(there: Tensor | None, index: Tensor) -> Tensor | None:
    """Which of the indexed tokens are there; `None`: all."""
    return None if there is None else gather(there.unsqueeze(-1), index).squeeze(-1)


def _both(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    """What both masks say is there; `None` says so of all."""
    return one if other is None else other if one is None else one & other


class FeatureModel(nn.Module):
    """A model of a signal whose features are used: those of its encoder `evaluated`.

    Attributes:
        signal: an `openjepa.signals.base.Signal`.
        verdict: of the training that has just made it (`openjepa.health.Verdict`); `None` where it was read.
    """

    signal: Any
    verdict: Any = None

    @property
    def evaluated(self) -> nn.Module:
        """The encoder whose features are used."""
        raise NotImplementedError

    @property
    def layout(self) -> tuple[int, ...] | None:
        """Sides of the grid that `tokens()` fill in row order; `None` where they fill none."""
        return self.evaluated.layout(self.signal.layout)  # ty: ignore[not-callable]

    def whole(self, batch: Any) -> View:
        """The view of all that a batch, or a user's array, shows; on the model's device."""
        batch = self.signal.batch(batch).to(next(self.parameters()).device)
        return View(self.signal.tokenise(batch))

    def layers(self, batch: Any, count: int) -> list[Tensor]:
        """The last `count` layers' outputs, `[B, N, D]` each, last layer last; in eval mode, without gradients."""
        with evaluating(self), torch.no_grad():
            return self.evaluated.layers(self.whole(batch), count)  # ty: ignore[not-callable]

    def present(self, batch: Any) -> Tensor | None:
        """Which of `tokens()` are there, `[B, N]` bool; `None`: all."""
        return self.whole(batch).present

    def tokens(self, batch: Any) -> Tensor:
        """Features of every token, `[B, N, D]`."""
        return self.layers(batch, 1)[-1]

    def embed(self, batch: Any) -> Tensor:
        """One feature vector a sample, `[B, D]`: the mean over the tokens that are there."""
        view = self.whole(batch)
        with evaluating(self), torch.no_grad():
            tokens = self.evaluated.layers(view, 1)[-1]  # ty: ignore[not-callable]
            return mean_of(tokens, view.present)


class JEPA(FeatureModel):
    """Six choices wired together; see `openjepa.recipes` for the papers' rows of the table.

    A batch is what the signal's samples give: a tensor, or a `Batch` of several; `embed` takes a user's array as well.
    Everything is a function of the batch and `Rng`.

    Attributes:
        drawn: networks that are random although the model was read from somewhere, which did not have them.
    """

    drawn: Collection[str] = ()

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
        pairs = self.pairs(batch, rng)
        s_x = self.represent([pair.context for pair in pairs])
        raw = self.raw_targets(pairs, s_x)
        s_y = self.finish_targets(raw, pairs)
        prediction = self.predict(s_x, pairs)
        energy = self.compare(prediction, s_y, pairs)
        penalty, logged = self.guard(self.guard_on(pairs, s_x, raw, rng), rng)
        loss = self.guard.combine(energy, penalty)
        terms = {"energy": energy.detach(), **logged}
        return Output(loss, terms, s_x, s_y, prediction)

    def pairs(self, batch: Any, rng: Rng) -> list[Pair]:
        """What each context sees and what is to be predicted from it."""
        return self.hiding(batch, rng)

    def represent(self, views: Sequence[View]) -> list[Tensor]:
        """`[B, K, D]` per view, behind the head; views of one shape share a pass."""
        return encode(self.encoder, self.head, views)

    def raw_targets(self, pairs: Sequence[Pair], s_x: Sequence[Tensor]) -> list[Tensor]:
        """`[B, N, D]` per pair: every token of the target branch, mean over target views, before normalisation.

        What a target view does not show is zero. Pairs of the same target views get the same tensor.
        """
        online = {id(pair.context): s for pair, s in zip(pairs, s_x, strict=True)}

        def represent(wanted: Sequence[View]) -> list[Tensor]:
            fresh = [view for view in wanted if id(view) not in online]
            online.update({id(v): s for v, s in zip(fresh, self.represent(fresh), strict=True)})
            return [online[id(view)] for view in wanted]

        wanted = target_views(pairs)
        given = zip(wanted, self.target(wanted, represent), strict=True)
        outputs = {id(view): everywhere(values, view) for view, values in given}
        means: dict[tuple[int, ...], Tensor] = {}
        for pair in pairs:
            if (key := _views_of(pair)) not in means:
                several = [outputs[view] for view in key]
                means[key] = several[0] if len(several) == 1 else torch.stack(several).mean(0)
        return [means[_views_of(pair)] for pair in pairs]

    def finish_targets(self, raw: Sequence[Tensor], pairs: Sequence[Pair]) -> list[Tensor]:
        """Normalise and select: `[B, N, D] -> [B, M, T, D]` per pair."""
        finished: dict[int, Tensor] = {}
        for values, pair in zip(raw, pairs, strict=True):
            if id(values) not in finished:
                finished[id(values)] = self.target.normalise(values, pair.target[0].there)
        return [pair.picked(finished[id(values)]) for values, pair in zip(raw, pairs, strict=True)]

    def targets(self, pairs: Sequence[Pair], s_x: Sequence[Tensor]) -> list[Tensor]:
        """`s_y`: `[B, M, T, D]` per pair."""
        return self.finish_targets(self.raw_targets(pairs, s_x), pairs)

    def predict(self, s_x: Sequence[Tensor], pairs: Sequence[Pair]) -> list[Tensor]:
        """`ŝ_y`: `[B, M, T, D]` per pair."""
        return [self.predictor(s, pair) for s, pair in zip(s_x, pairs, strict=True)]

    def compare(self, prediction: Sequence[Tensor], s_y: Sequence[Tensor], pairs: Sequence[Pair]) -> Tensor:
        """The energy, a scalar: mean over pairs, of each over the tokens that count."""
        parts = zip(prediction, s_y, pairs, strict=True)
        return torch.stack([self._energy(guess, wanted, pair) for guess, wanted, pair in parts]).mean()

    def _energy(self, guess: Tensor, wanted: Tensor, pair: Pair) -> Tensor:
        asked = pair.asked
        if asked is None and pair.weight is None:
            return self.energy.mean(guess, wanted)
        energies = self.energy(guess, wanted)
        weighted = energies if pair.weight is None else energies * pair.weight
        if asked is None:
            return weighted.mean()
        count = global_mean(asked.sum().to(weighted.dtype))  # which differs between processes
        return torch.where(asked, weighted, 0).sum() / count.clamp_min(1)

    def passes(self, pairs: Sequence[Pair]) -> int:
        """How many samples `forward` sends through an encoder: of each view, context or target, all that it holds."""
        contexts = [pair.context for pair in pairs]
        return sum(len(view.tokens.values) for view in [*contexts, *self.target.encoded(pairs)])

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


def target_views(pairs: Sequence[Pair]) -> list[View]:
    """All target views, each once."""
    return list({id(view): view for pair in pairs for view in pair.target}.values())


def _views_of(pair: Pair) -> tuple[int, ...]:
    return tuple(map(id, pair.target))


def everywhere(values: Tensor, view: View) -> Tensor:
    """Features of all tokens `[B, N, D]`, of those that a view shows `[B, K, D]`; zero where it shows nothing."""
    if view.keep is None or values.shape[1] != view.keep.shape[1]:
        return values
    if view.valid is not None:
        values = torch.where(view.valid[..., None], values, 0)
    empty = values.new_zeros(len(values), view.tokens.values.shape[1], values.shape[2])
    return empty.scatter_add(1, view.keep[..., None].expand_as(values), values)


def fitting(present: Tensor | None, features: Tensor) -> Tensor | None:
    """`present`, where it is of the tokens of these features `[..., D]`: what has made others of them has them all."""
    return present if present is not None and present.shape == features.shape[:-1] else None


def mean_of(tokens: Tensor, present: Tensor | None) -> Tensor:
    """The mean `[B, D]` over tokens `[B, N, D]`, of those that are there (`present`, see `fitting`; `None`: all)."""
    present = fitting(present, tokens)
    if present is None:
        return tokens.mean(1)
    there = present.unsqueeze(-1)
    return torch.where(there, tokens, 0).sum(1) / there.sum(1).clamp_min(1)


def encode(encoder: Callable[[View], Tensor], head: nn.Module, views: Sequence[View]) -> list[Tensor]:
    """`head(encoder(view))` per view; views of equal shape go through together, as one batch.

    A head that pools is given all views at once, in their order, so that its batch norm sees them as one batch.
    One that attends is told which tokens are there.
    """
    groups: dict[tuple[object, ...], list[int]] = {}
    for i, view in enumerate(views):
        tokens, kept = view.tokens, None if view.keep is None else view.keep.shape
        alike = len(tokens.positions) == 1 and tokens.valid is None and view.valid is None
        groups.setdefault((tokens.values.shape, tokens.layout, kept) if alike else (i,), []).append(i)
    pool = getattr(head, "pool", None)
    ragged = any(view.present is not None for view in views)
    several = pool is not None and (len(groups) > 1 or ragged)
    outputs: dict[int, Tensor] = {}
    for members in groups.values():
        together = _concatenate([views[i] for i in members])
        encoded = encoder(together)
        if several:
            encoded = pool(encoded, together.present)
        elif getattr(head, "attends", False):
            encoded = head(encoded, fitting(together.present, encoded))
        else:
            encoded = head(encoded)
        outputs.update(zip(members, encoded.chunk(len(members)), strict=True))
    ordered = [outputs[i] for i in range(len(views))]
    return list(head(torch.cat(ordered)).split([len(part) for part in ordered])) if several else ordered


def _concatenate(views: Sequence[View]) -> View:
    first = views[0]
    if len(views) == 1:
        return first
    tokens = replace(first.tokens, values=torch.cat([view.tokens.values for view in views]))
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
