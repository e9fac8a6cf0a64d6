"""Held-out windows of a world model: frames, actions, what it imagined of them and where it erred."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from openjepa.agent.perception import proprio_dim_of
from openjepa.common.rng import Rng
from openjepa.report import pixels
from openjepa.report.charts import Chart, CurveLine
from openjepa.report.curves import Figure, figure
from openjepa.report.world_models.decoding import StateViewer
from openjepa.signals import pictures
from openjepa.signals.frames import Window

SHOWN = 4
"""Windows that are shown."""
STEPS = 12
"""Frames of a window that are shown, at most."""
MEASURED = 64
"""Windows that the energies are averaged over."""


@dataclass(frozen=True)
class Step:
    """One frame: pictures, the energy of its prediction over the mean target's, the action that leads on from it."""

    real: str
    imagined: str
    ratio: float
    colour: str
    action: str
    arrow: tuple[float, float] | None


@dataclass(frozen=True)
class Rollouts:
    """Rollouts of held-out windows: rows of steps, a chart of energies over the horizon, whether pixels are shown
    hard."""

    windows: list[list[Step]]
    ahead: Figure
    small: bool


@torch.no_grad()
def roll_out(viewer: StateViewer) -> Rollouts:
    """Raises UserError where the model cannot roll out what its windows show."""
    model = viewer.model
    window = viewer.held_out[:MEASURED].to(next(model.parameters()).device)
    states, truth = _states(viewer, window)
    actions = window.actions[:, -(states.shape[1] - 1) :]
    prediction = model.rollout(states[:, :1], actions[:, None])[:, 0]
    wrong = model.rollout(states[:, :1], actions.roll(1, 0)[:, None])[:, 0]
    predictions = {
        "prediction": model.state_layout.tokens(prediction),
        "one step ahead": _one_step(viewer, states, actions),
        "last state": truth[:, :1].expand_as(truth[:, 1:]),
        "wrong actions": model.state_layout.tokens(wrong),
        "mean target": truth[:, 1:].mean(0, keepdim=True).expand_as(truth[:, 1:]),
    }
    features = slice(-proprio_dim_of(model) or None)  # a picture does not tell proprioception
    truth = truth[..., features]
    predictions = {name: prediction[..., features] for name, prediction in predictions.items()}
    steps = list(range(1, states.shape[1]))
    energies = {name: [_energy(viewer, g, truth, t) for t in steps] for name, g in predictions.items()}
    even = float(np.mean(energies["mean target"]))
    pictures = viewer.decoder.draw(torch.cat([states[:, :1], prediction], 1)[:SHOWN]).numpy()
    frames = window.frames[:, -states.shape[1] :]
    rows = []
    for i in range(min(SHOWN, len(frames))):
        errors = [_energy(viewer, predictions["prediction"], truth, t, i) for t in steps]
        ratios = [0.0, *(error / max(even, 1e-12) for error in errors)]
        rows.append(
            [
                _step(frames[i, t], pictures[i, t], ratios[t], actions[i, t : t + 1], viewer)
                for t in range(min(STEPS, states.shape[1]))
            ]
        )
    return Rollouts(rows, _chart(energies, steps), model.signal.size <= pixels.SMALL)


def _states(viewer: StateViewer, window: Window) -> tuple[Tensor, Tensor]:
    """The states `[B, T, *L]` of T frames to predict from, and targets `[B, T, n, D]`."""
    model = viewer.model
    pairs = model.pairs(window, Rng(0, 0))
    s_x = model.represent([pairs[0].context])
    return model.states(s_x[0]), model.everywhere(model.raw_targets(pairs, s_x)[0])


def _one_step(viewer: StateViewer, states: Tensor, actions: Tensor) -> Tensor:
    """Each frame from the true ones before it, `[B, T-1, n, D]`."""
    model, found = viewer.model, []
    for t in range(actions.shape[1]):
        first = max(0, t + 1 - model.history)
        past = actions[:, first:t] if t > first else None
        found.append(model.rollout(states[:, first : t + 1], actions[:, None, t : t + 1], past=past)[:, 0])
    return model.state_layout.tokens(torch.cat(found, 1))


def _energy(
    viewer: StateViewer, prediction: Tensor, truth: Tensor, step: int, row: int | None = None
) -> float:
    """The energy of the prediction of frame `step`, over all windows or of one."""
    rows = slice(None) if row is None else slice(row, row + 1)
    return float(viewer.model.energy.mean(prediction[rows, step - 1], truth[rows, step]))


def _step(frame: Tensor, imagined: np.ndarray, ratio: float, action: Tensor, viewer: StateViewer) -> Step:
    red, green, blue = pictures.against_even(np.array(ratio)).tolist()
    numbers = action[0].tolist() if len(action) else []
    side_by_side = viewer.model.signal.side_by_side
    return Step(
        real=pixels.data_uri(pictures.to_rgb(side_by_side(frame.cpu()).numpy())),
        imagined=pixels.data_uri(pictures.to_rgb(side_by_side(torch.from_numpy(imagined)).numpy())),
        ratio=ratio,
        colour=f"rgb({red} {green} {blue})",
        action=", ".join(f"{value:.2g}" for value in numbers[:4]) + (" …" if len(numbers) > 4 else ""),
        arrow=_arrow(numbers, viewer),
    )


def _arrow(numbers: list[float], viewer: StateViewer) -> tuple[float, float] | None:
    """The way of a block of actions with two numbers each, in shares of the largest; `None` for others."""
    signal = viewer.model.signal
    if not numbers or signal.action_dim != 2 or isinstance(viewer.model.actions, int):
        return None
    bounds = np.maximum(np.abs(viewer.model.actions.low), np.abs(viewer.model.actions.high))
    x, y = (np.array(numbers).reshape(-1, 2).mean(0) / np.maximum(bounds, 1e-9)).clip(-1, 1).tolist()
    return round(x, 2), round(y, 2)


def _chart(energies: dict[str, list[float]], steps: list[int]) -> Figure:
    lines = [CurveLine(name, steps, values) for name, values in energies.items()]
    caption = (
        "Energy of each frame of held-out windows, by how many steps of the model it lies ahead of the first: rolled "
        "out from the first frame (prediction), each from the true ones before it (one step ahead), the first state "
        "copied, and the rollout given another window's actions. Where the prediction meets the last one, planning "
        "farther is chance."
    )
    return figure(Chart("How far ahead", caption, lines), "ahead")
