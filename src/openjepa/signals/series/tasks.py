"""What series ask of features without labels."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from openjepa.common.rng import Rng
from openjepa.signals.series.batch import SeriesBatch
from openjepa.signals.series.classical import parts_of, statistics
from openjepa.signals.tasks import Tasks

COARSE = 8
"""Stretches of a series whose means and deviations are decoded."""
CHANNELS = 8
"""Channels of which these are asked at most."""
NOISE, SIZE = 0.2, 0.3
"""Of another view: noise as a share of a channel's deviation, and how much the deviation may change."""


def series_tasks(batch: SeriesBatch, standardised: Callable[[SeriesBatch], Tensor]) -> Tasks:
    """Look: statistics of each channel. View: the same series larger or smaller, with noise. Coarse: means and
    deviations of eighths of it."""
    values = standardised(batch)
    look = statistics(values[:, :CHANNELS], None if batch.valid is None else batch.valid[:, :CHANNELS])
    spread = look.std(0, correction=0)
    return Tasks(
        samples=batch,
        look=(look - look.mean(0)) / torch.where(spread > 0, spread, 1.0),
        view=_view,
        coarse=parts_of(values[:, :CHANNELS], COARSE),
    )


def _view(part: SeriesBatch, rng: Rng) -> SeriesBatch:
    """The same series with other sizes about their means, and with noise."""
    values = part.values
    mean, std = values.mean(-1, keepdim=True), values.std(-1, correction=0, keepdim=True)
    size = 1 + SIZE * (2 * rng.uniform(*values.shape[:2], 1).to(values.device) - 1)
    noise = NOISE * std * rng.normal(*values.shape).to(values.device)
    return replace(part, values=mean + (values - mean) * size + noise)
