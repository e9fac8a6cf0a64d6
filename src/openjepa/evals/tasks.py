"""What is asked of frozen features, and how answers are scored: classes, variables, coming values.

A score is a function of sums over samples. So one bootstrap serves all tasks: groups are drawn again, their sums are
added up, and the score of each sum is a draw of the score.
"""

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import one_hot

from openjepa.errors import UserError
from openjepa.evals.splits import Rows, some

RESAMPLES = 1000
"""Of the groups, for an interval."""


class LabelTask(Protocol):
    """What is asked, and how an answer counts.

    Attributes:
        name: what the table calls it.
        metric: the score's name.
        higher: whether a higher score is better.
    """

    @property
    def name(self) -> str: ...
    @property
    def metric(self) -> str: ...
    @property
    def higher(self) -> bool: ...

    def answers(self, train: Any, test: Any) -> tuple[Self, Tensor, Tensor]:
        """The task with what it must know of the sets, and the true answers of both.

        Returns:
            answers as `[n]` int64 in 0..K-1, or `[n, V]` float64.

        Raises:
            UserError: what the samples do not tell.
        """
        ...

    def parts(self, guess: Tensor, truth: Tensor) -> Tensor:
        """`[n, S]` float64: what each sample adds to the sums that the score is of."""
        ...

    def of(self, sums: Tensor) -> Tensor:
        """Scores `[...]` of sums `[..., S]`."""
        ...


@dataclass(frozen=True)
class Classes:
    """Which class is it? Scored by accuracy, or by the mean of the classes' own accuracies.

    Attributes:
        balanced: every class counts alike in the score and where a probe is fitted, however rare it is.
        count: K, known once the task is put to sets.
    """

    balanced: bool = False
    count: int = 0

    name: ClassVar[str] = "classes"
    higher: ClassVar[bool] = True

    @property
    def metric(self) -> str:
        return "balanced accuracy" if self.balanced else "accuracy"

    def answers(self, train: Any, test: Any) -> tuple["Classes", Tensor, Tensor]:
        """Labels in one numbering."""
        y_train, y_test, count = paired_labels(train, test)
        return replace(self, count=count), torch.from_numpy(y_train), torch.from_numpy(y_test)

    def weights(self, labels: Tensor) -> Tensor | None:
        """`[K]`, how much a sample of each class counts in a fit; `None`: all alike."""
        if not self.balanced:
            return None
        counts = torch.bincount(labels, minlength=self.count)
        return len(labels) / ((counts > 0).sum() * counts.clamp_min(1))

    def parts(self, guess: Tensor, truth: Tensor) -> Tensor:
        right = (guess == truth).double()[:, None]
        if not self.balanced:
            return torch.cat([right, torch.ones_like(right)], 1)
        of_class = one_hot(truth, self.count).double()
        return torch.cat([of_class * right, of_class], 1)

    def of(self, sums: Tensor) -> Tensor:
        right, all_ = sums.chunk(2, -1)
        return (right / all_).nanmean(-1)  # a class may be missing from a draw


@dataclass(frozen=True)
class Regions:
    """Which class is each place of a sample of? Scored by the mean over classes of intersection over union (mIoU).

    Places whose true class is not among 0..K-1 do not count.

    Attributes:
        count: K.
    """

    count: int

    name: ClassVar[str] = "regions"
    metric: ClassVar[str] = "mean IoU"
    higher: ClassVar[bool] = True

    def answers(self, train: Any, test: Any) -> tuple["Regions", Tensor, Tensor]:
        """The classes of both sets' places, `[n, H, W]` (see `openjepa.signals.images.pixels.PixelSet`)."""
        return self, train.classes, test.classes

    def parts(self, guess: Tensor, truth: Tensor) -> Tensor:
        """Of classes `[n, ...]`, for each sample and class: places that are both, places guessed, places true."""
        there, k = truth.flatten(1) < self.count, self.count
        found = []
        for one, other, counts in zip(guess.flatten(1), truth.flatten(1), there, strict=True):
            called, true = one[counts].long(), other[counts].long()
            each = [torch.bincount(part, minlength=k)[:k] for part in (called[called == true], called, true)]
            found.append(torch.cat(each))
        return torch.stack(found).double()

    def of(self, sums: Tensor) -> Tensor:
        both, called, true = sums.chunk(3, -1)
        return (both / (called + true - both)).nanmean(-1)  # a class may be neither called nor true in a draw


@dataclass(frozen=True)
class Variables:
    """How much is it? Numbers beside each sample, by the mean of their R² (1 - SSE / SST; 0: as good as their mean).

    Attributes:
        names: of the variables, known once the task is put to sets that name them.
    """

    names: tuple[str, ...] = ()

    name: ClassVar[str] = "variables"
    metric: ClassVar[str] = "R²"
    higher: ClassVar[bool] = True

    def answers(self, train: Any, test: Any) -> tuple["Variables", Tensor, Tensor]:
        """The variables as they are."""
        y_train, y_test = _variables("training", train), _variables("test", test)
        return replace(self, names=tuple(train.labels.names or ())), y_train, y_test

    def each(self, guess: Tensor, truth: Tensor) -> dict[str, float]:
        """R² of each variable that has a name; NaN where it never changes."""
        found = r_squared(self.parts(guess, truth).sum(0)).tolist()
        return dict(zip(self.names, found, strict=True)) if len(self.names) == len(found) else {}

    def parts(self, guess: Tensor, truth: Tensor) -> Tensor:
        truth = truth.double()
        centred = truth - truth.mean(0)  # R² is the same, and squares do not cancel
        missed = (guess.double() - truth).square()
        return torch.cat([torch.ones_like(truth[:, :1]), centred, centred.square(), missed], 1)

    def of(self, sums: Tensor) -> Tensor:
        return r_squared(sums).nanmean(-1)  # what never changes in a draw tells nothing


@dataclass(frozen=True)
class Coming:
    """What comes next? The values that follow each sample, by their squared error (MSE).

    Values are standardised by the mean and deviation of the training set's, for each channel, unless the samples do so
    themselves. Where samples have a `latest` value, the change since then is asked for: its error is the same, and
    whoever forecasts nothing repeats the last value.

    Attributes:
        horizon: how many steps ahead.
    """

    horizon: int

    metric: ClassVar[str] = "MSE"
    higher: ClassVar[bool] = False

    @property
    def name(self) -> str:
        return f"next {self.horizon}"

    def answers(self, train: Any, test: Any) -> tuple["Coming", Tensor, Tensor]:
        """Asks the samples for `coming(horizon)`, `[N, horizon, C]`, and for `latest()`, `[N, 1, C]`, if there is."""
        values = [self._coming(part, samples) for part, samples in (("training", train), ("test", test))]
        if all(hasattr(samples, "latest") for samples in (train, test)):
            changes = [
                coming - torch.as_tensor(np.asarray(samples.latest()), dtype=torch.float64)
                for coming, samples in zip(values, (train, test), strict=True)
            ]
            return self, changes[0].flatten(1), changes[1].flatten(1)
        mean, std = values[0].mean((0, 1)), values[0].std((0, 1), correction=0)
        std = torch.where(std > 0, std, 1.0)
        y_train, y_test = (((v - mean) / std).flatten(1) for v in values)
        return self, y_train, y_test

    def _coming(self, part: str, samples: Any) -> Tensor:
        if not hasattr(samples, "coming"):
            raise UserError(f"the {part} set's {samples.noun} have no future to forecast: give series")
        return torch.as_tensor(np.asarray(samples.coming(self.horizon)), dtype=torch.float64)

    def plain(self, test: Any) -> dict[str, Tensor]:
        """Forecasts without a fit, by name, as `answers` has them: the last value, and where samples know a season
        (`lagged(horizon)`) the season before."""
        if not hasattr(test, "latest"):
            return {}
        latest = torch.as_tensor(np.asarray(test.latest()), dtype=torch.float64)
        found = {"last value repeated": torch.zeros_like(latest).expand(-1, self.horizon, -1).flatten(1)}
        season = test.lagged(self.horizon) if hasattr(test, "lagged") else None
        if season is not None:
            found["last season repeated"] = (torch.as_tensor(season, dtype=torch.float64) - latest).flatten(1)
        return found

    def parts(self, guess: Tensor, truth: Tensor) -> Tensor:
        missed = (guess.double() - truth.double()).square().mean(1, keepdim=True)
        return torch.cat([missed, torch.ones_like(missed)], 1)

    def of(self, sums: Tensor) -> Tensor:
        return sums[..., 0] / sums[..., 1]


def task_of(samples: Any, *, balanced: bool = False) -> LabelTask:
    """What the labels of a set ask for: classes, or variables where they are floating numbers."""
    labels = samples.labels
    return Variables() if labels is not None and labels.values.dtype.kind == "f" else Classes(balanced)


def score(task: LabelTask, guess: Tensor, truth: Tensor) -> float:
    """The task's score of answers."""
    return float(task.of(task.parts(guess, truth).sum(0)))


def merit(task: LabelTask, guess: Tensor, truth: Tensor) -> float:
    """The score, negated where lower is better: what choices are made by."""
    return score(task, guess, truth) * (1 if task.higher else -1)


def interval(
    task: LabelTask, guess: Tensor, truth: Tensor, groups: Rows | None = None
) -> tuple[float, float]:
    """The 95 % interval's ends: percentiles over test sets of other groups (without them: of other samples).

    Groups are drawn with replacement, 1,000 times, the same way every time. NaN where no draw has a score.
    """
    parts = task.parts(guess, truth).numpy()
    low, high = resampled(parts, groups, lambda sums: task.of(torch.from_numpy(sums)).numpy())
    return float(low), float(high)


def resampled(parts: NDArray, groups: Rows | None, of: Any) -> tuple[NDArray, NDArray]:
    """Percentiles 2.5 and 97.5 of a score of sums, over resampled groups; see `interval`.

    Args:
        parts: `[n, S]`, of each sample.
        groups: `[n]`; `None`: each sample is one.
        of: scores `[R]` or `[R, V]` of sums `[R, S]`.
    """
    if groups is not None:
        _, member = np.unique(groups, return_inverse=True)
        parts = np.stack([np.bincount(member, column) for column in parts.T], 1)
    random, n = np.random.default_rng(0), len(parts)
    step = max(1, 2**24 // (n * parts.shape[1]))  # draws at a time: large sets are not held a thousand times
    values = np.concatenate(
        [
            of(parts[random.integers(n, size=(min(step, RESAMPLES - i), n))].sum(1))
            for i in range(0, RESAMPLES, step)
        ]
    )
    known = np.isfinite(values).any(0)
    low, high = np.nanquantile(np.where(known, values, 0), [0.025, 0.975], axis=0)
    return np.where(known, low, np.nan), np.where(known, high, np.nan)


def r_squared(sums: Tensor) -> Tensor:
    """R² `[..., V]` of sums `[..., 1 + 3 V]`: number, values, squares, squared errors; NaN of what never changes."""
    variables = (sums.shape[-1] - 1) // 3
    count, total, square, missed = sums.split([1, variables, variables, variables], -1)
    spread = square - total.square() / count
    steady = spread <= 1e-9 * square.clamp_min(1e-12)
    return torch.where(steady, torch.nan, 1 - missed / torch.where(steady, 1.0, spread))


def paired_labels(train: Any, test: Any) -> tuple[Rows, Rows, int]:
    """Labels of both sets as 0..K-1 in one numbering, and K.

    Classes are matched by name when both sets name theirs, else by number.

    Raises:
        UserError: labels missing, fewer than two classes or samples, or a test class that train lacks.
    """
    for part, samples in (("training", train), ("test", test)):
        _check(part, samples)
        if samples.labels.values.dtype.kind == "f":
            raise UserError(
                f"the {part} set has variables, not classes; give whole numbers or names to tell classes apart"
            )
    named = bool(train.labels.names and test.labels.names)
    ours, theirs = _names(train, named), _names(test, named)
    known, y_train = np.unique(ours, return_inverse=True)
    if len(known) < 2:
        raise UserError(
            f"all {len(train):,} training samples have one label, {known[0]}; a probe needs two classes"
        )
    unknown = np.setdiff1d(theirs, known)
    if len(unknown):
        raise UserError(
            f"the test set has labels that the training set lacks ({some(unknown)}); it knows {some(known)}: "
            "use splits of the same classes"
        )
    return y_train.astype(np.int64), np.searchsorted(known, theirs).astype(np.int64), len(known)


def _check(part: str, samples: Any) -> None:
    if len(samples) == 0:
        raise UserError(f"the {part} set is empty; probing needs labelled samples to fit and to test")
    if samples.labels is None:
        how = getattr(samples, "unlabelled", "give one sub-folder per class, or a label array")
        raise UserError(f"the {part} set has no labels; {how}")


def _names(samples: Any, named: bool) -> NDArray:
    labels = np.asarray(samples.labels.values)
    if labels.shape != (len(samples),):
        raise UserError(
            f"labels have the shape {labels.shape} for {len(samples):,} samples; give one number each"
        )
    return np.asarray(samples.labels.names)[labels] if named else labels


def _variables(part: str, samples: Any) -> Tensor:
    _check(part, samples)
    values = np.asarray(samples.labels.values, np.float64)
    if len(values) != len(samples) or values.ndim > 2:
        raise UserError(
            f"variables have the shape {values.shape} for {len(samples):,} samples; give [N] or [N, V] numbers"
        )
    return torch.from_numpy(values.reshape(len(values), -1))
