"""The metrics against the numeric cases they must reproduce, closed forms and known spectra."""

import math

import numpy as np
import pytest
import torch

from openjepa.health.metrics import (
    alpha_req,
    effective_rank,
    lidar,
    nesum,
    participation_ratio,
    rankme,
    sample_share,
    spectrum,
    spread,
    target_power_split,
)

DIMENSIONS = 128


def signal_and_noise(k: int, noise: float, q: int, seed: int = 0) -> torch.Tensor:
    """`[1000, q, 128]`: a Gaussian signal of k random directions, and isotropic noise in every view."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(k, DIMENSIONS, generator=generator) / math.sqrt(DIMENSIONS)
    signal = torch.randn(1000, k, generator=generator) @ mixing
    return signal[:, None] + noise * torch.randn(1000, q, DIMENSIONS, generator=generator)


def with_spectrum(singular: torch.Tensor, rows: int, seed: int = 0) -> torch.Tensor:
    """A `[rows, D]` matrix with exactly these singular values."""
    generator = torch.Generator().manual_seed(seed)
    left = torch.linalg.qr(torch.randn(rows, len(singular), generator=generator, dtype=torch.float64))[0]
    right = torch.linalg.qr(
        torch.randn(len(singular), len(singular), generator=generator, dtype=torch.float64)
    )[0]
    return left * singular @ right.T


@pytest.mark.parametrize(
    ("k", "noise", "q", "expected"),
    [
        (16, 0.1, 2, 18.3),
        (16, 0.1, 10, 15.9),
        (16, 0.1, 50, 15.2),
        (64, 0.1, 2, 48.6),
        (64, 0.1, 10, 48.9),
        (64, 0.1, 50, 48.7),
        (16, 1.0, 2, 102.4),
        (16, 1.0, 10, 64.3),
        (16, 1.0, 50, 28.0),
    ],
)
def test_lidar_reproduces_the_measured_cases(k, noise, q, expected):
    assert lidar(signal_and_noise(k, noise, q)).value == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize(
    ("k", "noise", "rankme_expected", "effective_expected"),
    [(16, 0.1, 69, 21.7), (64, 0.1, 81, 51.6), (16, 1.0, 125, 116)],
)
def test_ranks_of_one_view_reproduce_the_measured_cases(k, noise, rankme_expected, effective_expected):
    one_view = signal_and_noise(k, noise, 2)[:, 0]
    assert rankme(one_view) == pytest.approx(rankme_expected, rel=0.03)
    assert effective_rank(one_view) == pytest.approx(effective_expected, rel=0.05)


def test_bias_correction_takes_most_of_the_small_q_bias():
    views = signal_and_noise(16, 1.0, 10)
    plain, corrected = lidar(views), lidar(views, bias_corrected=True)
    truth = 15.0  # what the noise-free limit (q = 50, noise 0.1) reads
    assert abs(corrected.value - truth) < 0.2 * abs(plain.value - truth)


def test_lidar_of_a_collapsed_embedding_looks_full_rank_and_only_its_variance_tells():
    generator = torch.Generator().manual_seed(0)
    collapsed = 1 + 1e-6 * torch.randn(1000, 10, DIMENSIONS, generator=generator)
    result = lidar(collapsed)
    assert result.value == pytest.approx(120, abs=2)
    assert result.total < 1e-11
    assert result.snr < 1e-6
    alive = lidar(signal_and_noise(16, 0.1, 10))
    assert alive.total > 0.01
    assert alive.snr > 1


def test_lidar_variances_add_up_and_settings_are_stated():
    result = lidar(signal_and_noise(16, 1.0, 10), delta=1e-3)
    assert (result.n, result.q, result.delta) == (1000, 10, 1e-3)
    assert result.within == pytest.approx(1.0, rel=0.01)
    assert result.total == pytest.approx(result.between + 0.9 * result.within, rel=0.01)


def test_lidar_does_not_exceed_what_n_samples_can_show():
    few = torch.randn(5, 4, 32, generator=torch.Generator().manual_seed(0))
    assert 1 <= lidar(few).value <= 4.01


@pytest.mark.parametrize("shape", [(1, 4, 8), (4, 1, 8)])
def test_lidar_needs_two_samples_and_two_views(shape):
    with pytest.raises(ValueError, match="at least 2 samples and 2 views"):
        lidar(torch.zeros(shape))


@pytest.mark.parametrize("rank", [1, 4, 32])
def test_rankme_counts_equal_singular_values(rank):
    singular = torch.zeros(32, dtype=torch.float64)
    singular[:rank] = 3.0
    assert rankme(with_spectrum(singular, 100)) == pytest.approx(rank, rel=1e-3)


def test_rankme_is_the_entropy_of_singular_values_uncentred():
    singular = 0.7 ** torch.arange(20, dtype=torch.float64)
    p = singular / singular.sum()
    assert rankme(with_spectrum(singular, 50)) == pytest.approx(math.exp(-(p * p.log()).sum()), rel=1e-3)
    shifted = torch.ones(50, 20)
    assert rankme(shifted) == pytest.approx(1, rel=1e-3)
    assert effective_rank(shifted) == 0


def test_effective_rank_ignores_shift_rotation_and_scale():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(200, 24, generator=generator, dtype=torch.float64) * torch.linspace(0.1, 1, 24)
    rotation = torch.linalg.qr(torch.randn(24, 24, generator=generator, dtype=torch.float64))[0]
    assert effective_rank(37 * x @ rotation + 5) == pytest.approx(effective_rank(x), rel=1e-6)


def test_spectral_ratios_of_a_known_spectrum():
    x = torch.diag(torch.tensor([2.0, 1.0, 1.0, 1.0], dtype=torch.float64))
    x = torch.cat([x, -x])  # centred; covariance diag(4, 1, 1, 1) · 2 / 7
    assert nesum(x) == pytest.approx(7 / 4)
    assert participation_ratio(x) == pytest.approx(49 / 19)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0])
def test_alpha_req_reads_the_exponent_of_a_power_law(alpha):
    index = torch.arange(1, 121, dtype=torch.float64)
    x = with_spectrum(index ** (-alpha / 2), 2000)
    assert alpha_req(x) == pytest.approx(alpha, rel=0.1)
    assert math.isnan(alpha_req(x[:, :8]))


def decay(eigenvalues: torch.Tensor) -> float:
    """α of eigenvalues number 11 on, by weighted least squares through numpy."""
    index = np.arange(11, 1 + len(eigenvalues))
    slope, _ = np.polyfit(np.log(index), np.log(eigenvalues[10:].numpy()), 1, w=index**-0.5)
    return -slope


@pytest.mark.parametrize("mean", [0.0, 100.0])
@pytest.mark.parametrize("rank", [8, 12, 14, 40])
def test_alpha_req_leaves_rounding_noise_out(rank, mean):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(400, rank, generator=generator) @ torch.randn(rank, 64, generator=generator) + mean
    if rank < 13:
        assert math.isnan(alpha_req(x))
    else:
        exact = torch.linalg.svdvals((x - x.mean(0)).double())[:rank].square()
        assert alpha_req(x) == pytest.approx(decay(exact), rel=1e-2)


def test_alpha_req_of_fewer_samples_than_dimensions():
    index = torch.arange(1, 97)
    x = torch.randn(64, 96, generator=torch.Generator().manual_seed(0)) * index**-0.5
    exact = torch.linalg.svdvals((x - x.mean(0)).double())[:63].square()
    assert alpha_req(x) == pytest.approx(decay(exact), rel=1e-4)
    assert alpha_req(x) == pytest.approx(2.2, abs=0.5)


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_spread_finds_dead_dimensions_at_any_scale(scale):
    x = torch.randn(500, 10, generator=torch.Generator().manual_seed(0))
    x[:, :3] = 1 + 1e-5 * x[:, :3]
    result = spread(scale * x)
    assert result.dead == pytest.approx(0.3)
    assert result.max == pytest.approx(scale, rel=0.15)
    assert spread(torch.full((8, 4), scale)).dead == 1


def test_power_split_sums_to_one_and_recovers_the_shares():
    generator = torch.Generator().manual_seed(0)
    batch, tokens, width = 400, 49, 64
    constant = torch.ones(width) * math.sqrt(0.5)
    position = torch.randn(tokens, width, generator=generator)
    position = math.sqrt(0.3) * (position - position.mean(0))
    content = math.sqrt(0.2) * torch.randn(batch, tokens, width, generator=generator)
    split = target_power_split(constant + position + content)
    assert split.constant + split.position + split.content == pytest.approx(1, abs=1e-9)
    assert (split.constant, split.position, split.content) == pytest.approx((0.5, 0.3, 0.2), abs=0.02)


def test_sample_share_is_scale_free_and_zero_for_equal_samples():
    x = 1 + torch.randn(100, 16, generator=torch.Generator().manual_seed(0))
    assert sample_share(1e-3 * x) == pytest.approx(sample_share(x), rel=1e-4)
    assert 0.4 < sample_share(x) < 0.6
    assert sample_share(x[:1].expand(10, -1)) == 0
    assert sample_share(torch.zeros(10, 4)) == 0


def test_features_that_are_not_finite_read_nan_and_zero_features_rank_zero():
    broken = torch.ones(10, 4)
    broken[3, 2] = math.nan
    for metric in (rankme, effective_rank, participation_ratio, nesum, sample_share):
        assert math.isnan(metric(broken)), metric.__name__
    assert math.isnan(lidar(broken[:, None].expand(-1, 2, -1)).value)
    for metric in (rankme, effective_rank, participation_ratio, nesum):
        assert metric(torch.zeros(10, 4)) == 0, metric.__name__


def test_spectrum_is_that_of_the_covariance():
    x = torch.randn(50, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert torch.allclose(spectrum(x), torch.linalg.eigvalsh(x.T.cov()).flip(0))
