"""A probe that is kept in a run: what it reads, what it answers, and what it takes for unlike its training samples.

RUN/probe/probe.json         names, settings, scores
RUN/probe/probe.safetensors  all numbers, with a checksum
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from openjepa.common import files, reach
from openjepa.config import Config
from openjepa.errors import UserError
from openjepa.evals.features import EncodedFeatures, Progress, Reader
from openjepa.evals.novelty import FALSE_ALARMS, NoveltyDetector, alarm_rate
from openjepa.evals.pooling import Projection
from openjepa.evals.probes import Logistic
from openjepa.evals.regression import Ridge
from openjepa.evals.rows import Evaluation, Outcome
from openjepa.evals.spaces import Standard
from openjepa.evals.tasks import Classes, LabelTask
from openjepa.recipes.finetune import held_out
from openjepa.signals.base import Labels, Samples

FOLDER, ABOUT, NUMBERS = "probe", "probe.json", "probe.safetensors"


class AboutProbe(Config):
    """What is known of a saved probe beside its numbers."""

    version: Literal[1] = 1
    reads: str
    """The pooling of the encoder's tokens."""
    cuts: bool = False
    """Whether features are means over several cuts of each sample."""
    answers: Literal["classes", "numbers"]
    by: Literal["probe", "classifier"] = "probe"
    """The one that answers: the probe, or a fine-tuned model's classifier, beside which it tells what is unlike."""
    names: tuple[str, ...]
    """Names of the classes, or of the numbers."""
    strength: float = 0.0
    """scikit-learn's C, or the penalty of ridge regression."""
    dims: int = Field(0, ge=0, le=65_536)
    """The number of projected features; 0: they are as they are."""
    weights: str
    """A checksum over the encoder's weights, without which the probe means nothing."""
    data: str
    samples: int = Field(ge=0, le=1_000_000_000)
    """Fitted on."""
    metric: str = ""
    score: float | None = None
    tested: int = Field(0, ge=0, le=1_000_000_000)
    """Samples that the score is over."""
    false_alarms: float | None = None
    """The share of these that is called unlike the training samples, where a twentieth is to be."""


@dataclass(frozen=True, eq=False)
class SavedProbe:
    """A linear probe of pooled features.

    Attributes:
        linear: its `mean` and `factor` `[d]` that standardise features, `weight` `[K, d]` and `bias` `[K]`; empty where
            a fine-tuned model answers by itself.
    """

    about: AboutProbe
    linear: Mapping[str, Tensor]
    novelty: NoveltyDetector
    projection: Projection | None = None

    def features(
        self, model: Any, samples: Samples, progress: Progress | None = None, name: str = "the model"
    ) -> Tensor:
        """Pooled features `[N, d]` of samples.

        Raises:
            UserError: the model's weights are not those that the probe was fitted on; tokens of another grid.
        """
        about = self.about
        if about.weights != weights_of(model):
            raise UserError(
                f"{name}: its saved probe was fitted on other weights: fit it again with openjepa probe --save"
            )
        kept = {} if self.projection is None else {about.reads: self.projection}
        source = EncodedFeatures(model, samples, name=name, cuts=about.cuts, projections=kept)
        if about.reads not in source.poolings:
            raise UserError(
                f"{name}: its saved probe reads tokens by {about.reads!r}, and {samples.name} has "
                f"{source.tokens} tokens a sample, which allow {', '.join(source.poolings)}: give samples of one size"
            )
        found = Reader(source, progress).read(samples, np.arange(len(samples)), [about.reads])[about.reads]
        if found.shape[1] != len(self.novelty.space.standard.mean):
            raise UserError(
                f"{name}: its saved probe reads {len(self.novelty.space.standard.mean)} numbers of a sample, and "
                f"{samples.name} gives {found.shape[1]}: give samples of the same size"
            )
        return found

    def answer(self, features: Tensor) -> Tensor:
        """Probabilities of the classes `[N, K]`, or numbers `[N, V]`."""
        linear = self.linear
        x = (features - linear["mean"]) * linear["factor"]
        if self.about.answers == "classes":
            return torch.addmm(linear["bias"], x, linear["weight"].T).softmax(1)
        return x.double() @ linear["weight"].double().T + linear["bias"].double()

    def save(self, run: str | Path) -> Path:
        """Write it into the run, in the place of an older one. Raises UserError where that is not possible."""
        folder = Path(run) / FOLDER
        tensors = {f"linear.{name}": value for name, value in self.linear.items()}
        tensors |= {f"novelty.{name}": value for name, value in self.novelty.tensors().items()}
        if self.projection is not None:
            tensors |= {f"projection.{name}": value for name, value in self.projection.tensors().items()}
        with files.complete_or_absent(folder) as partial:
            files.write_json(partial / ABOUT, self.about.model_dump(mode="json"))
            files.write_tensors(partial / NUMBERS, tensors, FOLDER)
        return folder


def load_probe(run: str | Path) -> SavedProbe | None:
    """The probe that was saved in a run; `None` where there is none.

    Raises:
        UserError: it is damaged.
    """
    folder = Path(run) / FOLDER
    files.recover(folder)
    if not folder.is_dir():
        return None
    about = reach.fitting(AboutProbe, files.read_json(folder / ABOUT), str(folder / ABOUT))
    tensors = files.read_tensors(folder / NUMBERS)

    def part(name: str) -> dict[str, Tensor]:
        return {key.removeprefix(f"{name}."): v for key, v in tensors.items() if key.startswith(f"{name}.")}

    try:
        projection = Projection.restored(part("projection"), about.dims) if about.dims else None
        return SavedProbe(about, part("linear"), NoveltyDetector.restored(part("novelty")), projection)
    except KeyError as error:
        raise UserError(
            f"{folder / NUMBERS} lacks {error}: fit it again with openjepa probe --save"
        ) from None


def fit_probe(
    source: EncodedFeatures,
    outcome: Outcome,
    about: Evaluation,
    *,
    seed: int = 0,
) -> SavedProbe:
    """The linear probe of a row of the table, fitted anew to be kept.

    Args:
        source: the model's features.
        outcome: what the row came to with all labels.
        about: the samples, and what is asked of them.
    """
    chosen, task, answers = outcome.chosen, about.plan.task, about.plan.y_train
    assert isinstance(chosen.setting, float)
    x, tested = (
        Reader(source, about.progress).read(samples, np.arange(len(samples)), [chosen.pooling])[
            chosen.pooling
        ]
        for samples in (about.train, about.test)
    )
    labels, projection = about.train.labels, source.projections.get(chosen.pooling)
    novelty = NoveltyDetector.of(x, None if labels is None else labels.groups, seed)
    return SavedProbe(
        AboutProbe(
            reads=chosen.pooling,
            cuts=source.cuts,
            answers="classes" if isinstance(task, Classes) else "numbers",
            names=_names(labels, answers),
            strength=chosen.setting,
            dims=0 if projection is None else projection.dims,
            weights=weights_of(source.model),
            data=about.train.name,
            samples=len(about.train),
            metric=task.metric,
            score=outcome.score,
            tested=len(about.test),
            false_alarms=alarm_rate(novelty.rarity(novelty.distances(tested)), FALSE_ALARMS),
        ),
        _fitted(x, answers, task, chosen.setting),
        novelty,
        projection,
    )


def watch_tuned(run: str | Path, model: Any, progress: Progress | None = None) -> SavedProbe:
    """What a fine-tuned run takes for unlike its training samples, kept in it: its classifier answers by itself.

    The samples that were held out from fine-tuning say how far new ones are.

    Raises:
        UserError: the data that it was fine-tuned on cannot be opened, or the run not be written to.
    """
    config = model.config
    labelled = config.open(config.data, False)
    source = EncodedFeatures(model, labelled.samples, name=str(run))
    read = source.default
    x = Reader(source, progress).read(labelled.samples, np.arange(len(labelled)), [read])[read]
    held = held_out(labelled)
    rest = torch.ones(len(labelled), dtype=torch.bool)
    rest[held] = False
    about = AboutProbe(
        reads=read,
        answers="numbers" if config.variables else "classes",
        by="classifier",
        names=config.names or tuple(map(str, range(config.answers))),
        weights=weights_of(model),
        data=labelled.name,
        samples=int(rest.sum()),
    )
    found = SavedProbe(about, {}, NoveltyDetector.held_apart(x[rest], x[held]))
    found.save(run)
    return found


def weights_of(model: Any) -> str:
    """A checksum over the weights of the encoder whose features are used."""
    return files.digest(model.evaluated.state_dict())


def _names(labels: Labels | None, answers: Tensor) -> tuple[str, ...]:
    """Of the classes in the order of their answers, or of the variables."""
    assert labels is not None
    if answers.is_floating_point():
        count = answers.shape[1]
        return labels.names or (("value",) if count == 1 else tuple(map(str, range(count))))
    first = [int((answers == number).nonzero()[0, 0]) for number in range(int(answers.max()) + 1)]
    values = [int(labels.values[row]) for row in first]
    return tuple(str(value) if labels.names is None else labels.names[value] for value in values)


def _fitted(features: Tensor, answers: Tensor, task: LabelTask, strength: float) -> dict[str, Tensor]:
    standard = Standard.of(features)
    x = standard(features)
    if isinstance(task, Classes):
        found = Logistic(x, answers, task.count, task.weights(answers)).solve(strength)
        weight, bias = found.weight, found.bias[:, 0]
    else:
        weight, bias = Ridge(x, answers).affine(strength)
    return {"mean": standard.mean, "factor": standard.factor, "weight": weight, "bias": bias}
