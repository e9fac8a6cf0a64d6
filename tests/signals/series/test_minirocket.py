"""MiniRocket beside a plain implementation of its definition."""

from itertools import combinations

import numpy as np
import pytest
import torch

from openjepa.signals.series import SeriesSignal, open_series
from openjepa.signals.series.minirocket import fit_kernels

from .files import waves


def naive(series: np.ndarray, places: tuple[int, ...], dilation: int, padded: bool, bias: float) -> float:
    """The share of one kernel, by loops over a series `[T]`."""
    weight = np.full(9, -1.0)
    weight[list(places)] = 2
    found = []
    for t in range(len(series)):
        at = t + dilation * np.arange(-4, 5)
        if not padded and not (at[0] >= 0 and at[-1] < len(series)):
            continue
        inside = (at >= 0) & (at < len(series))
        found.append((weight[inside] * series[at[inside]]).sum() > bias)
    return float(np.mean(found))


def test_shares_are_those_of_the_definition() -> None:
    x = torch.from_numpy(waves(10, steps=70)[0])
    lengths = torch.tensor([70, 70, 50, 33, 70, 70, 70, 61, 70, 70])
    valid = (torch.arange(70) < lengths[:, None])[:, None]
    kernels = fit_kernels(x, valid, 84 * 6, np.random.default_rng(0))
    got = kernels(x, valid)
    assert got.shape == (10, 84 * 6) and [part.dilation for part in kernels.parts] == sorted(
        {part.dilation for part in kernels.parts}
    )
    places, at = list(combinations(range(9), 3)), 0
    random = np.random.default_rng(1)
    for part in kernels.parts:
        several = part.biases.shape[1]
        for k in random.choice(84, 4, replace=False).tolist():
            for row in (0, 2, 3):
                series = x[row, 0, : int(lengths[row])].double().numpy()
                padded = bool(part.padded[k]) or len(series) <= 8 * part.dilation
                want = naive(series, places[k], part.dilation, padded, float(part.biases[k, 0]))
                assert float(got[row, at + k * several]) == pytest.approx(want, abs=1e-6)
        at += 84 * several


def test_padding_does_not_matter_and_seeds_repeat() -> None:
    x = torch.from_numpy(waves(10, channels=2, steps=60)[0])
    kernels, again = (fit_kernels(x, None, 500, np.random.default_rng(3)) for _ in range(2))
    assert torch.equal(kernels(x), again(x))
    wider = torch.nn.functional.pad(x, (0, 20), value=9.0)
    valid = torch.ones_like(wider, dtype=torch.bool)
    valid[..., 60:] = False
    assert torch.allclose(kernels(wider, valid), kernels(x), atol=1e-6)


def test_classical_rows_stream_what_they_promise() -> None:
    x, y = waves(30, channels=2, steps=64)
    signal = SeriesSignal(length=64, patch=8, tokens="channel")
    signal = signal.fitted(open_series((x, y), signal))
    found = signal.open((x, y))
    assert [len(signal.classical(level)) for level in ("none", "quick", "all")] == [0, 2, 3]
    for kind in signal.classical():
        source = kind.fit(found, total=30, seed=0, progress=None)
        for name, dims in source.poolings.items():
            ((rows, features),) = source.stream(found, np.arange(30), [name])
            assert features[name].shape == (len(rows), dims) and features[name].isfinite().all()
