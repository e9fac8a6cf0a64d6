"""Labels or numbers for new samples, by the probe that was saved in a run, or by a fine-tuned model."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import torch
from torch import Tensor

from openjepa.errors import UserError, warn
from openjepa.evals.features import Progress, is_cut_up, rows_at_once
from openjepa.evals.novelty import FALSE_ALARMS, NoveltyDetector
from openjepa.evals.saved import SavedProbe, load_probe, watch_tuned
from openjepa.evals.tables import write_table
from openjepa.evals.tasks import Classes, LabelTask, Variables, score
from openjepa.recipes.finetune import FineTune, of_samples
from openjepa.signals.base import Labels
from openjepa.signals.identity import columns_of
from openjepa.signals.label_table import ColumnNames, LabelSource, LabelTable, with_labels
from openjepa.training import load

BATCH = 256


@dataclass(frozen=True, eq=False)
class Predictions:
    """A row a sample.

    Attributes:
        columns: `sample` and where they are known `second` and `group`; `label` and its `probability`, or `value`;
            `unlike`, whether it is unlike the training samples, and its `rarity`, the share of held-out training
            samples that are as unusual; `truth`, where labels are known.
        names: of the classes, or of the numbers.
        answers: probabilities `[N, K]`, or numbers `[N, V]`.
        false_alarms: share of samples like the training samples that is called unlike them; `None` where none is.
        score: beside known labels, by `metric`; `None` without any.
    """

    columns: dict[str, list[Any]]
    names: tuple[str, ...]
    answers: np.ndarray
    false_alarms: float | None
    score: float | None
    metric: str
    noun: str

    def __len__(self) -> int:
        return len(self.answers)

    @property
    def unlike(self) -> int:
        """How many are unlike the training samples."""
        return sum(value is True for value in self.columns["unlike"])

    def save(self, path: str | Path) -> None:
        """A `.csv` or `.parquet` file. Raises UserError where it cannot be written."""
        write_table(Path(path), [(self.columns, None)])


def predict(
    run: str | Path,
    data: Any,
    *,
    split: str = "train",
    labels: LabelSource = None,
    false_alarms: float = FALSE_ALARMS,
    probabilities: bool = False,
    progress: Progress | None = None,
    **columns: Unpack[ColumnNames],
) -> Predictions:
    """Predict the labels of samples; what `openjepa predict` writes.

    Args:
        run: a run in which `openjepa probe --save` has kept a probe, or one that was fine-tuned.
        data: samples, as the run's signal opens them.
        labels, columns: a table of labels to compare with, and its columns; by default those that the data have.
        false_alarms: share of samples like the training samples that may be called unlike them.
        probabilities: whether each class has a column of its probability.

    Raises:
        UserError: no saved probe, data that cannot be read, a rate that is none.
    """
    if not 0 < false_alarms < 1:
        raise UserError(
            f"a rate of false alarms of {false_alarms:g} is none: give a share in 0..1, such as 0.05"
        )
    model = load(run)
    config = of_samples(run, model.config)
    probe = load_probe(run)
    if probe is None and isinstance(config, FineTune):
        probe = _watched(run, model, progress)
    if probe is None and not isinstance(config, FineTune):
        raise UserError(
            f"{run} holds no saved probe to predict by: fit one with openjepa probe {run} --data LABELLED --save"
        )
    table = LabelTable.of(labels, **columns)
    (samples,) = with_labels(table, config.samples(data, split))
    features = None if probe is None else probe.features(model, samples, progress, str(run))
    if probe is None or probe.about.by == "classifier":
        answers = _classified(model, samples, progress)
        names, classes = config.names or tuple(map(str, range(config.answers))), not config.variables
    else:
        assert features is not None
        answers, names, classes = probe.answer(features), probe.about.names, probe.about.answers == "classes"
    if not answers.isfinite().all():
        raise UserError(
            f"{run} gives answers that are NaN or infinite for {samples.name}: the weights are broken"
        )
    said = {name: [says(i) for i in range(len(samples))] for name, says in columns_of(samples).items()}
    found = {name: said[name] for name in ("sample", "second", "group") if name in said}
    found |= _answered(answers, names, classes, probabilities)
    rate, unusual = _unusual(
        None if probe is None else probe.novelty, features, false_alarms, len(samples), run
    )
    found |= unusual
    truth = {
        name.replace("label", "truth", 1): values for name, values in said.items() if name.startswith("label")
    }
    task, value = _scored(answers, names, classes, samples.labels)
    return Predictions(
        found | truth, names, answers.numpy(), rate, value, "" if task is None else task.metric, samples.noun
    )


def _watched(run: str | Path, model: Any, progress: Progress | None) -> SavedProbe | None:
    try:
        return watch_tuned(run, model, progress)
    except UserError as error:
        warn(
            f"{run}: what it was fine-tuned on cannot be looked at, so nothing is called unlike it ({error})"
        )
        return None


def _classified(model: Any, samples: Any, progress: Progress | None) -> Tensor:
    parts = []
    together = rows_at_once(samples, BATCH)
    for start in range(0, len(samples), together):
        rows = np.arange(start, min(start + together, len(samples)))
        cuts: Any = samples.cuts(rows) if is_cut_up(samples) else [samples.read(rows)]
        parts.append(torch.stack([model.predict(cut).cpu() for cut in cuts]).mean(0))
        if progress:
            progress("predicting", start + len(rows), len(samples))
    return torch.cat(parts)


def _answered(answers: Tensor, names: tuple[str, ...], classes: bool, each: bool) -> dict[str, list[Any]]:
    if not classes:
        called = ["value"] if len(names) == 1 else [f"value {name}" for name in names]
        return {name: answers[:, i].tolist() for i, name in enumerate(called)}
    best = answers.max(1)
    found: dict[str, list[Any]] = {
        "label": [names[i] for i in best.indices.tolist()],
        "probability": best.values.tolist(),
    }
    return found | (
        {f"probability {name}": answers[:, i].tolist() for i, name in enumerate(names)} if each else {}
    )


def _unusual(
    novelty: NoveltyDetector | None, features: Tensor | None, rate: float, count: int, run: str | Path
) -> tuple[float | None, dict[str, list[Any]]]:
    """The rate of false alarms, and the columns of what is unlike the training samples."""
    if novelty is None or features is None or not len(novelty.held_out):
        return None, {"unlike": [None] * count, "rarity": [None] * count}
    if rate < novelty.least_rate:
        warn(
            f"{run}: {len(novelty.held_out):,} held-out training samples tell no rate of false alarms below "
            f"{novelty.least_rate:.1%}, which is taken in the place of {rate:.1%}"
        )
        rate = novelty.least_rate
    rarity = novelty.rarity(novelty.distances(features))
    return rate, {"unlike": (rarity <= rate).tolist(), "rarity": rarity.tolist()}


def _scored(
    answers: Tensor, names: tuple[str, ...], classes: bool, labels: Labels | None
) -> tuple[LabelTask | None, float | None]:
    """Accuracy or R² on samples whose labels are known, where these are of the kind that was asked for."""
    if labels is None or (labels.values.dtype.kind == "f") == classes:
        return None, None
    if not classes:
        truth = torch.from_numpy(labels.values.reshape(len(labels.values), -1).astype(np.float64))
        known = truth.isfinite().all(1)
        if truth.shape[1] != answers.shape[1] or not known.any():
            return None, None
        value = score(Variables(), answers[known], truth[known])
        return (Variables(), value) if np.isfinite(value) else (None, None)
    rows = np.flatnonzero(labels.values >= 0)
    called = [str(v) if labels.names is None else labels.names[v] for v in labels.values[rows].tolist()]
    if not called or not set(called) <= set(names):
        return None, None
    truth = torch.tensor([names.index(name) for name in called])
    task = Classes(count=len(names))
    return task, score(task, answers[rows].argmax(1), truth)
