"""Measures a model on a held-out batch: always the same samples, the same masks, the same views."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import torch
from torch import Tensor

from openjepa.common.distributed import world_size
from openjepa.common.rng import Rng
from openjepa.guards import epps_pulley, sigreg_null
from openjepa.health import metrics, tasks
from openjepa.health.symptoms import suspect
from openjepa.health.tasks import Answers
from openjepa.jepa import JEPA, Tokens, View, Views, evaluating, gather
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
        - `input/std`: mean std over held-out samples of the raw pixels, in units of their range.
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
            views = model.views(batch, Rng(self.seed, 0))
            s_x = model.represent(views.context)
            grid = self._targets_everywhere(model, views, s_x)
            pooled = self._pooled_contexts(model, batch, s_x[0])
            embedding = model.embed(batch)
            return {
                "step": step,
                **self._ranks(pooled[:, 0], embedding, grid),
                **_shares_and_lidar(pooled, embedding, self.delta),
                **self._energies_and_stds(model, views, s_x, grid),
                **{
                    f"power/{name}": value for name, value in asdict(metrics.target_power_split(grid)).items()
                },
                "sigreg/null": self._sigreg_over_null(pooled[:, 0]),
                "input/std": self._input_std(batch, model),
            }

    def _targets_everywhere(self, model: JEPA, views: Views, s_x: Sequence[Tensor]) -> Tensor:
        """The target at every position, `[B, N, D]`, so that all samples share a grid whatever was hidden."""
        whole = [view if view.select is None else replace(view, select=None) for view in views.target]
        return model.targets(Views(views.context, whole), s_x).flatten(1, 2)

    def _pooled_contexts(self, model: JEPA, batch: Any, first: Tensor) -> Tensor:
        """`[B, q, D]`: mean over tokens of the first context view under q independent draws of what is hidden."""
        pooled = [first.mean(1)]
        for draw in range(1, self.lidar_views):
            view = model.views(batch, Rng(self.seed, draw)).context[0]
            pooled.append(model.represent([view])[0].mean(1))
        return torch.stack(pooled, 1)

    def _ranks(self, context: Tensor, embedding: Tensor, grid: Tensor) -> dict[str, float]:
        tokens = grid.flatten(0, 1)
        chosen = torch.randperm(len(tokens), generator=Rng(self.seed, 0).generator())[: self.max_tokens]
        return {
            "rank/context": metrics.effective_rank(context),
            "rank/rankme": metrics.rankme(context),
            "rank/embedding": metrics.effective_rank(embedding),
            "rank/target": metrics.effective_rank(tokens[chosen.to(tokens.device)]),
            "rank/limit": float(min(len(context) - 1, context.shape[1])),
        }

    def _energies_and_stds(
        self, model: JEPA, views: Views, s_x: list[Tensor], grid: Tensor
    ) -> dict[str, float]:
        select = views.target[0].select
        s_y = grid.unsqueeze(1) if select is None else gather(grid, select)
        mean = grid.mean(0, keepdim=True).expand_as(grid)
        if len(views.target[0].tokens.positions) > 1:  # samples do not share positions: one mean for all
            mean = mean.mean(1, keepdim=True).expand_as(grid)
        mean = mean.unsqueeze(1) if select is None else gather(mean, select)
        prediction = model.predict(s_x, views)
        swapped = Views([_roll_view(view) for view in views.context], views.target)
        permuted = model.predict([s.roll(1, 0) for s in s_x], swapped)
        return stds(s_x[0].mean(1), s_y, prediction[0]) | {
            "energy/model": float(model.compare(prediction, s_y)),
            "energy/mean": float(model.compare([mean], s_y)),
            "energy/permuted": float(model.compare(permuted, s_y)),
        }

    def _input_std(self, batch: Any, model: Any) -> float:
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
    power = float(pooled.double().square().mean())
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


def _roll_view(view: View) -> View:
    """The view of the sample before, whole: what it shows, where, and what of it was kept."""
    tokens = view.tokens
    positions = tokens.positions if len(tokens.positions) == 1 else tokens.positions.roll(1, 0)
    keep = None if view.keep is None else view.keep.roll(1, 0)
    return View(Tokens(tokens.values.roll(1, 0), positions, tokens.grid), keep, view.select)


def mean_std(batch: Tensor) -> float:
    """Mean std over samples of raw pixels `[B, ...]`, in units of their range."""
    pixels = batch.double() / (255 if batch.dtype == torch.uint8 else 1)
    return float(pixels.std(0, correction=0).mean())
