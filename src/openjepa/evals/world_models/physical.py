"""Physical variables of situations: which are predicted, and their values where all of them are known."""

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from openjepa.errors import UserError
from openjepa.evals.planning.state import targets_of
from openjepa.evals.splits import some
from openjepa.evals.world_models.situations import Situations


@dataclass(frozen=True, eq=False)
class KnownSituations:
    """The situations in which all variables are known.

    Attributes:
        rows: int64 `[n]`, their numbers.
        values: float32 `[n, 2 + K, V]`, a step before, now, and later.
    """

    rows: Tensor
    values: Tensor


@dataclass(frozen=True, eq=False)
class PhysicalVariables:
    """Physical variables that are predicted.

    Attributes:
        names: of V variables, angles by sine and cosine.
        fitted, tested: situations to fit on and to predict.
        std: `[V]`.
        notes: what was left out.
    """

    names: tuple[str, ...]
    fitted: KnownSituations
    tested: KnownSituations
    std: Tensor
    notes: tuple[str, ...]


def physical_variables(
    fitted: Situations, tested: Situations, recorded: Sequence[str], wanted: Sequence[str], where: str
) -> PhysicalVariables | None:
    """The variables to predict; `None` where none is recorded, or none ever changes.

    Args:
        wanted: names or patterns such as `right_*`; none: all.
        where: the episodes, for messages.

    Raises:
        UserError: a variable that is not recorded, or hardly a situation in which all are known.
    """
    for pattern in wanted:
        if not fnmatch.filter(recorded, pattern):
            raise UserError(f"{where} records {some(recorded, 30) or 'no variables'}, not {pattern!r}")
    chosen = [one for one in recorded if not wanted or any(fnmatch.fnmatch(one, p) for p in wanted)]
    if not chosen:
        return None
    columns = [list(recorded).index(one) for one in chosen]
    notes: list[str] = []
    names: list[str] = []
    sides = []
    for side, what in ((fitted, "to fit on"), (tested, "to predict")):
        known = side.known[..., columns]
        rows = known.isfinite().flatten(1).all(1).nonzero()[:, 0]
        if len(rows) < 2:
            raise UserError(
                f"{where}: {len(rows)} of {len(known):,} windows {what} have all variables: name fewer with --variables"
            )
        if len(rows) < len(known):
            notes.append(
                f"{len(known) - len(rows):,} of {len(known):,} windows {what} lack a variable (NaN) and count for "
                "states alone."
            )
        names, values = targets_of(chosen, known[rows].flatten(0, 1).numpy())
        sides.append((rows, torch.from_numpy(values).float().unflatten(0, (len(rows), -1))))
    flat = sides[0][1].flatten(0, 1)
    std = flat.std(0)
    moves = std > 1e-6 * flat.abs().amax(0).clamp_min(1e-9)
    still = [one for one, moving in zip(names, moves.tolist(), strict=True) if not moving]
    if still:
        notes.append(f"Never changing and left out: {some(still, 12)}.")
    if not moves.any():
        return None
    kept = tuple(one for one in names if one not in still)
    return PhysicalVariables(
        kept, *(KnownSituations(rows, values[..., moves]) for rows, values in sides), std[moves], tuple(notes)
    )
