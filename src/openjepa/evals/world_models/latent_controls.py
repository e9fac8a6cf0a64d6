"""Whether a latent variable may be believed: the controls that the papers ask for, in one table.

A z that improves predictions may have smuggled in the answer (Garrido et al., arXiv:2601.05230: capacity curve, future
leak, cycle consistency), and K guesses are better than one whatever they know (MoP-JEPA, arXiv:2607.05238: a codebook
without context, contexts that are another sample's). All on single steps of episodes that were not trained on.
"""

from collections.abc import Sequence
from typing import Any

import torch

from openjepa.errors import UserError
from openjepa.evals.features import Progress
from openjepa.evals.planning.cloning import open_windows
from openjepa.evals.world_models.latent_table import GUESSES, Control, Guesses, LatentTable
from openjepa.evals.world_models.transitions import DETERMINISTIC, Fitted, Told, Transitions, fit, transitions
from openjepa.latents import Latent, LatentAction, LatentChoice, Mixture, Predict, controls
from openjepa.latents.base import LatentDistance, distance
from openjepa.latents.capacity import KL, Codebook, Sparse
from openjepa.world_models.latent import LatentWorldJEPA

LEAK, CYCLE, USED, CONTEXT = 2.0, 1.5, 1.02, 1.1
"""Bounds of the verdicts. A leak of 2 is the paper's, whose cycles cost 1.03 to 1.34; the last two say that an error
rises clearly when z, or the context, is another sample's."""
NOTHING, EVERYTHING = 0.05, 0.95
"""Shares of what z could tell below and above which its capacity is called so."""
FREE_WIDTH = 512
"""Of a z without limits, at most."""


def latent_controls(
    model: Any,
    data: str = "",
    *,
    seed: int = 0,
    updates: int = 1000,
    count: int = 2000,
    name: str = "the model",
    progress: Progress | None = None,
) -> LatentTable:
    """All controls.

    Args:
        data: episodes; empty: those that the model was trained on. The same ones are held out as in training.
        seed: of the choice of steps, of what is drawn and of the fits.
        updates: of every predictor that is fitted to the states for comparison.
        count: of held-out steps; four times as many to fit on.
        name: what the table and errors call the model.

    Raises:
        UserError: a model without a latent variable, or no episodes that fit it.
    """
    if not isinstance(model, LatentWorldJEPA):
        raise UserError(
            f"{name} has no latent variable: controls are for latent-action, mixture, or --condition latent"
        )
    samples, own = open_windows(model, data), Fitted(model.eval())
    seen = transitions(model, samples, False, 4 * count, seed)
    held = transitions(model, samples, True, count, seed)
    kind: LatentDistance = "cosine" if model.config.energy.kind == "cosine" else "l2"
    settings = neighbours(model.config.condition.latent)
    wide = LatentAction(width=min(seen.s[0].numel(), FREE_WIDTH), capacity=KL(weight=0))
    total = len(settings) + 2

    def fitted(number: int, latent: LatentChoice, told: Told = "drawn") -> Fitted:
        if progress is not None:
            progress("fitting predictors", number, total)
        return fit(model, latent, seen, updates=updates, seed=seed, told=told)

    without = error(fitted(0, DETERMINISTIC, "nothing"), held, kind, blind=True)
    free = error(fitted(1, wide, "mode"), held, kind)
    others = [(text, fitted(i, latent)) for i, (text, latent) in enumerate(settings, 2)]
    if progress is not None:
        progress("fitting predictors", total, total)
    guesses = guessing(own, held, seen, without, seed, kind)
    curve = _curve([*others, ("this model", own)], held, without, free, kind)
    found = judged(own, held, guesses, without, free, seed, kind)
    return LatentTable(name, len(held), found, guesses, curve)


def guessing(
    own: Fitted, held: Transitions, seen: Transitions, without: float, seed: int, kind: LatentDistance = "l2"
) -> Guesses:
    """Best of K by z, against K-means of the next states in `seen`, and `without`."""
    generator, axes = torch.Generator().manual_seed(seed), held.s.dim() - 1
    latent = controls.best_of(own.latent, own.predict(held), held.s, held.s_next, GUESSES, generator, kind)
    codes = controls.codebook_control(seen.s_next, held.s_next, GUESSES, generator, axes, kind)
    return Guesses(tuple(latent), tuple(codes), without)


def error(fitted: Fitted, held: Transitions, kind: LatentDistance = "l2", blind: bool = False) -> float:
    """Told the z that each step shows, or none."""
    if not blind:
        return controls.error_given_z(fitted.latent, fitted.predict(held), held.s, held.s_next, kind)
    with torch.no_grad():
        guess = fitted.predict(held)(held.s, held.s.new_zeros(len(held), 1, fitted.latent.width))
        return float(distance(guess.squeeze(1), held.s_next, held.s.dim() - 1, kind).mean())


def neighbours(latent: LatentChoice) -> list[tuple[str, LatentChoice]]:
    """The same kind of z at other capacities, from the smallest, each with its name."""
    if isinstance(latent, Mixture):
        return [(f"{n} heads", latent.model_copy(update={"heads": n})) for n in (2, 4, 8, 16)]
    capacity = latent.capacity
    options: Sequence[tuple[str, KL | Sparse | Codebook]]
    if isinstance(capacity, Codebook):
        options = [(f"{n} codes", capacity.model_copy(update={"codes": n})) for n in (2, 4, 16, 64)]
    else:
        field = "weight" if isinstance(capacity, KL) else "l1"
        start = getattr(capacity, field) or 1e-3
        values = [start * factor for factor in (100, 10, 1, 0.1, 0.01)]
        options = [
            (f"{capacity.kind} {field} {value:.3g}", capacity.model_copy(update={field: value}))
            for value in values
        ]
    return [(name, latent.model_copy(update={"capacity": one})) for name, one in options]


def judged(
    own: Fitted,
    held: Transitions,
    guesses: Guesses,
    without: float,
    free: float,
    seed: int,
    kind: LatentDistance = "l2",
) -> tuple[Control, ...]:
    """The numbers with their verdicts."""
    latent, predict = own.latent, own.predict(held)
    generator = torch.Generator().manual_seed(seed)
    sides = (latent, predict, held.s, held.s_next)
    told = error(own, held, kind)
    share = (without - told) / (without - free) if without > free else 0.0
    leak = controls.future_leak(*sides, generator, kind)
    used = _swapped(own, held, generator, kind) / told
    cycle = controls.cycle_consistency(*sides, generator, kind)
    shuffled = controls.shuffled_contexts(*sides, max(GUESSES), generator, kind)
    single = guesses.latent[-1] / guesses.deterministic
    codebook = max(a / b for a, b in zip(guesses.latent, guesses.codebook, strict=True))
    return (
        Control("capacity", share, f"{NOTHING:g} to {EVERYTHING:g}", NOTHING <= share <= EVERYTHING, _told(share)),
        _bounded(
            "another's z", used, USED, "z matters to the prediction", "the predictor ignores z", least=True
        ),
        _bounded(
            "future leak", leak, LEAK, "z does not carry the next frame", "z carries the next frame itself", least=True
        ),
        _bounded(
            "cycle", cycle, CYCLE, "z means the same in another clip", "z means something else in every clip"
        ),
        _bounded(
            f"best of {GUESSES[-1]} over no z", single, 1, "guesses by z beat one prediction",
            "the best guess by z is no better than one prediction without it",
        ),
        _bounded(
            "best of K over codebook", codebook, 1, "z and context beat as many fixed vectors, at every K",
            "as many fixed vectors that know no context are as good",
        ),
        _bounded(
            "shuffled contexts", shuffled, CONTEXT, "guesses depend on the context", "the context is not used",
            least=True,
        ),
    )  # fmt: skip


def _bounded(name: str, value: float, bound: float, good: str, bad: str, least: bool = False) -> Control:
    holds = value >= bound if least else value < bound
    return Control(
        name, value, f"{'at least' if least else 'below'} {bound:g}", holds, good if holds else bad
    )


def _told(share: float) -> str:
    if share < NOTHING:
        return "z tells next to nothing: nothing is uncertain, or its capacity is too small"
    if share > EVERYTHING:
        return "z tells all that a z without limits does: look at the leak, and lower its capacity"
    return f"z tells {share:.0%} of what the past and the actions do not"


def _swapped(own: Fitted, held: Transitions, generator: torch.Generator, kind: LatentDistance) -> float:
    """Error told another step's z."""
    with torch.no_grad():
        z = own.latent.infer(held.s, held.s_next, own.predict(held)).z
        other = z[torch.randperm(len(z), generator=generator).to(z.device)].unsqueeze(-2)
        guess = own.predict(held)(held.s, other).squeeze(1)
        return float(distance(guess, held.s_next, held.s.dim() - 1, kind).mean())


def _curve(
    models: Sequence[tuple[str, Fitted]], held: Transitions, without: float, free: float, kind: LatentDistance
) -> tuple[controls.Point, ...]:
    ends = controls.Point("without z", without, 0.0), controls.Point("z without limits", free, 1.0)
    if without <= free:
        return ends
    given: list[tuple[str, Latent, Predict]] = [
        (name, fitted.latent, fitted.predict(held)) for name, fitted in models
    ]
    between = controls.capacity_curve(given, held.s, held.s_next, without=without, free=free, kind=kind)
    return ends[0], *between, ends[1]
