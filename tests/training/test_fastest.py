"""Precision and attention: measured where several ways are open, written down, and kept when a run continues."""

import pytest
import torch

import openjepa
from openjepa.nets import attention
from openjepa.training import Run, fastest, precision
from openjepa.training.fastest import chosen

from . import small


def rates(monkeypatch, table):
    """Hardware with bf16, on which each way has a given speed."""
    seen = []

    def rate(config, samples, device):
        seen.append((config.train.precision, config.train.attention))
        return table[seen[-1]]

    monkeypatch.setattr(fastest, "computes_in_bf16", lambda device: True)
    monkeypatch.setattr(fastest, "rate", rate)
    return seen


TABLE = {("bf16", "fused"): 5.0, ("bf16", "math"): 30.0, ("fp32", "fused"): 20.0}


def test_the_fastest_way_is_taken_and_told(monkeypatch):
    seen = rates(monkeypatch, TABLE)
    config, told = chosen(small.config("i-jepa", train__precision="auto"), small.images())
    assert (config.train.precision, config.train.attention) == ("bf16", "math")
    assert set(seen) == set(TABLE)
    assert "bf16 with math attention 30" in told and "fp32 with fused attention 20" in told


def test_what_is_asked_for_is_not_measured(monkeypatch):
    seen = rates(monkeypatch, TABLE)
    config, told = chosen(small.config("i-jepa", train__precision="fp32"), small.images())
    assert (config.train.precision, config.train.attention, told, seen) == ("fp32", "fused", "", [])
    asked = small.config("i-jepa", train__precision="bf16", train__attention="fused")
    assert chosen(asked, small.images())[0] == asked and not seen


def test_without_bf16_hardware_nothing_is_measured(monkeypatch):
    monkeypatch.setattr(fastest, "computes_in_bf16", lambda device: False)
    monkeypatch.setattr(fastest, "rate", None)
    config, told = chosen(small.config("i-jepa", train__precision="auto"), small.images())
    assert (config.train.precision, config.train.attention, told) == ("fp32", "fused", "")


def test_a_run_writes_the_choice_down_and_continues_with_it(monkeypatch, tmp_path):
    rates(monkeypatch, {**TABLE, ("fp32", "fused"): 50.0})
    out, config = tmp_path / "run", small.config("i-jepa", train__precision="auto")
    openjepa.train(config, data=small.pixels(), out=out)
    run = Run.open(out)
    assert run.config.train.precision == "fp32"
    assert any("fp32 with fused attention 50" in record["text"] for record in run.records("event"))
    rates(monkeypatch, TABLE)
    openjepa.train(config, data=small.pixels(), out=out, resume=True)


def test_measuring_trains_a_copy_and_touches_no_random_state():
    torch.manual_seed(3)
    state = torch.get_rng_state()
    assert fastest.rate(small.config("i-jepa"), small.images(), torch.device("cpu")) > 0
    assert torch.equal(torch.get_rng_state(), state)


def test_the_config_chooses_the_kernels_of_attention(monkeypatch):
    used = []
    fused = torch.nn.functional.scaled_dot_product_attention
    monkeypatch.setattr(
        attention.F, "scaled_dot_product_attention", lambda *a: used.append("fused") or fused(*a)
    )
    q, k, v = torch.randn(3, 2, 4, 9, 8, generator=torch.Generator().manual_seed(0))
    outputs = []
    for name in ("fused", "math"):
        training = small.config("i-jepa", train__attention=name).train
        with precision.computing(training, torch.device("cpu")):
            outputs.append(attention.attend(q, k, v))
    assert used == ["fused"]
    torch.testing.assert_close(*outputs, atol=1e-6, rtol=1e-5)
    attention.attend(q, k, v)
    assert used == ["fused", "fused"]  # as before, afterwards


@pytest.mark.parametrize(("kind", "plain"), [("fp32", False), ("bf16", True)])
def test_kernels_that_nobody_has_chosen_are_plain_in_bf16_on_the_cpu(kind, plain):
    training = small.config("i-jepa", train__precision=kind, train__attention="auto").train
    with precision.computing(training, torch.device("cpu")):
        assert attention.Kernels.plain is plain


def test_a_loss_that_diverges_while_it_is_measured_is_left_for_the_run_to_tell():
    wild = small.config("i-jepa", train__lr=1e20, train__warmup=0.0)
    assert fastest.rate(wild, small.images(), torch.device("cpu")) > 0
