"""Discs on the head: what is hidden, padding, and what the draws depend on."""

import pytest
import torch

from openjepa.common.rng import Rng
from openjepa.errors import UserError
from openjepa.hiding import Discs
from openjepa.hiding.base import indices_of
from openjepa.signals.electrodes import ElectrodeSignal, Recordings, place

NAMES = ("Fp1", "Fp2", "F3", "F4", "C3", "C4", "P3", "P4", "O1", "O2", "Cz", "Pz")
PLACES = [place(name) for name in NAMES]
SIGNAL = ElectrodeSignal(seconds=3, channels=NAMES, places=PLACES, scale=1)


def batch(count: int = 16) -> Recordings:
    values = torch.randn(count, len(NAMES), SIGNAL.samples, generator=torch.Generator().manual_seed(0))
    places = torch.tensor(PLACES).expand(count, -1, -1)
    return Recordings(values, places, torch.ones(count, len(NAMES), dtype=torch.bool))


def channels(pair) -> tuple[list[set[int]], list[set[int]]]:
    """The channels of each sample's context and target, of which every second must be there."""
    found = []
    for index, valid in ((pair.context.keep, pair.context.present), (pair.select[:, 0], pair.asked)):
        valid = torch.ones_like(index, dtype=torch.bool) if valid is None else valid.view(index.shape)
        rows = [row[there].tolist() for row, there in zip(index, valid, strict=True)]
        for row in rows:
            assert len(set(row)) == len(row) and {t % 3 for t in row} == {0, 1, 2} and len(row) % 3 == 0
        found.append([{t // 3 for t in row} for row in rows])
    return found[0], found[1]


@pytest.mark.parametrize("diameter", [0.4, 0.6, 0.9])
def test_a_disc_holds_all_electrodes_near_its_middle_and_no_others(diameter: float):
    (pair,) = Discs(diameters=(diameter,)).build(SIGNAL)(batch(64), Rng(0, 0))
    where = torch.tensor(PLACES)
    middles = set()
    for seen, hidden in zip(*channels(pair), strict=True):
        assert seen | hidden == set(range(len(NAMES))) and not seen & hidden and seen
        near = [
            set((torch.norm(where - c, dim=1) <= diameter + 1e-5).nonzero()[:, 0].tolist()) for c in where
        ]
        assert hidden in near
        middles.add(near.index(hidden))
    assert len(middles) > 5


def test_each_sample_draws_its_diameter():
    (pair,) = Discs(diameters=(0.1, 1.0)).build(SIGNAL)(batch(64), Rng(0, 0))
    sizes = [len(hidden) for hidden in channels(pair)[1]]
    assert min(sizes) == 1 and max(sizes) > 3 and 10 < sizes.count(1) < 54


def test_only_electrodes_that_are_there_are_hidden_or_seen():
    full = batch(32)
    valid = torch.rand(32, len(NAMES), generator=torch.Generator().manual_seed(1)) < 0.6
    valid[:, :2] = True
    some = Recordings(full.values * valid[..., None], full.places, valid)
    (pair,) = Discs(diameters=(0.9,)).build(SIGNAL)(some, Rng(0, 0))
    for seen, hidden, there in zip(*channels(pair), valid, strict=True):
        assert seen | hidden == set(there.nonzero()[:, 0].tolist()) and hidden and seen


def test_a_disc_over_the_whole_head_hides_its_middle_alone():
    (pair,) = Discs(diameters=(3.0,)).build(SIGNAL)(batch(), Rng(0, 0))
    seen, hidden = channels(pair)
    assert all(len(h) == 1 for h in hidden) and all(len(s) == len(NAMES) - 1 for s in seen)


def test_draws_are_those_of_the_global_batch():
    whole, hiding = batch(8), Discs(diameters=(0.4, 0.9)).build(SIGNAL)
    (pair,) = hiding(whole, Rng(3, 5))
    halves = [hiding(whole[i : i + 4], Rng(3, 5, start=i, total=8))[0] for i in (0, 4)]
    for k in (0, 1):
        assert channels(pair)[k] == [one for half in halves for one in channels(half)[k]]
    assert channels(pair) != channels(hiding(whole, Rng(3, 6))[0])


def test_one_electrode_cannot_be_predicted_from_others():
    with pytest.raises(UserError, match="the data have 1"):
        Discs().build(ElectrodeSignal(channels=("Cz",), places=(place("Cz"),)))


def test_indices_of_ragged_rows():
    mask = torch.tensor([[0, 1, 0, 1], [1, 1, 1, 0], [0, 0, 0, 0]], dtype=torch.bool)
    index, valid = indices_of(mask)
    assert index.tolist() == [[1, 3, 0], [0, 1, 2], [0, 0, 0]]
    assert valid is not None and valid.sum(1).tolist() == [2, 3, 0]
    assert indices_of(mask[:1])[1] is None


def test_micro_batches_are_refused_since_samples_hide_unequal_numbers():
    assert Discs().of_batch


def test_a_stretch_of_time_is_hidden_of_all_electrodes():
    signal = SIGNAL.model_copy(update={"seconds": 8})
    values = torch.zeros(64, len(NAMES), signal.samples)
    whole = Recordings(
        values, torch.tensor(PLACES).expand(64, -1, -1), torch.ones(64, len(NAMES), dtype=torch.bool)
    )
    (pair,) = Discs(diameters=(0.01,), stretch=0.5).build(signal)(whole, Rng(0, 0))
    asked = torch.ones_like(pair.select[:, 0], dtype=torch.bool) if pair.asked is None else pair.asked[:, 0]
    begun = set()
    for index, there in zip(pair.select[:, 0], asked, strict=True):
        hidden = torch.zeros(len(NAMES) * 8, dtype=torch.bool).index_fill(0, index[there], True).view(-1, 8)
        stretch = hidden.all(0).nonzero()[:, 0].tolist()
        assert stretch == list(range(stretch[0], stretch[0] + 4))
        assert hidden.all(1).sum() == 1 and hidden.sum() == 4 * len(NAMES) + 4  # and one electrode for good
        begun.add(stretch[0])
    assert begun == {0, 1, 2, 3, 4}
