"""Probing what `openjepa train` has written."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from openjepa.common import files
from openjepa.common.files import step_of
from openjepa.errors import UserError
from openjepa.evals.features import EncodedFeatures, Progress, is_cut_up
from openjepa.evals.novelty import FALSE_ALARMS
from openjepa.evals.protocol import Comparison, Kind
from openjepa.evals.rows import Outcome
from openjepa.evals.saved import SavedProbe, fit_probe, load_probe
from openjepa.evals.splits import fewer, hold_out, some, strata
from openjepa.evals.table import UNKNOWN, ComputeCost, ProbeTable, combine, together
from openjepa.evals.tasks import Coming, LabelTask, task_of
from openjepa.jepa import JEPA
from openjepa.recipes import Recipe, build
from openjepa.recipes.finetune import FineTune, of_samples
from openjepa.recipes.worlds import WorldRecipe
from openjepa.signals.label_table import ColumnNames, LabelSource, LabelTable, with_labels
from openjepa.signals.parts import labelled, part
from openjepa.training import Run, load

PROBE = "probe.json"
CUT_UP = (
    "Each image is cut into tiles: features of the model and of untrained encoders are means over all, classical "
    "features are of the middle tile."
)


def probe_runs(
    runs: str | Path | Sequence[str | Path],
    data: Any = None,
    *,
    test: Any = None,
    labels: LabelSource = None,
    kinds: Sequence[Kind] = ("linear", "knn"),
    classical: str = "all",
    few_label: Sequence[int | float] = (),
    per_class: Sequence[int] = (),
    draws: int = 5,
    balanced: bool = False,
    forecast: Sequence[int] = (),
    cuts: bool = False,
    most: int | None = None,
    save: bool = False,
    seed: int = 0,
    progress: Progress | None = None,
    **columns: Unpack[ColumnNames],
) -> ProbeTable:
    """Probe the models of run directories; several runs (training seeds) give intervals over them.

    Classical features, which the runs' signal names, are fitted and scored once. Each run's own table is written into
    it as `probe.json`. The random encoder beside run i has the seed `seed + i`, the label draws and validation splits
    are the same for all.

    Args:
        runs: a directory that `openjepa train` has written, or several of one recipe and one data set.
        data: labelled samples to fit on, as the runs' signal opens them; `None`: the data of the run.
        test: labelled samples to test on; `None`: the test split of `data`, or where it has none but its samples have
            groups (speakers, subjects, recordings), a quarter of the groups, drawn by `seed`; with a table of labels
            also a quarter of samples without groups.
        labels, columns: a table of the samples' labels, in the place of the data's own, and its columns; see
            `openjepa.signals.label_table.LabelTable.of`.
        classical: which classical features stand beside the models: `none`, `quick` or `all`.
        few_label, per_class: shares of the labels and examples per class, scored besides all labels; see `probe`.
        draws: how often few labels are drawn; more draws give narrower intervals.
        balanced: whether every class counts alike, in the score (balanced accuracy) and in the fit.
        forecast: horizons, in steps, at which the coming values are asked for besides what the labels ask.
        cuts: whether the models' features are means over several cuts of each sample (clips, crops).
        most: how many labelled samples to choose and fit on at most, drawn by `seed` with each class in proportion;
            `None`: all. Classical features are fitted on the same samples.
        save: whether each run's linear probe is kept in it, for `openjepa.predict`.

    Raises:
        UserError: not a run, runs of several recipes or data sets, data without labels or without a test split, a
            run that cannot be written to; and see `probe`.
    """
    runs, table_of_labels = [runs] if isinstance(runs, str | Path) else runs, LabelTable.of(labels, **columns)
    models = [load(run) for run in runs]
    configs = [of_samples(run, model.config) for run, model in zip(runs, models, strict=True)]
    _check_alike(runs, configs)
    if save:
        _check_kept(runs, kinds, configs)
    train_set, test_set, notes = _sets(configs[0], data, test, seed, table_of_labels)
    if is_cut_up(test_set):
        notes = [*notes, CUT_UP]
    if most is not None:
        train_set = fewer(train_set, most, np.random.default_rng([seed, 8]))
    tasks: list[LabelTask] = [Coming(horizon) for horizon in forecast]
    if not tasks or train_set.labels is not None:
        tasks.insert(0, task_of(train_set, balanced=balanced))
    if save and train_set.labels is None:
        raise UserError(
            f"{train_set.name} has no labels, by which alone a probe can be kept: leave out --save"
        )
    beside = [
        Comparison(
            *_asked(task, train_set, test_set),
            kinds=kinds,
            classical=configs[0].signal.classical(classical),
            task=task,
            cuts=cuts,
            few_label=[x for x in few_label if not (isinstance(task, Coming) and isinstance(x, int))],
            per_class=() if isinstance(task, Coming) else per_class,
            draws=draws,
            seed=seed,
            progress=progress,
        )
        for task in tasks
    ]
    tables, kept = [], list[SavedProbe]()
    for i, (run, model) in enumerate(zip(runs, models, strict=True)):
        of_tasks = [
            comparison.table(
                model,
                random_init=partial(untrained, model.config),
                seeds=[seed + i],
                cost=training_cost(run),
                name=str(run),
                keep=_keeper(comparison, kept, seed) if save and number == 0 else None,
            )
            for number, comparison in enumerate(beside)
        ]
        table = together(of_tasks)
        table.notes.extend(notes)
        if kept:
            before = _answers(run)
            kept[-1].save(run)
            table.notes.append(_said(kept[-1], before))
        if Path(run).is_dir():  # and no name on the Hub
            _write(Path(run), table)
        tables.append(table)
    return tables[0] if len(tables) == 1 else combine(tables)


def _asked(task: LabelTask, train: Any, test: Any) -> tuple[Any, Any]:
    """The sets that a task is put to: of a forecast, windows that as many steps follow, where samples can give them."""
    if not isinstance(task, Coming) or not hasattr(train, "leaving"):
        return train, test
    return train.leaving(task.horizon), test.leaving(task.horizon)


def _check_kept(runs: Sequence[str | Path], kinds: Sequence[Kind], configs: Sequence[Any]) -> None:
    if "linear" not in kinds:
        raise UserError("the linear probe is what is saved: name linear among the kinds too")
    for run, config in zip(runs, configs, strict=True):
        if not Path(run).is_dir():
            raise UserError(f"{run} is no folder to keep a probe in: export it to one, or leave out --save")
        if isinstance(config, FineTune):
            raise UserError(
                f"{run} was fine-tuned and answers by itself: openjepa predict needs no saved probe of it"
            )


def _keeper(
    comparison: Comparison, kept: list[SavedProbe], seed: int
) -> Callable[[EncodedFeatures, Outcome], None]:
    return lambda source, outcome: kept.append(fit_probe(source, outcome, comparison.about, seed=seed))


def _answers(run: str | Path) -> tuple[str, ...]:
    """What the probe that is saved in a run tells apart; empty where there is none, or a damaged one."""
    with suppress(UserError):
        if found := load_probe(run):
            return found.about.names
    return ()


def _said(probe: SavedProbe, before: tuple[str, ...]) -> str:
    """What was saved, in whose place, and how often what it calls unlike its training samples is none of it."""
    rate = probe.about.false_alarms or 0.0
    place = f", in the place of the one for {some(before)}" if before not in ((), probe.about.names) else ""
    return (
        f"The linear probe is saved in the run{place}. What is unlike its training samples is flagged, with "
        f"{FALSE_ALARMS:.0%} false alarms as held-out training samples have it; of the {probe.about.tested:,} test "
        f"samples {rate:.1%} are flagged."
    )


def untrained(config: Recipe, seed: int) -> JEPA:
    """The config's model at random initialisation, also where its encoder would start from published weights."""
    return build(config.from_scratch(), seed).eval()


def training_cost(run: str | Path) -> ComputeCost:
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
    return ComputeCost((seconds + looking) / 60, views / seconds)


def _total(lines: Iterable[Mapping[str, Any]], key: str) -> float:
    """0 where a line lacks it."""
    values = [line.get(key) for line in lines]
    known = [value for value in values if isinstance(value, int | float) and 0 <= value < math.inf]
    return math.fsum(known) if len(known) == len(values) else 0.0


TESTED = 0.25
"""Share of the groups, or of samples with a table of labels, that is tested on where the data have no test split."""


def _sets(config: Any, data: Any, test: Any, seed: int, labels: LabelTable) -> tuple[Any, Any, list[str]]:
    """What is fitted on and tested on, and what a reader should know of the division."""
    source = config.data if data is None else data
    train_set, test_set = config.samples(source, "train"), None
    if test is not None:
        test_set = _open_whole(test, config)
    else:
        try:
            test_set = config.samples(source, "test")
        except UserError as error:
            if not labels and train_set.labels is None and not hasattr(train_set, "coming"):
                raise UserError(
                    f"{train_set.name} has no labels to probe with: give one sub-folder per class, labelled arrays, or "
                    "a table (--labels TABLE)"
                ) from None
            if not labels and (train_set.labels is None or train_set.labels.groups is None):
                raise UserError(f"{error}; or name other samples to test on with --test") from None
    if test_set is not None:
        train_set, test_set = map(labelled, with_labels(labels, train_set, test_set))
        return train_set, test_set, []
    (train_set,) = map(labelled, with_labels(labels, train_set))
    return _divided(train_set, seed)


def _divided(samples: Any, seed: int) -> tuple[Any, Any, list[str]]:
    """A quarter to test on, whole groups where there are some, and a note about it."""
    groups, values = samples.labels.groups, strata(samples.labels.values)
    size, rng = round(TESTED * len(samples)), np.random.default_rng([seed, 9])
    held = hold_out(values, size, rng, groups)[1]
    if not len(held):
        what = "sample" if groups is None else "group"
        raise UserError(
            f"{samples.name} has no test split, and no {what} of its {samples.noun} can be spared for one: give --test"
        )
    told = f"{len(held):,} of {len(samples):,} {samples.noun}"
    if groups is not None:
        told = f"{len(np.unique(groups[held])):,} of {len(np.unique(groups)):,} groups"
    note = (
        f"The data have no test split: {told}, drawn by seed {seed}, are tested on. Training, which sees no label, may "
        "have seen them."
    )
    return part(samples, np.setdiff1d(np.arange(len(samples)), held)), part(samples, held), [note]


def _check_alike(runs: Sequence[str | Path], configs: Sequence[Any]) -> None:
    if not configs:
        raise UserError("no run to probe: name at least one directory that `openjepa train` has written")
    for run, config in zip(runs, configs, strict=True):
        for what in ("recipe", "data", "signal"):
            if getattr(config, what) != getattr(configs[0], what):
                raise UserError(
                    f"{runs[0]} and {run} differ in {what}; one table takes runs of one recipe on one data set: "
                    "probe them one by one"
                )


def _open_whole(data: Any, config: Any) -> Any:
    """A set that was named to be tested on: its test split, or all of it where it has none; all of other episodes."""
    if isinstance(config, WorldRecipe):
        return config.samples(data)
    try:
        return config.samples(data, "test")
    except UserError:
        return config.samples(data, "train")


def _write(run: Path, table: ProbeTable) -> None:
    try:
        files.replace_json(run / PROBE, table.to_dict())
    except OSError as error:
        raise UserError(
            f"{run / PROBE} cannot be written ({files.reason(error)}): make the run writable"
        ) from error
