"""What recordings ask of features without labels."""

import torch
from torch import Tensor

from openjepa.common.rng import Rng
from openjepa.signals.electrodes.batch import Recordings
from openjepa.signals.electrodes.classical import covariances, log_power
from openjepa.signals.tasks import Tasks

SHOWN = 0.5
"""Share of the electrodes that another view of a window has."""
LEAST = 1e-12


def recording_tasks(batch: Recordings, rate: float) -> Tasks:
    """Of windows in microvolts.

    Look: the power of each electrode in each frequency bin. View: half of the electrodes. Coarse: the power of each
    band, of all electrodes and how much it leans to the right, to the front and upwards.
    """
    look = log_power(batch.values).masked_fill(~batch.valid[..., None], 0).flatten(1)
    spread = look.std(0, correction=0)
    return Tasks(
        samples=batch,
        look=(look - look.mean(0)) / torch.where(spread > 0, spread, 1.0),
        view=_view,
        coarse=_coarse(batch, rate),
    )


def _coarse(batch: Recordings, rate: float) -> Tensor:
    power = covariances(batch.values, rate).diagonal(dim1=-2, dim2=-1).clamp_min(LEAST).log()  # [B, bands, C]
    there = batch.valid.double()[:, None]
    count = there.sum(-1, keepdim=True).clamp_min(1)
    mean = (power * there).sum(-1, keepdim=True) / count
    directions = batch.places.double() - (batch.places * there.mT).sum(1, keepdim=True) / count
    lean = ((power - mean) * there) @ directions / count
    return torch.cat([mean, lean], -1).flatten(1).float()


def _view(part: Recordings, rng: Rng) -> Recordings:
    """The same windows seen by half of their electrodes."""
    order = rng.uniform(len(part), part.valid.shape[1]).to(part.values.device).masked_fill(~part.valid, 2.0)
    rank = order.argsort(1).argsort(1)
    kept = rank < (part.valid.sum(1, keepdim=True) * SHOWN).ceil()
    valid = part.valid & kept
    return Recordings(part.values.masked_fill(~valid[..., None], 0), part.places, valid)
