"""Measures a model on a held-out batch: always the same samples, the same masks, the same views."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import torch
from torch import Tensor

from openjepa.common.distributed import wide, world_size
from openjepa.common.rng import Rng
from openjepa.guards import epps_pulley, sigreg_null
from openjepa.health import metrics, tasks
from openjepa.health.symptoms import suspect
from openjepa.health.tasks import Answers
from openjepa.jepa import JEPA, Pair, Tokens, View, evaluating, fitting, mean_of
from openjepa.signals.images.values import scale
from openjepa.signals.tasks import Tasks

SLICES = 256
"""Directions of the SIGReg reading; its error over directions is then a few per cent."""
MOST = 256
"""Held-out samples from which everything but tasks is measured."""


class Monitor:
    """What a run logs about its health.

    Call `measure` at step 0, before the first update, and then at least every 2 % of the run: the verdicts compare
    with the first measurement and must be able to name a collapse early. On several processes every one of them
    measures, with the same batch, and all get the same numbers.

    Args:
        held_out_batch: `[B, C, H, W]` that is never trained on. B bounds every rank (`rank/limit`); 256 is a good
            number, and LiDAR wants more samples than dimensions.
        seed: of the masks or augmentations, independent of the training's.
        lidar_views: views q of each sample for LiDAR; compare only equal q. Raises ValueError below 2.
        delta: LiDAR's ridge.
        max_tokens: how many target tokens the target's rank is read from.
        tasks: what features are asked without labels; `None`: nothing.
        task_steps: at which steps; `None`: at every measurement. Besides they are asked wherever the other numbers
            look like a loss, so that an alarm has evidence.
    """

    def __init__(
        self,
        held_out_batch: Any,
        seed: int = 0,
        lidar_views: int = 4,
        delta: float = 1e-4,
        max_tokens: int = 4096,
        tasks: Tasks | None = None,
        task_steps: Container[int] | None = None,
    ) -> None:
        if len(held_out_batch) < 8 or lidar_views < 2:
            given = f"{len(held_out_batch)} samples and lidar_views={lidar_views}"
            raise ValueError(
                f"health needs at least 8 held-out samples and 2 LiDAR views, got {given}: raise them"
            )
        self.batch, self.seed, self.lidar_views = held_out_batch[:MOST], seed, lidar_views
        self.tasks, self.task_steps = tasks, task_steps
        self._first: Answers | None = None
        self.delta, self.max_tokens = delta, max_tokens

    def measure(
        self, model: JEPA, step: int, history: Sequence[Mapping[str, float]] = ()
    ) -> dict[str, float]:
        """All metrics of `model` in eval mode, without gradients; every module's mode is as before afterwards.

        `history` holds the measurements before, oldest first.

        Keys (all floats except `step`; `nan` where the model's outputs are not finite):

        - `rank/context`, `rank/rankme`: effective rank and RankMe of the pooled context features; `rank/embedding`:
          effective rank of `embed`; `rank/target`: of the target's tokens; `rank/limit`: the most these can reach.
        - `lidar/value|within|between|total|snr|n|q|delta`: see `metrics.Lidar`.
        - `share/varying`: share of the pooled context features' power that varies at all, `share/context`: that
          belongs to the sample and not to its masks or augmentations; `share/embedding`: share of `embed`'s power
          that differs between samples.
        - `std/context|target|prediction`: mean over dimensions, with `_min`, `_max` and `_dead` (share that is dead).
        - `power/constant|position|content`: what the target is made of.
        - `energy/model`, `energy/mean` (of the mean target at each position), `energy/permuted` (of the predictor
          when it is given another sample's context).
        - `sigreg/null`: SIGReg of the pooled context features over its expectation for N(0, 1).
        - `input/std`: mean std over held-out samples of the raw pixels, in units of their range; of samples of several
          fields, of raw tokens.
        - `task/...`: see `tasks.scores`; where they are due.
        """
        reading = self._measure(model, step)
        due = self.task_steps is None or step in self.task_steps
        if self.tasks and step == 0:
            self.begin(model)
            reading |= tasks.scores(self._first or {}, None)
        elif self.tasks and (due or suspect([*history, reading], {})):
            reading |= tasks.scores(tasks.answers(self.tasks, model.embed), self._first)
        return reading

    def begin(self, model: JEPA) -> None:
        """Ask the model as it is before the first step, with which later answers are compared sample by sample.

        `measure` does so at step 0; a run that continues must, with the weights that it began with.
        """
        if self.tasks and self._first is None:
            self._first = tasks.answers(self.tasks, model.embed)

    def _measure(self, model: JEPA, step: int) -> dict[str, float]:
        with evaluating(model), torch.no_grad():
            batch = self.batch.to(next(model.parameters()).device)
            pairs = model.pairs(batch, Rng(self.seed, 0))
            s_x = model.represent([pair.context for pair in pairs])
            everywhere = self._targets_everywhere(model, pairs, s_x)
            pooled = self._pooled_contexts(model, batch, s_x[0], pairs[0].context)
            embedding = model.embed(batch)
            first, valid = everywhere[0], pairs[0].target[0].there
            split = metrics.target_power_split(first, fitting(valid, first))
            return {
                "step": step,
                **self._ranks(pooled[:, 0], embedding, present(first, valid)),
                **_shares_and_lidar(pooled, embedding, self.delta),
                **self._energies_and_stds(model, pairs, s_x, everywhere),
                **{f"power/{name}": value for name, value in asdict(split).items()},
                "sigreg/null": self._sigreg_over_null(pooled[:, 0]),
                "input/std": self._input_std(batch, model),
            }

    def _targets_everywhere(self, model: JEPA, pairs: Sequence[Pair], s_x: Sequence[Tensor]) -> list[Tensor]:
        """The target at every position, `[B, N, D]` per pair, so that all samples share a grid whatever was hidden."""
        whole = [replace(pair, select=None, valid=None, weight=None) for pair in pairs]
        return [target.flatten(1, 2) for target in model.targets(whole, s_x)]

    def _pooled_contexts(self, model: JEPA, batch: Any, first: Tensor, view: View) -> Tensor:
        """`[B, q, D]`: mean over tokens of the first context view under q independent draws of what is hidden."""
        pooled = [mean_of(first, view.present)]
        for draw in range(1, self.lidar_views):
            view = model.pairs(batch, Rng(self.seed, draw))[0].context
            s = model.represent([view])[0]
            pooled.append(mean_of(s, view.present))
        return torch.stack(pooled, 1)

    def _ranks(self, context: Tensor, embedding: Tensor, tokens: Tensor) -> dict[str, float]:
        chosen = torch.randperm(len(tokens), generator=Rng(self.seed, 0).generator())[: self.max_tokens]
        return {
            "rank/context": metrics.effective_rank(context),
            "rank/rankme": metrics.rankme(context),
            "rank/embedding": metrics.effective_rank(embedding),
            "rank/target": metrics.effective_rank(tokens[chosen.to(tokens.device)]),
            "rank/limit": float(min(len(context) - 1, context.shape[1])),
        }

    def _energies_and_stds(
        self, model: JEPA, pairs: Sequence[Pair], s_x: list[Tensor], everywhere: Sequence[Tensor]
    ) -> dict[str, float]:
        s_y = [pair.picked(target) for target, pair in zip(everywhere, pairs, strict=True)]
        means = [
            pair.picked(_mean_target(target, pair)) for target, pair in zip(everywhere, pairs, strict=True)
        ]
        prediction = model.predict(s_x, pairs)
        swapped = [replace(pair, context=_roll_view(pair.context)) for pair in pairs]
        permuted = model.predict([s.roll(1, 0) for s in s_x], swapped)
        first, asked = pairs[0], pairs[0].asked
        context = mean_of(s_x[0], first.context.present)
        return stds(context, present(s_y[0], asked), present(prediction[0], asked)) | {
            "energy/model": float(model.compare(prediction, s_y, pairs)),
            "energy/mean": float(model.compare(means, s_y, pairs)),
            "energy/permuted": float(model.compare(permuted, s_y, pairs)),
        }

    def _input_std(self, batch: Any, model: Any) -> float:
        if not isinstance(batch, Tensor):
            tokens = model.signal.tokenise(batch)
            return metrics.spread(present(tokens.values, tokens.valid)).mean
        limits = getattr(model.signal, "range", None)
        return mean_std(batch if limits is None else scale(batch, limits))

    def _sigreg_over_null(self, context: Tensor) -> float:
        directions = torch.randn(context.shape[1], SLICES, generator=Rng(self.seed, 0).generator())
        directions = (directions / directions.norm(dim=0)).to(context.device)
        value = epps_pulley(context, directions)
        return float(value) / world_size() / sigreg_null()  # every process holds the same samples


def _shares_and_lidar(pooled: Tensor, embedding: Tensor, delta: float) -> dict[str, float]:
    lidar = metrics.lidar(pooled, delta)
    of_samples = lidar.between - lidar.within / lidar.q  # without what the q draws' noise adds to their mean
    power = float(wide(pooled).square().mean())
    share = 1 / power if power != 0 else 0.0
    return {
        **{f"lidar/{name}": float(value) for name, value in asdict(lidar).items()},
        "share/varying": lidar.total * share,
        "share/context": 0.0 if of_samples < 0 else of_samples * share,
        "share/embedding": metrics.sample_share(embedding),
    }


def stds(context: Tensor, s_y: Tensor, prediction: Tensor) -> dict[str, float]:
    """Spreads of features `[..., D]` by name."""
    found = {}
    for name, features in {"context": context, "target": s_y, "prediction": prediction}.items():
        spread = metrics.spread(features)
        found[f"std/{name}"] = spread.mean
        found |= {f"std/{name}_{part}": getattr(spread, part) for part in ("min", "max", "dead")}
    return found


def present(features: Tensor, valid: Tensor | None) -> Tensor:
    """The rows `[n, D]` of features `[..., D]` that are there; `valid` is `[...]` bool, `None`: all."""
    valid = fitting(valid, features)
    return features.flatten(0, -2) if valid is None else features[valid]


def _mean_target(target: Tensor, pair: Pair) -> Tensor:
    """`[B, N, D]`: the mean over samples at each position; over all where samples do not share positions."""
    valid = fitting(pair.target[0].there, target)
    apart = len(pair.target[0].tokens.positions) > 1
    if valid is None:
        mean = target.mean(0, keepdim=True).expand_as(target)
        return mean.mean(1, keepdim=True).expand_as(target) if apart else mean
    if apart:
        return mean_of(target.flatten(0, 1).unsqueeze(0), valid.flatten().unsqueeze(0)).expand_as(target)
    return mean_of(target.transpose(0, 1), valid.T).expand_as(target)


def _roll_view(view: View) -> View:
    """The view of the sample before, whole: what it shows, where, and what of it was kept."""
    tokens = view.tokens
    positions = tokens.positions if len(tokens.positions) == 1 else tokens.positions.roll(1, 0)
    valid, links, keep, kept = (
        None if part is None else part.roll(1, 0)
        for part in (tokens.valid, tokens.links, view.keep, view.valid)
    )
    return View(Tokens(tokens.values.roll(1, 0), positions, tokens.layout, valid, links), keep, kept)


def mean_std(batch: Tensor) -> float:
    """Mean std over samples of raw pixels `[B, ...]`, in units of their range."""
    pixels = wide(batch) / (255 if batch.dtype == torch.uint8 else 1)
    return float(pixels.std(0, correction=0).mean())
