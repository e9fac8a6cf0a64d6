"""Series for tests: waves of two classes, and the files that they are written to."""

from pathlib import Path

import numpy as np


def waves(
    count: int = 40, channels: int = 1, steps: int = 64, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """`[N, C, T]` and classes 0 and 1: slow and fast waves with noise."""
    random = np.random.default_rng(seed)
    y = np.arange(count) % 2
    rate = np.where(y == 0, 2, 7) * random.uniform(0.9, 1.1, count)
    time = np.arange(steps) / steps
    phase = random.uniform(0, 6, (count, channels, 1))
    x = np.sin(2 * np.pi * rate[:, None, None] * time + phase) + 0.1 * random.normal(
        size=(count, channels, steps)
    )
    return x.astype(np.float32), y


def write_ts(path: Path, series: list[np.ndarray], labels: list[str], dimensions: int | None = None) -> Path:
    """A `.ts` file of series `[C, T]` each."""
    head = ["# made for a test", "@problemName Waves", "@timeStamps false"]
    head += [] if dimensions is None else [f"@dimensions {dimensions}"]
    head += [f"@classLabel true {' '.join(sorted(set(labels)))}", "@data"]
    body = [
        ":".join([*(",".join("?" if np.isnan(v) else f"{v:.6g}" for v in row) for row in one), label])
        for one, label in zip(series, labels, strict=True)
    ]
    path.write_text("\n".join([*head, *body]) + "\n")
    return path


def write_csv(path: Path, table: np.ndarray, names: list[str]) -> Path:
    """A row a step, after a column of dates."""
    lines = [",".join(["date", *names])]
    lines += [
        ",".join([f"2020-01-{i % 28 + 1:02d}", *(f"{v:.6g}" for v in row)]) for i, row in enumerate(table)
    ]
    path.write_text("\n".join(lines) + "\n")
    return path
