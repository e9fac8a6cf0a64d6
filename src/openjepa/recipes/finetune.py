"""Fine-tuning: labels are the target, and a trained encoder is where it starts.

    openjepa finetune runs/signal-jepa-tiny-0 --data labelled
    openjepa finetune RUN --data labelled --classifier pre-local --frozen 1
    openjepa finetune RUN --data labelled --barred 0.1    # of a transformer

A run like any other: the same loop, checkpoints and resuming. The encoder is that of the source, whose features the
probe judges (an average's, where the target is one). For the first `frozen` of the run the encoder stays as it is and
the classifier alone learns (Signal-JEPA's `full`: a tenth; its `new`: all of the run). A tenth of the samples is held
out, in whole groups (people, recordings) where samples have them; the verdict is about these.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from openjepa.common import files
from openjepa.common.renamed import current
from openjepa.common.rng import Rng
from openjepa.errors import UserError
from openjepa.health.words import Verdict
from openjepa.jepa import JEPA, FeatureModel, Output, Pair, evaluating
from openjepa.nets.classifiers import Classifier, MeanLinear
from openjepa.nets.pretrained import encoder_weights
from openjepa.recipes import own
from openjepa.recipes.base import Recipe, Training, all_recipes, register
from openjepa.recipes.tokens import require_tokens
from openjepa.recipes.worlds import WorldRecipe
from openjepa.signals.base import drawn, move
from openjepa.signals.label_table import LabelTable, with_labels
from openjepa.signals.labelled import Labelled, LabelledSamples

HELD_OUT = 0.1
"""Share of the labelled samples that is held out."""
BESIDES = 2.0
"""Standard errors by which held-out answers must be better than the most frequent one, or the mean."""


@register("finetune", listed=False)
class FineTune(Recipe):
    """Config of fine-tuning: where the encoder comes from, and what is put on it."""

    recipe: Literal["finetune"] = "finetune"
    preset: str = "tiny"
    data: str = ""
    """Labelled samples, as the source's signal opens them."""
    labels: LabelTable = LabelTable()
    """A table of their labels, in the place of their own."""
    source: str = ""
    """The directory of a run or an exported model of ours."""
    pretrained: bool = True
    """Whether the encoder's weights are the source's, or random, to compare with."""
    of: dict[str, Any] = Field(default_factory=dict)
    """The source's config; filled in from it."""
    classifier: Classifier = MeanLinear()
    """What makes answers of the encoder's tokens."""
    frozen: float = Field(0.1, ge=0, le=1)
    """Share of the run in which the encoder does not learn; 1: it never does."""
    barred: float = Field(0.0, ge=0, lt=1)
    """Share of the tokens that no token attends to, drawn anew in each of a transformer's blocks (A-JEPA's regularised
    masking: 0.1)."""
    balanced: bool = False
    """Whether each class weighs the same, however many samples it has."""
    answers: int = Field(0, ge=0, le=1_000_000)
    """Classes or variables; taken from the data."""
    names: tuple[str, ...] = ()
    """Their names, where they have some; taken from the data."""
    variables: bool = False
    """Whether answers are numbers and not classes; taken from the data."""
    mean: tuple[float, ...] = (0.0,)
    """Per variable; taken from the data, as is the spread."""
    std: tuple[float, ...] = (1.0,)
    train: Training = Training(steps=1000, batch_size=32, lr=3e-4)

    presets: ClassVar[dict[str, dict[str, Any]]] = {"tiny": {}}

    @property
    def inner(self) -> Any:
        """The source's config.

        Raises:
            UserError: no source is named, or it cannot be read.
        """
        known = self.of or _config_of(self.source)
        recipe = all_recipes().get(str(known.get("recipe")))
        if "model_type" in known and recipe is None:
            raise UserError(
                f"{self.source} is in another library's format: make it one of ours with openjepa export {self.source} "
                "--format openjepa -o FOLDER, and fine-tune that"
            )
        if recipe is None or not hasattr(recipe, "samples") or issubclass(recipe, WorldRecipe):
            raise UserError(
                f"{self.source or 'finetune.of'} is of {known.get('recipe', 'another program')}: fine-tuning "
                "takes runs of recipes whose samples are cut into tokens, such as i-jepa"
            )
        return recipe.parse(known)

    @property
    def signal(self) -> Any:
        """The source's signal."""
        return self.inner.signal

    def samples(self, data: Any, split: str = "train") -> Any:
        """Samples as the model takes them; see `TokenRecipe.samples`."""
        inner, unnamed = self.inner, isinstance(data, str) and not data
        return inner.samples(inner.data if unnamed else data, split)

    def open(self, data: Any, adapt: bool) -> LabelledSamples:
        if isinstance(data, LabelledSamples):
            return data
        return LabelledSamples(*with_labels(self.labels, self.samples(data)))

    def adapt(self, samples: LabelledSamples) -> Self:
        """The source's config, and how many answers there are."""
        labels, values = samples.labels, samples.answers
        assert labels is not None
        found: dict[str, Any] = {
            "of": self.inner.model_dump(mode="json"),
            "names": labels.names or (),
            "variables": values.is_floating_point(),
        }
        if values.is_floating_point():
            std = values.std(0, correction=0)
            found |= {
                "answers": values.shape[1],
                "mean": tuple(values.mean(0).tolist()),
                "std": tuple(torch.where(std > 0, std, 1.0).tolist()),
            }
        else:
            found["answers"] = max(len(labels.names or ()), int(values.max()) + 1)
        return type(self).parse(self.model_dump(mode="json") | found)

    def build(self) -> Any:
        if not self.answers:
            raise UserError("what is to be answered is not known: give labelled data")
        return FineTuned(self, self.inner.build())

    def from_scratch(self) -> Self:
        return self.model_copy(update={"pretrained": False})

    def fill(self, model: Any) -> None:
        if self.source and self.pretrained:
            files.fill(model.encoder, encoder_weights(self.source), Path(self.source))

    def hold_out(self, samples: LabelledSamples) -> tuple[Tensor, Any]:
        rows = held_out(samples)
        kept = torch.ones(len(samples), dtype=torch.bool)
        kept[rows] = False
        self.require_room(len(rows), samples)
        return kept.nonzero()[:, 0], samples.read(rows)

    def monitor(self, held_out: Labelled) -> "AnswersMonitor":
        return AnswersMonitor(held_out)

    def judge(self, readings: Sequence[Mapping[str, float]]) -> Verdict:
        return judge(readings, self.variables)


class FineTuned(FeatureModel):
    """An encoder and a classifier on it.

    A batch is a `Labelled`; `predict` and `embed` take the signal's batches or a user's array.
    """

    def __init__(self, config: Any, source: JEPA) -> None:
        super().__init__()
        self.config, self.signal = config, source.signal
        self.encoder: Any = source.encoder
        if config.barred:
            if not hasattr(self.encoder, "barred"):
                raise UserError(
                    "--barred bars tokens from attention, which this encoder does not have: leave it out, or train a "
                    "transformer (of a-jepa the preset tiny-vit)"
                )
            self.encoder.barred = config.barred
        self.classifier = config.classifier.build(self.signal, self.encoder, config.answers)

    def forward(self, batch: Labelled, rng: Rng) -> Output:
        """One training pass; `terms` hold the share of right answers, or the mean squared error."""
        config = self.config
        frozen = config.frozen == 1 or rng.progress < config.frozen
        self.encoder.requires_grad_(not frozen).train(self.training and not frozen)
        answers = self.classifier(self.encoder, batch.inputs)
        loss, right = self.loss(answers, batch.answers)
        return Output(loss, {("error" if config.variables else "accuracy"): right}, [], [], [])

    def loss(self, answers: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """The loss, and what is logged beside it."""
        config = self.config
        if config.variables:
            error = F.mse_loss(answers, self.scaled(wanted))
            return error, error.detach()
        weight = None
        if config.balanced:
            counts = torch.bincount(wanted, minlength=config.answers).clamp_min(1)
            weight = len(wanted) / (len(wanted.unique()) * counts.to(answers.dtype))
        return F.cross_entropy(answers, wanted, weight), (answers.argmax(1) == wanted).float().mean()

    def scaled(self, variables: Tensor) -> Tensor:
        """Variables `[B, V]` with the training data's mean and spread taken out."""
        mean, std = (variables.new_tensor(values) for values in (self.config.mean, self.config.std))
        return (variables - mean) / std

    def pairs(self, batch: Labelled, rng: Rng) -> list[Pair]:
        """No pairs: labels are the target."""
        return []

    def passes(self, pairs: Sequence[Pair]) -> int:
        """Samples that go through the encoder in a step."""
        return self.config.train.batch_size

    def after_step(self, step: int, total_steps: int) -> None:
        """Nothing follows a step."""

    def unused(self) -> Collection[str] | None:
        """Parameters that are not read differ between steps, and with the classifier."""

    @property
    def evaluated(self) -> nn.Module:
        return self.encoder

    def predict(self, batch: Any) -> Tensor:
        """Probabilities of the classes `[B, K]`, or variables `[B, V]` in their units."""
        with evaluating(self), torch.no_grad():
            answers = self.classifier(self.encoder, self._inputs(batch))
        if not self.config.variables:
            return answers.softmax(1)
        return answers * answers.new_tensor(self.config.std) + answers.new_tensor(self.config.mean)

    def _inputs(self, batch: Any) -> Any:
        inputs = batch.inputs if isinstance(batch, Labelled) else self.signal.batch(batch)
        return move(inputs, next(self.parameters()).device)


class AnswersMonitor:
    """Measures what the model answers for held-out samples: its accuracy, or its squared error over the variance's."""

    def __init__(self, held_out: Labelled) -> None:
        self.batch = held_out

    def begin(self, model: Any) -> None:
        """Nothing is compared with the start."""

    def measure(
        self, model: FineTuned, step: int, history: Sequence[Mapping[str, float]] = ()
    ) -> dict[str, float]:
        """`answers/score`, its standard error `answers/error`, and `answers/chance`, the score without any sample."""
        wanted = self.batch.answers
        parts = [self.batch[start : start + 256] for start in range(0, len(self.batch), 256)]
        answers = torch.cat([model.predict(part).cpu() for part in parts])
        if model.config.variables:
            truth = model.scaled(wanted)
            errors, chance = (model.scaled(answers) - truth).square().mean(1), truth.square().mean(1)
            gain = chance - errors
            return {
                "step": step,
                "answers/score": float(errors.mean()),
                "answers/chance": float(chance.mean()),
                "answers/error": float(gain.std() / len(gain) ** 0.5),
            }
        right = (answers.argmax(1) == wanted).double()
        shares = torch.bincount(wanted, minlength=2).double() / len(wanted)
        score = float(right.mean())
        return {
            "step": step,
            "answers/score": score,
            "answers/chance": float(shares.max()),
            "answers/error": (score * (1 - score) / len(wanted)) ** 0.5,
        }


def judge(readings: Sequence[Mapping[str, float]], variables: bool) -> Verdict:
    """The verdict on held-out answers: are they better than the most frequent class, or the mean?"""
    now = readings[-1]
    score, chance, error = (now[f"answers/{name}"] for name in ("score", "chance", "error"))
    if now["step"] == 0:
        return Verdict("not trained yet", "no step has been taken, so there is nothing to judge", "", 0)
    if variables:
        better = chance - score > BESIDES * error
        said = (
            f"the squared error of held-out answers is {score:.3g} of the variance, {chance:.3g} for the mean"
        )
    else:
        better = score - chance > BESIDES * error
        said = f"{score:.1%} of held-out samples are answered right, {chance:.1%} by the most frequent class"
    advice = "" if better else "train longer, with a larger train.lr, or with more labels"
    return Verdict("better" if better else "no better", said, advice, int(now["step"]))


def held_out(samples: LabelledSamples) -> Tensor:
    """A tenth of the samples, at least 8, in whole groups where they have some; the same ones whatever the run's seed.

    Raises:
        UserError: fewer than 16 samples, or one group alone.
    """
    count = max(8, round(HELD_OUT * len(samples)))
    if len(samples) < 16:
        raise UserError(f"{samples.name} has {len(samples)} labelled {samples.noun}: give at least 16")
    groups = None if samples.labels is None else samples.labels.groups
    if groups is not None and len(np.unique(groups)) < 2:
        raise UserError(f"{samples.name}: all labelled {samples.noun} are of one group; give two at least")
    return drawn(len(samples), count, groups)[1].sort().values


def of_samples(who: str | Path, config: Recipe) -> Any:
    """The config of a run whose samples have tokens, of one that was fine-tuned from it, or of a world model.

    Raises:
        UserError: it is of another kind; `who` asked is named.
    """
    return config if isinstance(config, (FineTune, WorldRecipe)) else require_tokens(who, config)


def _config_of(source: str) -> dict[str, Any]:
    if not source:
        raise UserError("name the run whose encoder is to be fine-tuned: --source RUN")
    own.check_run(source)
    return current(files.read_json(files.saved_model(source)[0]))
