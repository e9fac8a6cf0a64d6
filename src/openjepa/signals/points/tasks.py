"""What clouds ask of features without labels."""

import torch

from openjepa.common.rng import Rng
from openjepa.signals.points.batch import Clouds
from openjepa.signals.points.classical import occupancy
from openjepa.signals.tasks import Tasks

NOISE, SHOWN = 0.02, 0.5
"""Of another view: deviation of each point's noise as a share of the radius, and the share of the points."""


def cloud_tasks(batch: Clouds) -> Tasks:
    """Look: occupancy of 8 x 8 x 8 cells. View: half of the points, with noise. Coarse: occupancy of 3 x 3 x 3."""
    look = occupancy(batch.points, 8).sqrt()
    return Tasks(
        samples=batch, look=look - look.mean(0), view=_view, coarse=occupancy(batch.points, 3).sqrt()
    )


def _view(part: Clouds, rng: Rng) -> Clouds:
    points = part.points
    batch, count = points.shape[:2]
    shown = max(1, round(SHOWN * count))
    order = rng.uniform(batch, count).argsort(1)[:, torch.arange(count) % shown].to(points.device)
    chosen = points.gather(1, order.unsqueeze(-1).expand(-1, -1, 3))
    return Clouds(chosen + NOISE * rng.normal(batch, count, 3).to(points.device))
