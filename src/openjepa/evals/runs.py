"""Probing what `openjepa train` has written."""

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from openjepa.common import files
from openjepa.common.files import step_of
from openjepa.errors import UserError
from openjepa.evals.features import Progress
from openjepa.evals.protocol import Comparison, Kind
from openjepa.evals.splits import fewer, labelled
from openjepa.evals.table import UNKNOWN, Cost, ProbeTable, combine
from openjepa.jepa import JEPA
from openjepa.recipes import Recipe, build
from openjepa.recipes.images import ImageRecipe, require_images
from openjepa.signals.images import ImageSet
from openjepa.training import Run, load

PROBE = "probe.json"


def probe_runs(
    runs: Sequence[str | Path],
    *,
    data: str | None = None,
    test: str | None = None,
    kinds: Sequence[Kind] = ("linear", "knn"),
    classical: str = "all",
    few_label: Sequence[float] = (),
    per_class: Sequence[int] = (),
    most: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> ProbeTable:
    """Probe the models of run directories; several runs (training seeds) give intervals over them.

    Classical features, which the runs' signal names, are fitted and scored once. Each run's own table is written into
    it as `probe.json`. The random encoder beside run i has the seed `seed + i`, the label draws and validation splits
    are the same for all.

    Args:
        runs: directories that `openjepa train` has written, of one recipe and one data set.
        data: labelled images to fit on, as `open_images` takes them; `None`: the data of the run.
        test: labelled images to test on; `None`: the test split of `data`.
        classical: which classical features stand beside the models: `none`, `quick` or `all`.
        few_label, per_class: shares of the labels and examples per class that are scored besides all labels.
        most: how many labelled samples to choose and fit on at most, drawn by `seed` with each class in proportion;
            `None`: all. Classical features are fitted on the same samples.

    Raises:
        UserError: not a run, runs of several recipes or data sets, data without labels or without a test split, a
            run that cannot be written to; and see `probe`.
    """
    models = [load(run) for run in runs]
    configs = [require_images(run, model.config) for run, model in zip(runs, models, strict=True)]
    _check_alike(runs, configs)
    source = data or configs[0].data
    train_set = _open(source, "train", configs[0])
    if most is not None:
        train_set = fewer(train_set, most, np.random.default_rng([seed, 8]))
    test_set = _open(source, "test", configs[0]) if test is None else _open_whole(test, configs[0])
    beside = Comparison(
        train_set,
        test_set,
        kinds=kinds,
        classical=configs[0].signal.classical(classical),
        few_label=few_label,
        per_class=per_class,
        seed=seed,
        progress=progress,
    )
    tables = []
    for i, (run, model) in enumerate(zip(runs, models, strict=True)):
        table = beside.table(
            model,
            random_init=partial(untrained, model.config),
            seeds=[seed + i],
            cost=training_cost(run),
            name=str(run),
        )
        _write(Path(run), table)
        tables.append(table)
    return tables[0] if len(tables) == 1 else combine(tables)


def untrained(config: Recipe, seed: int) -> JEPA:
    """The config's model at random initialisation, also where its encoder would start from published weights."""
    return build(config.from_scratch(), seed).eval()


def training_cost(run: str | Path) -> Cost:
    """What training has taken up to the model that `load` gives: its steps, and the looks at its health.

    Unknown of an exported model, and of a run some of whose steps an older version has taken.
    """
    try:
        opened = Run.open(run)
    except UserError:
        return UNKNOWN
    newest = opened.checkpoints.newest()
    done = opened.config.train.steps
    if newest is not None and not (opened.path / files.MODEL / files.WEIGHTS).exists():
        done = step_of(newest)
    steps = [line for line in opened.records("train") if line["step"] < done]
    looks = [line for line in opened.records("verdict") if line["step"] <= done]
    seconds, looking = _total(steps, "cpu_seconds"), _total(looks, "cpu_seconds")
    views = _total(steps, "views")
    if len(steps) < done or not (seconds and looking and views):
        return UNKNOWN
    return Cost((seconds + looking) / 60, views / seconds)


def _total(lines: Iterable[Mapping[str, Any]], key: str) -> float:
    """0 where a line lacks it."""
    values = [line.get(key) for line in lines]
    known = [value for value in values if isinstance(value, int | float) and 0 <= value < math.inf]
    return math.fsum(known) if len(known) == len(values) else 0.0


def _check_alike(runs: Sequence[str | Path], configs: Sequence[ImageRecipe]) -> None:
    if not configs:
        raise UserError("no run to probe: name at least one directory that `openjepa train` has written")
    for run, config in zip(runs, configs, strict=True):
        for what in ("recipe", "data", "signal"):
            if getattr(config, what) != getattr(configs[0], what):
                raise UserError(
                    f"{runs[0]} and {run} differ in {what}; one table takes runs of one recipe on one data set: "
                    "probe them one by one"
                )


def _open(data: str, split: str, config: ImageRecipe) -> ImageSet:
    return labelled(config.samples(data, split))


def _open_whole(data: str, config: ImageRecipe) -> ImageSet:
    """A set that was named to be tested on: its test split, or all of it where it has none."""
    try:
        return _open(data, "test", config)
    except UserError:
        return _open(data, "train", config)


def _write(run: Path, table: ProbeTable) -> None:
    partial_file = run / f".{PROBE}.partial"
    try:
        files.write_json(partial_file, table.to_dict())
        partial_file.replace(run / PROBE)
    except OSError as error:
        raise UserError(
            f"{run / PROBE} cannot be written ({files.reason(error)}): make the run writable"
        ) from error
