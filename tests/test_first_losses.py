"""Losses are those of the record: no change of structure has changed a number (see `benchmarks.first_losses`)."""

import pytest
import torch
from benchmarks.first_losses import first_losses, machine, machine_of, presets, record, renewed

COUNT = 10


@pytest.fixture
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_every_tiny_preset_is_recorded():
    assert sorted(record()["losses"]) == sorted(presets())


@pytest.mark.parametrize("preset", presets())
def test_first_losses_are_the_recorded_ones(preset, one_thread):
    """Bit for bit on the recorded processor with its version of torch, else nearly: kernels sum in other orders.

    What they round differently grows from step to step.
    """
    found, recorded = first_losses(*preset.split(), COUNT), record()
    expected = [float.fromhex(loss) for loss in recorded["losses"][preset][:COUNT]]
    if machine_of(recorded, preset) == machine():
        assert found == expected
    else:
        assert found[:3] == pytest.approx(expected[:3], rel=1e-4)
        assert found == pytest.approx(expected, rel=1e-2)


def test_a_preset_that_is_recorded_elsewhere_tells_where():
    first, second = presets()[:2]
    there = machine() | {"cpu": "another"}
    before = {**there, "losses": {second: ["0x1p+0"], first: ["0x1p+1"]}}
    after = renewed(before, {second: ["0x1p+2"]})
    assert after["losses"] == {first: ["0x1p+1"], second: ["0x1p+2"]}
    assert machine_of(after, second) == machine() and machine_of(after, first) == there
