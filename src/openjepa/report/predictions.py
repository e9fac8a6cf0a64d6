"""What a model predicts of samples and where it errs: of hidden tokens, or of whole views."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from openjepa.common.rng import Rng
from openjepa.jepa import JEPA, Pair, View, evaluating, gather
from openjepa.report.pixels import Drawn, data_uri, drawn, film_uri
from openjepa.signals.pictures import Cells, Marks, Picture, against_even

SEED = 0
FILM, SECONDS = 160, 2.0
"""Width of one of a film's pictures, about, in pixels, and how long it plays."""
PAIRS = 2
"""Of a context and what is predicted from it, that are shown of a sample."""


@dataclass(frozen=True)
class Part:
    """One pair of a sample: what the context sees, what is predicted, where that errs, how many tokens these are."""

    context: Drawn
    target: Drawn
    error: Drawn
    visible: int
    hidden: int
    blocks: int


@dataclass(frozen=True)
class Masked:
    """One sample under its masks; `ratio` is the energy over the mean predictor's."""

    whole: Drawn
    parts: list[Part]
    tokens: int
    ratio: float
    film: str = ""
    """Of a sample that moves: input, context and errors of its first pair side by side, a data URI; else empty."""
    still: str = ""
    """Its first frame."""


@dataclass(frozen=True)
class PredictedView:
    """One view of a sample: its picture, its size relative to the largest, its distance over the mean's."""

    picture: Drawn
    name: str
    scale: float
    ratio: float
    colour: str


def predicts(model: JEPA, batch: Any) -> bool:
    """Whether the model predicts representations at all: one that is fine-tuned on labels does not."""
    return bool(model.pairs(batch[:2], Rng(SEED, 0)))


def hides_tokens(model: JEPA, batch: Any) -> bool:
    """Whether the model predicts parts of a sample (and not whole views)."""
    return any(pair.select is not None for pair in model.pairs(batch[:2], Rng(SEED, 0)))


def masked(model: JEPA, batch: Any, shown: Sequence[int]) -> list[Masked]:
    """Input, contexts, targets and errors of the samples `shown` of a batch; empty where they have no pictures."""
    pairs, s_x, s_y, prediction = _pass(model, batch)
    of_pair = [
        _ratios(model, pair, x, y, guess)
        for pair, x, y, guess in zip(pairs, s_x, s_y, prediction, strict=True)
    ][:PAIRS]
    found = []
    for i in shown:
        whole, parts, ratios = None, [], []
        for pair, errors in zip(pairs, of_pair, strict=False):
            whole, part = _part(model, batch, i, pair, errors[i])
            if whole is None or part is None:
                return []
            parts.append(part)
            ratios.append(errors[i][np.isfinite(errors[i])])
        assert whole is not None
        together = np.concatenate(ratios)
        tokens = pairs[0].target[0].tokens
        there = tokens.values.shape[1] if tokens.valid is None else int(tokens.valid[i].sum())
        mean = float(together.mean()) if len(together) else np.nan
        found.append(Masked(whole, parts, there, mean, *_film(model, batch, i, pairs[0], of_pair[0][i])))
    return found


def _film(model: JEPA, batch: Any, i: int, pair: Pair, errors: NDArray[np.floating]) -> tuple[str, str]:
    """A sample's frames with what is hidden and with its errors, side by side and playing, and the first of them."""
    view, signal = pair.target[0], model.signal
    restored = signal.restored(view.tokens)
    shown = batch if restored is None else restored
    _, error = _asked(pair, i, errors)
    marks = (None, Marks(hidden=~_kept(pair.context, i)), Marks(error=error))
    films = [signal.film(shown, i, mark) for mark in marks]
    if len(films[0]) < 2:
        return "", ""
    gap = np.zeros((films[0][0].shape[0], 2, 3), np.uint8)
    scale = max(1, round(FILM / films[0][0].shape[1]))
    frames = [
        np.concatenate([a, gap, b, gap, c], 1).repeat(scale, 0).repeat(scale, 1)
        for a, b, c in zip(*films, strict=True)
    ]
    return film_uri(frames, SECONDS), data_uri(frames[0])


def _part(
    model: JEPA, batch: Any, i: int, pair: Pair, errors: NDArray[np.floating]
) -> tuple[Drawn | None, Part | None]:
    """The whole target of a sample, and one of its pairs; `errors` `[M, T]`, NaN where nothing is asked."""
    target, select = pair.target[0], pair.select
    assert select is not None, "only masked views have targets to select"
    blocks, error = _asked(pair, i, errors)
    hidden, visible = np.asarray(blocks.any(0)), _kept(pair.context, i)
    images = [
        _picture(model, batch, target, i, marks)
        for marks in (None, Marks(hidden=~hidden, blocks=blocks), Marks(error=error))
    ]
    seen = _picture(model, batch, pair.context, i, Marks(hidden=~visible))
    whole, wanted, wrong = (None if image is None else drawn(image) for image in images)
    if whole is None or wanted is None or wrong is None or seen is None:
        return None, None
    part = Part(drawn(seen), wanted, wrong, int(visible.sum()), int(hidden.sum()), int(blocks.any(1).sum()))
    return whole, part


def _asked(pair: Pair, i: int, errors: NDArray[np.floating]) -> tuple[Cells, NDArray[np.floating]]:
    """Of a sample's N tokens: which each block hides, `[M, N]`, and the mean error of each that is asked for, `[N]`,
    visible ones included; NaN of others."""
    assert pair.select is not None
    count = pair.target[0].tokens.values.shape[1]
    asked = np.isfinite(errors) if pair.asked is None else pair.asked[i].cpu().numpy()
    total, times = np.zeros(count), np.zeros(count)
    index = pair.select[i].cpu().numpy()
    np.add.at(total, index[asked], errors[asked])
    np.add.at(times, index[asked], 1)
    blocks, last = np.zeros((len(index), count), bool), index.shape[1] - pair.visible
    for block, tokens, wanted in zip(blocks, index[:, :last], asked[:, :last], strict=True):
        block[tokens[wanted]] = True
    return blocks, np.where(times > 0, total / np.maximum(times, 1), np.nan)


def viewed(model: JEPA, batch: Any, shown: Sequence[int]) -> list[list[PredictedView]]:
    """Every view of the samples `shown`, with its distance to the target relative to the mean target's distance."""
    pairs, _, s_y, prediction = _pass(model, batch)
    truth = s_y[0]
    baseline = float(model.energy.mean(truth.mean(0, keepdim=True).expand_as(truth), truth))
    targets = {id(view) for view in pairs[0].target}
    found: list[list[PredictedView]] = []
    for i in shown:
        row = []
        pictures = [_picture(model, batch, pair.context, i, _dropped(pair.context, i)) for pair in pairs]
        sizes = [0 if p is None or p.pixels is None else p.pixels.shape[1] for p in pictures]
        for pair, picture, size, guess in zip(pairs, pictures, sizes, prediction, strict=True):
            if picture is None:
                return []
            ratio = float(_over(model.energy(guess[i, 0], truth[i, 0]), baseline).mean())
            red, green, blue = against_even(np.array(ratio)).tolist()
            scale = size / max(sizes) if max(sizes) else 1.0
            name = "global" if id(pair.context) in targets else "local"
            row.append(PredictedView(drawn(picture), name, scale, ratio, f"rgb({red} {green} {blue})"))
        found.append(row)
    return found


def token_colours(model: JEPA, batch: Any, shown: Sequence[int]) -> tuple[list[Picture], float]:
    """The first three principal components of all tokens of a batch as red, green and blue, for samples `shown`.

    What a position has in common over the batch is taken off first. Also returns the share of the variance that
    the three components hold, 0..1. No pictures where the signal draws none.
    """
    tokens, present = model.tokens(batch).float().cpu(), model.present(batch)
    there = torch.ones(tokens.shape[:2], dtype=torch.bool) if present is None else present.cpu()
    tokens = torch.where(there[..., None], tokens, 0)
    tokens = tokens - tokens.sum(0) / there.sum(0)[:, None].clamp_min(1)
    flat = tokens[there].double()
    values, axes = torch.linalg.eigh(flat.T @ flat)
    held = float(values[-3:].sum() / values.sum().clamp_min(1e-300))
    low, high = np.quantile((flat @ axes[:, -3:].flip(1)).numpy(), (0.02, 0.98), axis=0)
    pictures = []
    for i in shown:
        projected = (tokens[i].double() @ axes[:, -3:].flip(1)).numpy()
        scaled = (projected - low) / np.maximum(high - low, 1e-12)
        colour = (scaled.clip(0, 1) * 255).round().astype(np.uint8)
        picture = model.signal.picture(
            batch, i, Marks(colour=colour, hidden=~there[i].numpy(), layout=model.layout)
        )
        if picture is None:
            return [], held
        pictures.append(picture)
    return pictures, held


def _pass(model: JEPA, batch: Any) -> tuple[list[Pair], list[Tensor], list[Tensor], list[Tensor]]:
    """Pairs, contexts, targets and predictions in eval mode, with the masks or augmentations of a fixed seed."""
    with evaluating(model), torch.no_grad():
        pairs = model.pairs(batch, Rng(SEED, 0))
        s_x = model.represent([pair.context for pair in pairs])
        s_y = model.targets(pairs, s_x)
        return pairs, s_x, s_y, model.predict(s_x, pairs)


def _ratios(model: JEPA, pair: Pair, s_x: Tensor, s_y: Tensor, guess: Tensor) -> NDArray[np.floating]:
    """`[B, M, T]`: the energy of each predicted token over that of the mean target at its position.

    NaN where nothing is asked, or all targets are equal, so that there is nothing to miss.
    """
    assert pair.select is not None
    with evaluating(model), torch.no_grad():
        whole = model.targets([replace(pair, select=None, valid=None, weight=None)], [s_x])[0].flatten(1, 2)
        mean = gather(_mean_at(whole, pair.target[0].there), pair.select)
        energy, even = model.energy(guess, s_y), model.energy(mean.expand_as(s_y), s_y)
    asked = torch.ones_like(energy, dtype=torch.bool) if pair.asked is None else pair.asked
    return _over(torch.where(asked, energy, torch.nan), float(even[asked].mean()))


def _mean_at(whole: Tensor, valid: Tensor | None) -> Tensor:
    """The mean `[1, N, D]` over the samples that have a token at each position."""
    if valid is None:
        return whole.mean(0, keepdim=True)
    there = valid[..., None]
    return torch.where(there, whole, 0).sum(0, keepdim=True) / there.sum(0, keepdim=True).clamp_min(1)


def _over(energy: Tensor, baseline: float) -> NDArray[np.floating]:
    """Energies over `baseline`; all NaN where that is 0, since there is nothing to miss."""
    energies = energy.double().cpu().numpy()
    return energies / baseline if baseline > 0 else np.full_like(energies, np.nan)


def _picture(model: JEPA, batch: Any, view: View, i: int, marks: Marks | None) -> Picture | None:
    """What a view shows of a sample, before normalisation."""
    restored = model.signal.restored(view.tokens)
    return model.signal.picture(batch if restored is None else restored, i, marks)


def _kept(view: View, i: int) -> Cells:
    """Which tokens of a sample the encoder sees, `[N]`."""
    tokens = view.tokens
    if view.keep is None:
        return (
            np.ones(tokens.values.shape[1], bool) if tokens.valid is None else tokens.valid[i].cpu().numpy()
        )
    kept = view.keep[i] if view.present is None else view.keep[i][view.present[i]]
    cells = np.zeros(tokens.values.shape[1], bool)
    cells[kept.cpu().numpy()] = True
    return cells


def _dropped(view: View, i: int) -> Marks | None:
    return None if view.keep is None else Marks(hidden=~_kept(view, i), faint=True)
