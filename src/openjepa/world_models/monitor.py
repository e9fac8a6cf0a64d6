"""The health of a world model on held-out windows: as `Monitor`, and whether actions and motion are used."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from torch import Tensor

from openjepa.health.monitor import Monitor, mean_std, stds
from openjepa.jepa import JEPA, Pair, View
from openjepa.signals.frames import Window, window_tasks
from openjepa.world_models.model import WorldJEPA


class WorldMonitor(Monitor):
    """A `Monitor` on a `Window` of episodes that are never trained on.

    A sample is a window; the views of it that LiDAR and `share/context` compare are its first frames, up to
    `lidar_views` of them: what differs within them is motion, and nothing is hidden at random. `rank/embedding` and
    `share/embedding` are of the last frames' states, `power/position` is the part of the targets that the time step
    alone tells.
    Besides `Monitor`'s keys:

    - `energy/persistence`: of the last seen state, copied;
    - `energy/permuted_actions`: of the predictor given another window's actions (`energy/permuted`: another window's
      states, with the right actions);
    - `energy/forced/...` and `energy/rollout/...` (`model`, `persistence`, `permuted_actions`): of a model that is
      trained in both ways, each by itself;
    - `task/coarse`: how well the last frame's state tells where things are (`window_tasks`); at every measurement,
      since only one frame of each window must be encoded.
    """

    batch: Window

    def __init__(self, held_out_batch: Window, **options: Any) -> None:
        given: dict[str, Any] = {"tasks": window_tasks(held_out_batch), **options}
        super().__init__(held_out_batch, **given)

    def _targets_everywhere(self, model: JEPA, pairs: Sequence[Pair], s_x: Sequence[Tensor]) -> list[Tensor]:
        world = cast(WorldJEPA, model)
        return [world.everywhere(world.raw_targets(pairs, s_x)[0]).flatten(1, 2)]

    def _pooled_contexts(self, model: JEPA, batch: Window, first: Tensor, view: View) -> Tensor:
        frames = cast(WorldJEPA, model).future.frames
        return first.mean(1).unflatten(0, (-1, frames))[:, : min(self.lidar_views, frames)]

    def _energies_and_stds(
        self, model: JEPA, pairs: Sequence[Pair], s_x: list[Tensor], everywhere: Sequence[Tensor]
    ) -> dict[str, float]:
        world = cast(WorldJEPA, model)
        future = world.future
        states, known = (
            everywhere[0].unflatten(1, (future.frames, -1)),
            s_x[0].unflatten(0, (-1, future.frames)),
        )
        s_y = states[:, future.predicted]
        others = [known.roll(1, 0).flatten(0, 1)]
        predictions = {
            **self._predictions(world, pairs, s_x, others),
            "mean": s_y.mean(0, keepdim=True).expand_as(s_y),
            "persistence": states[:, future.known],
        }
        energies = {
            f"energy/{name}": float(world.compare([prediction], [s_y], pairs))
            for name, prediction in predictions.items()
        }
        return (
            stds(known[:, 0].mean(1), s_y, predictions["model"])
            | energies
            | _each_way(world, predictions, s_y)
        )

    def _predictions(
        self, world: WorldJEPA, pairs: Sequence[Pair], s_x: list[Tensor], others: list[Tensor]
    ) -> dict[str, Tensor]:
        """`[B, M, n, D]` from everything, and with something that is another window's: `others` are its states."""
        actions = pairs[0].condition
        assert actions is not None
        swapped = [replace(pairs[0], condition=actions.roll(1, 0))]
        return {
            "model": world.predict(s_x, pairs)[0],
            "permuted": world.predict(others, pairs)[0],
            "permuted_actions": world.predict(s_x, swapped)[0],
        }

    def _input_std(self, batch: Window, model: Any) -> float:
        return mean_std(batch.frames[:, -1])


def _each_way(world: WorldJEPA, predictions: Mapping[str, Tensor], s_y: Tensor) -> dict[str, float]:
    """The energies of teacher forcing and of the rollout, where the model is trained in both ways."""
    if not (world.future.forced and world.future.rollout):
        return {}
    return {
        f"energy/{way}/{name}": float(energy)
        for name in ("model", "persistence", "permuted_actions")
        if name in predictions
        for way, energy in world.ways(predictions[name], s_y).items()
    }
