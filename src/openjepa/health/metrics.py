"""How alive a representation is, read from features alone: no labels, no model.

Every function takes features of any float type, works in float64 and returns Python floats. Features that are
not finite give `nan`, never an exception: a diverged run must still be measured to be named.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

EPSILON = 1e-7
"""Added to every normalised eigen- or singular value (RankMe, eq. 2; LiDAR uses 1e-7 to 1e-8)."""

ROUNDING = 1e-12
"""Share of the features' power below which variation is float32 rounding (relative std 1e-6), not signal."""


@dataclass(frozen=True)
class Lidar:
    """LiDAR with what it must never be shown without: alone it reads a collapsed embedding as full-rank.

    `value` lies in [0, min(p, n - 1)]; `within`, `between` and `total` are variances per dimension (trace /
    p, δ left out); `snr` is the mean eigenvalue of the LDA matrix; `n` samples, `q` views each, ridge
    `delta`.
    """

    value: float
    within: float
    between: float
    total: float
    snr: float
    n: int
    q: int
    delta: float


@dataclass(frozen=True)
class Spread:
    """Standard deviations per dimension, summarised; `dead` is the share of dimensions that hardly vary."""

    mean: float
    min: float
    max: float
    dead: float


@dataclass(frozen=True)
class PowerSplit:
    """Shares of the power of targets; they sum to 1 (or are all nan where there is no power)."""

    constant: float
    position: float
    content: float


def rankme(features: Tensor) -> float:
    """RankMe of features `[N, D]`: exp of the entropy of the *uncentred singular values*, in [1, min(N, D)].

    Garrido et al., ICML 2023, arXiv:2210.02885. Several libraries use centred covariance eigenvalues under
    the same name; that is `effective_rank`. Features that are all zero have rank 0.
    """
    rows = _rows(features)
    if not rows.isfinite().all():
        return math.nan
    return _exp_entropy(torch.linalg.svdvals(rows))


def effective_rank(features: Tensor) -> float:
    """exp of the entropy of the centred covariance's eigenvalues (σ²) of features `[N, D]`.

    In [1, min(N - 1, D)] (Roy & Vetterli, EUSIPCO 2007). Features that are constant up to float32 rounding have rank 0.

    Examples:
        >>> line = torch.linspace(0, 1, 50)[:, None] * torch.ones(1, 8)
        >>> round(effective_rank(line), 3)  # all features in one direction
        1.0
    """
    return _exp_entropy(spectrum(features))


def participation_ratio(features: Tensor) -> float:
    """(Σλ)² / Σλ² of the centred covariance of features `[N, D]`; 0 for constant features."""
    values = spectrum(features)
    power = values.square().sum()
    return float(values.sum().square() / power) if power != 0 else 0.0


def nesum(features: Tensor) -> float:
    """Σ λ_k / λ_1 of the centred covariance of features `[N, D]`; 0 for constant ones (He & Ozay 2022)."""
    values = spectrum(features)
    return float(values.sum() / values[0]) if values[0] != 0 else 0.0


def alpha_req(features: Tensor, first: int = 10, last: int = 99) -> float:
    """Decay exponent α of the centred covariance's spectrum, λ_j ∝ j^-α; about 1 in good representations.

    α-ReQ (Agrawal et al., NeurIPS 2022): least squares in log-log over the 0-based indices `first` ..
    `last`, weighted by 1/j. The range can flip the sign of α's correlation with accuracy, so state it. The range is cut
    to the eigenvalues above rounding noise, of which N samples give at most N - 1; `nan` where fewer than three are
    left.
    """
    rows = _rows(features)
    noise = ROUNDING * rows.square().mean(0).sum()
    values = spectrum(rows)[: max(len(rows) - 1, 0)]
    values = values[values > noise][first : last + 1]
    if len(values) < 3:
        return math.nan
    index = torch.arange(first, first + len(values), dtype=torch.float64) + 1
    x, y, weight = index.log(), values.log(), 1 / index
    x, y = x - (weight * x).sum() / weight.sum(), y - (weight * y).sum() / weight.sum()
    return float(-(weight * x * y).sum() / (weight * x.square()).sum())


def lidar(views: Tensor, delta: float = 1e-4, bias_corrected: bool = False) -> Lidar:
    """LiDAR of `[n, q, p]`: n samples (the surrogate classes), q independent views of each, p dimensions.

    Thilak et al., ICLR 2024, arXiv:2312.04000: exp of the entropy of the eigenvalues of Σ_w^-½ Σ_b Σ_w^-½,
    where Σ_w carries the ridge δ (not printed in the paper; 1e-4 is what implementations use). Views must
    come from the objective's own positive pairs: masks for masked systems, augmentations otherwise.

    The value is biased upwards by about 1/q per dimension of view noise, so compare only equal q;
    `bias_corrected` takes Σ_w / q off Σ_b. Raises ValueError for fewer than two samples or views.
    """
    n, q, p = views.shape
    if n < 2 or q < 2:
        raise ValueError(
            f"LiDAR needs at least 2 samples and 2 views of each, got {n} and {q}: raise both above 1"
        )
    x = views.detach().to("cpu", torch.float64)
    if not x.isfinite().all():
        return Lidar(math.nan, math.nan, math.nan, math.nan, math.nan, n, q, delta)
    means = x.mean(1)
    residual = (x - means[:, None]).reshape(-1, p)
    centred = means - means.mean(0)
    within = residual.T @ residual / (n * (q - 1))
    between = centred.T @ centred / (n - 1)
    total = (x - x.mean((0, 1))).square().sum() / (n * q - 1)
    numerator = between - within / q if bias_corrected else between
    scale, basis = torch.linalg.eigh(within + delta * torch.eye(p, dtype=torch.float64))
    whitener = (basis * scale.clamp_min(delta).rsqrt()) @ basis.T
    ratios = torch.linalg.eigvalsh(whitener @ numerator @ whitener).clamp_min(0)
    return Lidar(
        value=_exp_entropy(ratios),
        within=float(within.trace()) / p,
        between=float(between.trace()) / p,
        total=float(total) / p,
        snr=float(ratios.mean()),
        n=n,
        q=q,
        delta=delta,
    )


def spread(features: Tensor, dead_below: float = 1e-3) -> Spread:
    """Standard deviation over rows of each dimension of features `[..., D]`, summarised.

    A dimension is dead where its std is below `dead_below` times the rms of all features, uncentred:
    features that are constant are all dead at any scale.
    """
    rows = _rows(features)
    std = rows.std(0, correction=0)
    rms = rows.square().mean().sqrt()
    dead = (std <= dead_below * rms).double().mean()
    return Spread(float(std.mean()), float(std.min()), float(std.max()), float(dead))


def sample_share(features: Tensor) -> float:
    """Share of the power of features `[B, D]` that tells samples apart: Σ_d var_d / Σ_d E[x_d²], in [0, 1].

    It does not change with the features' scale, so a layer norm that blows the remains of a collapsed
    embedding back up to unit length cannot hide the collapse. 0 for features without power.
    """
    rows = _rows(features)
    power = rows.square().mean(0).sum()
    variance = rows.var(0, correction=0).sum()
    return float(variance / power) if power != 0 else 0.0


def target_power_split(targets: Tensor, valid: Tensor | None = None) -> PowerSplit:
    """Splits the power of targets `[B, N, D]` on a common grid of N positions into what there is to predict.

    constant: the mean over samples and positions; position: what the mean over samples adds at each
    position; content: the rest, the only part that depends on the input. A predictor that ignores its
    context can reach all of the first two. Where samples are padded, `valid` `[B, N]` says which tokens are there.
    """
    x = targets.detach().to("cpu", torch.float64)
    if valid is not None:
        return _power_split_of(x, valid.cpu())
    at_position = x.mean(0)
    overall = at_position.mean(0)
    power = x.square().sum(-1).mean()
    if not power > 0:  # also nan
        return PowerSplit(math.nan, math.nan, math.nan)
    constant = overall.square().sum() / power
    position = (at_position - overall).square().sum(-1).mean() / power
    content = (x - at_position).square().sum(-1).mean() / power
    return PowerSplit(float(constant), float(position), float(content))


def _power_split_of(x: Tensor, valid: Tensor) -> PowerSplit:
    """`target_power_split` of the valid tokens alone."""
    there = valid.unsqueeze(-1).double()
    count, x = valid.sum(), x.nan_to_num() * there
    power = x.square().sum() / count
    if not power > 0:
        return PowerSplit(math.nan, math.nan, math.nan)
    at_position = x.sum(0) / there.sum(0).clamp_min(1)
    overall = x.sum((0, 1)) / count
    constant = overall.square().sum() / power
    position = ((at_position - overall).square() * there).sum() / count / power
    content = ((x - at_position).square() * there).sum() / count / power
    return PowerSplit(float(constant), float(position), float(content))


def spectrum(features: Tensor) -> Tensor:
    """Eigenvalues of the centred covariance of features `[..., D]`, largest first, float64 `[D]`.

    All nan where features are not finite, all zero where they are constant up to float32 rounding.
    """
    rows = _rows(features)
    if not rows.isfinite().all():
        return torch.full((rows.shape[1],), math.nan, dtype=torch.float64)
    centred = rows - rows.mean(0)
    if centred.square().mean() <= ROUNDING * rows.square().mean():
        return torch.zeros(rows.shape[1], dtype=torch.float64)
    return torch.linalg.eigvalsh(centred.T @ centred / max(len(rows) - 1, 1)).flip(0).clamp_min(0)


def _rows(features: Tensor) -> Tensor:
    return features.detach().to("cpu", torch.float64).reshape(-1, features.shape[-1])


def _exp_entropy(values: Tensor) -> float:
    """exp(-Σ p log p) of non-negative values, p = value / sum + ε; 0 where all are zero."""
    total = values.sum()
    if total == 0:
        return 0.0
    p = values / total + EPSILON
    return float((-(p * p.log()).sum()).exp())
