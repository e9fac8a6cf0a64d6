"""Which curves a run has, and how to read each."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from openjepa.report.charts import Chart, CurveLine, colour_of, dash_of, draw, short
from openjepa.report.record import Record, is_number

BOOKKEEPING = {"step", "loss", "energy", "lr", "grad_norm", "views", "data_wait", "seconds", "cpu_seconds"}
"""Numbers of a `train` line that are no guard's terms."""


@dataclass(frozen=True)
class Figure:
    """A drawn chart with its legend: `(colour variable, name, last value)` per line."""

    title: str
    caption: str
    svg: str
    legend: list[tuple[str, str, str]]
    level: str = ""


def figures(record: Record) -> list[Figure]:
    """Every chart for which the run has numbers, drawn."""
    charts = [chart for chart in (*_training(record), *_health(record)) if chart.lines]
    return [figure(chart, f"chart{i}") for i, chart in enumerate(charts)]


def figure(chart: Chart, name: str) -> Figure:
    """A chart drawn; `name` sets it apart from the page's others."""
    level = chart.level[1] if chart.level else ""
    return Figure(chart.title, chart.caption, draw(chart, name), list(_legend(chart)), level)


def _legend(chart: Chart) -> Iterator[tuple[str, str, str]]:
    for i, line in enumerate(chart.lines):
        if len(line.steps):
            name = f"{line.name} ({dash_of(i)})" if dash_of(i) and not chart.stacked else line.name
            last = line.values[-1]
            yield colour_of(i), name, f"{last:.0%}" if chart.stacked else short(last)


def _training(record: Record) -> Iterator[Chart]:
    alone = record.series("train", "loss") == record.series("train", "energy")  # no guard: one curve
    yield Chart(
        "Loss",
        ("The energy, " if alone else "What is minimised, and in it the energy, ")
        + "the distance of the prediction from the target. A falling loss alone proves nothing, since a collapsed "
        "encoder reaches zero: read it with the panels below.",
        _lines(record, "train", {"loss": "loss"} if alone else {"loss": "loss", "energy": "energy"}),
    )
    terms = _guard_terms(record)
    others = {*(record.config.get("terms") or {}), "latent", "level2"}
    for name, keys in terms.items():
        if name in others:
            title, caption = f"Term: {name}", "Of the loss, unweighted."
        else:
            title = f"Guard: {name}"
            caption = "What keeps the features from collapsing, unweighted. The lower, the closer to what it asks for."
        yield Chart(title, caption, _lines(record, "train", keys))
    yield Chart(
        "Learning rate",
        "Of AdamW at each step.",
        _lines(record, "train", {"lr": "learning rate"}),
    )
    yield Chart(
        "Gradient norm",
        "Before clipping. Rare spikes are normal, steady growth is not.",
        _lines(record, "train", {"grad_norm": "gradient norm"}),
    )


def _guard_terms(record: Record) -> dict[str, dict[str, str]]:
    """Keys and names of each guard's terms: `vicreg/std` goes with `vicreg/covariance`."""
    keys = {
        key: None
        for line in record.kind("train")
        for key, value in line.items()
        if is_number(value) and key not in BOOKKEEPING
    }
    groups: dict[str, dict[str, str]] = {}
    for key in keys:
        name, _, part = key.partition("/")
        if part or f"{name}/null" not in keys:  # a statistic and the same over its null are one curve
            groups.setdefault(name, {})[key] = {"": "value", "null": "over its null"}.get(part, part)
    return groups


def _health(record: Record) -> Iterator[Chart]:
    last = record.last("health")
    yield Chart(
        "Energy beside trivial predictors",
        "On held-out samples. The prediction should lie below the mean target of each position (what one knows without "
        "looking) and below the same predictor given another sample's context (what one knows without this sample)"
        + (_WORLD if is_number(last.get("energy/persistence")) else "")
        + ".",
        _lines(
            record,
            "health",
            {
                "energy/model": "prediction",
                "energy/mean": "mean target",
                "energy/permuted": "wrong context",
                "energy/persistence": "last state",
                "energy/permuted_actions": "wrong actions",
                "energy/mean_z": "mean over z",
                "energy/permuted_z": "wrong z",
            },
        ),
    )
    yield Chart(
        "What the features tell, without labels",
        "On held-out samples: whether a sample's nearest neighbours look like it by classical features, whether a part "
        "of it finds it (mean reciprocal rank), how well its coarse form is decoded (R²). Training has helped where "
        "these rise above step 0.",
        _lines(record, "health", {"task/look": "neighbours", "task/view": "part", "task/coarse": "coarse"}),
    )
    for way, title in (("forced", "Teacher-forced energy"), ("rollout", "Energy of the rollout")):
        names = {"model": "prediction", "persistence": "last state", "permuted_actions": "wrong actions"}
        yield Chart(
            title,
            "The part of the energy above that is "
            + ("of single steps from true states." if way == "forced" else "of steps on own predictions."),
            _lines(record, "health", {f"energy/{way}/{key}": name for key, name in names.items()}),
        )
    yield Chart(
        "What the target is made of",
        "Shares of the power of the (normalised) target: the same everywhere (constant), fixed by position, and the "
        "rest, the only part that depends on the sample (content). Little content means there is little to learn.",
        _shares(
            record, {"power/content": "content", "power/position": "position", "power/constant": "constant"}
        ),
        stacked=True,
    )
    limit = last.get("rank/limit")
    yield Chart(
        "Rank",
        "How many directions the features use: effective rank, and RankMe (which does not subtract the mean) of the "
        "context. A fall towards 1 is a collapse."
        + (f" At most {limit:.0f} can be measured here." if is_number(limit) else ""),
        _lines(
            record,
            "health",
            {
                "rank/context": "context",
                "rank/rankme": "RankMe",
                "rank/embedding": "embedding",
                "rank/target": "target",
            },
        ),
    )
    stated = [f"{name} = {short(last[key])}" for name, key in _LIDAR if is_number(last.get(key))]
    yield Chart(
        "LiDAR",
        f"Directions that tell samples apart better than their views ({', '.join(stated)}). Never to be read alone: a "
        "collapsed embedding can score high, so look at the variances in the next panel.",
        _lines(record, "health", {"lidar/value": "LiDAR"}),
    )
    yield Chart(
        "Variances behind LiDAR",
        "Per dimension: between samples, within the views of a sample, total. Between should stay well above within, "
        "and none should head for zero.",
        _lines(
            record,
            "health",
            {"lidar/between": "between", "lidar/within": "within", "lidar/total": "total"},
        ),
    )
    yield Chart(
        "Spread of the dimensions",
        "Standard deviation of each feature dimension, averaged; shaded from the least to the most varied one. A "
        f"curve that sinks to zero is dying.{_dead(record)}",
        [
            replace(line, band=_band(record, f"std/{line.name}", line))
            for line in _lines(record, "health", {f"std/{n}": n for n in ("context", "target", "prediction")})
        ],
    )
    yield Chart(
        "Share that tells samples apart",
        "Of the features' power, the part that differs between samples (not between masks or augmentations of one). It "
        "may fall from its first value, but not to nothing.",
        _lines(record, "health", {"share/context": "context", "share/embedding": "embedding"}),
    )
    yield Chart(
        "SIGReg over its null",
        "How far the pooled features are from a standard Gaussian, in units of what a Gaussian sample of this size "
        "gives: 1 is Gaussian. Only a run with this guard is asked to get there.",
        _lines(record, "health", {"sigreg/null": "SIGReg / null"}),
        level=(1.0, "a Gaussian"),
    )


_WORLD = "; below the last state copied, and below the predictor given another window's actions"
_LIDAR = (("n", "lidar/n"), ("q", "lidar/q"), ("δ", "lidar/delta"))


def _lines(record: Record, kind: str, keys: dict[str, str]) -> list[CurveLine]:
    found = [CurveLine(name, *record.series(kind, key)) for key, name in keys.items()]
    return [line for line in found if np.isfinite(line.values).any()]


def _shares(record: Record, keys: dict[str, str]) -> list[CurveLine]:
    """Lines over the steps at which all shares are known."""
    lines = _lines(record, "health", keys)
    return lines if len(lines) == len(keys) and len({len(line.steps) for line in lines}) == 1 else []


def _band(record: Record, key: str, line: CurveLine) -> tuple[Sequence[float], Sequence[float]] | None:
    low, high = (record.series("health", f"{key}_{end}")[1] for end in ("min", "max"))
    return (low, high) if len(low) == len(high) == len(line.values) else None


def _dead(record: Record) -> str:
    last = record.last("health")
    parts = [(n, last.get(f"std/{n}_dead")) for n in ("context", "target", "prediction")]
    dead = [f"{share:.0%} of the {name}'s" for name, share in parts if share]
    return f" Dead at the end: {', '.join(dead)} dimensions." if dead else " No dimension is dead at the end."
