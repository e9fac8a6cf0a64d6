"""The monitor on a model whose every number can be worked out by hand."""

import math

import pytest
import torch
from torch import Tensor

from openjepa.guards import sigreg_null
from openjepa.health import Monitor
from openjepa.jepa import View

from . import tiny

SAMPLES = 64


def one_vector_a_sample(seed: int = 0) -> Tensor:
    """`[64, 8, 4, 4]`: all tokens of a sample are one random vector, so its context tells everything."""
    vectors = torch.randn(SAMPLES, 8, generator=torch.Generator().manual_seed(seed))
    return vectors[:, :, None, None].expand(-1, -1, *tiny.GRID).contiguous()


def one_vector_a_position() -> Tensor:
    """`[64, 8, 4, 4]`: all samples are the same image."""
    image = torch.randn(8, *tiny.GRID, generator=torch.Generator().manual_seed(0))
    return image.expand(SAMPLES, -1, -1, -1).contiguous()


def test_a_predictor_that_uses_its_context_beats_both_trivial_ones():
    reading = Monitor(one_vector_a_sample()).measure(tiny.tiny_jepa(), step=7)
    assert reading["step"] == 7
    assert reading["energy/model"] == pytest.approx(0, abs=1e-10)
    assert reading["energy/mean"] == pytest.approx(1, rel=0.1)  # the variance of a standard normal
    assert reading["energy/permuted"] == pytest.approx(2, rel=0.2)  # the distance between two of them


def test_a_predictor_that_ignores_its_context_does_not_notice_the_swap():
    reading = Monitor(one_vector_a_sample()).measure(tiny.tiny_jepa(tiny.nothing), step=0)
    assert reading["energy/permuted"] == reading["energy/model"]
    assert reading["energy/model"] > 0.99 * reading["energy/mean"]


def test_the_mean_predictor_knows_each_position():
    reading = Monitor(one_vector_a_position()).measure(tiny.tiny_jepa(tiny.nothing), step=0)
    assert reading["energy/mean"] == pytest.approx(0, abs=1e-10)
    assert reading["energy/model"] > 0.5


def test_the_swapped_context_comes_with_its_own_positions():
    """Tokens carry their index; a predictor that is told other positions than its context has would see it."""

    def check(s_x: Tensor, context: View) -> Tensor:
        assert context.keep is not None
        assert torch.equal(s_x[..., 0].round().long(), context.keep)
        return s_x.mean(1)

    batch = one_vector_a_sample()
    batch[:, 0] = torch.arange(16.0).view(*tiny.GRID)
    Monitor(batch).measure(tiny.tiny_jepa(check), step=0)


def test_ranks_power_and_shares_of_samples_that_differ():
    reading = Monitor(one_vector_a_sample()).measure(tiny.tiny_jepa(), step=0)
    assert reading["rank/limit"] == 8
    for name in ("context", "embedding", "target"):
        assert 6.5 < reading[f"rank/{name}"] <= 8
    assert 6.5 < reading["rank/rankme"] <= 8
    assert reading["power/content"] > 0.95
    assert reading["power/constant"] + reading["power/position"] + reading["power/content"] == pytest.approx(
        1
    )
    assert reading["share/context"] == pytest.approx(reading["share/embedding"], abs=0.03)
    assert reading["share/embedding"] > 0.95
    assert reading["lidar/within"] == pytest.approx(
        0, abs=1e-10
    )  # masks do not matter where all tokens agree
    assert (reading["lidar/n"], reading["lidar/q"], reading["lidar/delta"]) == (SAMPLES, 4, 1e-4)
    assert 0.5 < reading["sigreg/null"] < 2  # the features are standard normal
    assert reading["std/target"] == pytest.approx(1, rel=0.1)
    assert reading["std/prediction_dead"] == 0


def test_equal_samples_share_nothing_of_their_own_though_masks_differ():
    reading = Monitor(one_vector_a_position()).measure(tiny.tiny_jepa(), step=0)
    assert reading["share/embedding"] < 1e-12
    assert reading["share/context"] < 0.02
    assert reading["lidar/within"] > 0.01
    assert reading["power/content"] < 1e-12
    assert reading["power/position"] > 0.8
    assert reading["input/std"] == pytest.approx(0, abs=1e-12)


def test_a_collapsed_model_reads_as_such():
    model = tiny.tiny_jepa()
    torch.nn.init.zeros_(model.encoder.project.weight)
    reading = Monitor(one_vector_a_sample()).measure(model, step=0)
    assert reading["rank/context"] == reading["rank/rankme"] == reading["share/embedding"] == 0
    assert reading["std/context_dead"] == reading["std/target_dead"] == 1
    assert reading["sigreg/null"] == pytest.approx(0.402 * SAMPLES / sigreg_null(), rel=0.01)


def test_a_diverged_model_reads_nan_and_does_not_raise():
    model = tiny.tiny_jepa()
    torch.nn.init.constant_(model.encoder.project.weight, math.nan)
    reading = Monitor(one_vector_a_sample()).measure(model, step=0)
    for key in (
        "rank/context",
        "lidar/value",
        "share/context",
        "share/embedding",
        "energy/model",
        "power/content",
    ):
        assert math.isnan(reading[key]), key


def test_measurements_repeat_and_leave_no_trace():
    model = tiny.tiny_jepa()
    model.train()
    model.encoder.dropout.eval()
    monitor = Monitor(one_vector_a_sample(), seed=3)
    state = torch.get_rng_state()
    first = monitor.measure(model, step=0)
    assert torch.equal(torch.get_rng_state(), state)
    assert monitor.measure(model, step=0) == first
    assert model.training and model.encoder.training
    assert not model.encoder.dropout.training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert Monitor(one_vector_a_sample(), seed=4).measure(model, step=0) != first


def test_pixels_are_measured_in_units_of_their_range():
    batch = torch.randint(
        0, 256, (SAMPLES, 8, *tiny.GRID), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    model = tiny.tiny_jepa()
    reading = Monitor(batch).measure(model, step=0)
    assert reading["input/std"] == pytest.approx(math.sqrt(1 / 12), rel=0.03)


@pytest.mark.parametrize(("samples", "views"), [(7, 8), (64, 1)])
def test_too_little_to_measure_is_refused(samples, views):
    with pytest.raises(ValueError, match="at least 8 held-out samples and 2 LiDAR views"):
        Monitor(one_vector_a_sample()[:samples], lidar_views=views)
