"""Scores with the interval that they deserve, as text for people and as plain data for files."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from openjepa.common.text import aligned
from openjepa.errors import UserError

RANDOM, JOINED = "random init", "model + best classical"
"""Rows that are no classical features, beside `model`."""

ACCURACY = "accuracy"

DRAWS = "draws of the labels"
"""What scores with few labels are repeated over; every row is given the same draws."""

INITIALISATIONS = "random initialisations"
"""What a random encoder's scores are repeated over."""

Z95 = 1.959964  # the normal distribution's 97.5 % quantile


def wilson(correct: float, total: int, z: float = Z95) -> tuple[float, float]:
    """Wilson's score interval of a proportion (1927): what one model's accuracy on `total` samples tells.

    Args:
        correct: samples that were right, 0..total (a product accuracy x total need not be a whole number).
        total: samples tested, at least 1.

    Examples:
        >>> low, high = wilson(80, 100)
        >>> round(low, 3), round(high, 3)
        (0.711, 0.867)
    """
    p, z2 = correct / total, z * z
    centre = (p + z2 / (2 * total)) / (1 + z2 / total)
    half = z / (1 + z2 / total) * math.sqrt(p * (1 - p) / total + z2 / (4 * total * total))
    return max(0.0, centre - half), min(1.0, centre + half)


def student(values: Sequence[float]) -> tuple[float, float]:
    """Student's 95 % interval of the mean of `values` (at least two): what repeated runs tell.

    Examples:
        >>> low, high = student([0.70, 0.72, 0.74])
        >>> round(low, 3), round(high, 3)
        (0.67, 0.77)
    """
    from scipy.special import stdtrit  # scipy comes with scikit-learn; not paid for on import

    n, mean = len(values), math.fsum(values) / len(values)
    deviation = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (n - 1))
    half = float(stdtrit(n - 1, 0.975)) * deviation / math.sqrt(n)
    return mean - half, mean + half


@dataclass(frozen=True)
class Score:
    """The score of one probe on one kind of feature.

    One accuracy gets Wilson's interval over the test samples, any other value and one over groups a bootstrap's;
    several get Student's over what was repeated, of shares within 0 and 1.
    """

    row: str
    """Whose features: `raw pixels`, `random init`, `model`, `model + best classical` and so on."""
    kind: str
    """The probe: `linear`, `knn`, `attentive`."""
    labels: float
    """Share of the training labels used, 0..1."""
    values: tuple[float, ...]
    """One, or one per repetition; accuracies as 0..1."""
    tested: int
    """Test samples behind each value."""
    over: str = ""
    """What the repetitions are, in the plural, e.g. `training seeds`; empty for a single value."""
    choices: tuple[str, ...] = ()
    """What the validation split chose, one per value: pooling and strength."""
    per_class: int = 0
    """Examples of each class where the labels were drawn so; 0: by share."""
    task: str = "classes"
    """What was asked: `classes`, `variables`, `next 96`."""
    metric: str = ACCURACY
    higher: bool = True
    """Whether a higher score is better."""
    bounds: tuple[float, float] | None = None
    """The ends of a single value's interval, by bootstrap."""
    groups: int = 0
    """Groups of test samples (speakers, subjects, recordings); 0: none are known."""
    each: dict[str, float] = field(default_factory=dict)
    """The score of each variable by itself, where there are several, by name; NaN of one that never changes."""

    @property
    def mean(self) -> float:
        return math.fsum(self.values) / len(self.values)

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval's ends."""
        if len(self.values) > 1:
            low, high = student(self.values)
            return (max(0.0, low), min(1.0, high)) if self.is_share else (low, high)
        return self.bounds or wilson(self.values[0] * self.tested, self.tested)

    @property
    def method(self) -> str:
        """Where the interval comes from, for people."""
        if len(self.values) > 1:
            return f"Student's t over {len(self.values)} {self.over}"
        if self.bounds is not None:
            over = f"{self.groups:,} groups" if self.groups else f"{self.tested:,} test samples"
            return f"bootstrap over {over}"
        return f"Wilson over {self.tested:,} test samples"

    @property
    def is_share(self) -> bool:
        """Whether it is shown in percent."""
        return self.metric.endswith(ACCURACY) or self.metric == "mean IoU"

    def show(self, value: float) -> str:
        """A value in the score's unit, for people."""
        return f"{100 * value:.1f}" if self.is_share else f"{value:.3f}"

    @property
    def told(self) -> str:
        """The mean and its interval, for people: `93.3 [90.0, 95.6]`."""
        low, high = map(self.show, self.interval)
        return f"{self.show(self.mean)} [{low}, {high}]"

    def to_dict(self) -> dict[str, Any]:
        """Plain data, the derived numbers included."""
        low, high = self.interval
        each = {name: None if math.isnan(value) else value for name, value in self.each.items()}
        derived = {"mean": self.mean, "low": low, "high": high, "method": self.method}
        return asdict(self) | {"each": each} | derived


def mean_each(found: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The means of each variable's scores."""
    return {name: math.fsum(one[name] for one in found) / len(found) for name in found[0]} if found else {}


def better_by(mine: Score, other: Score) -> tuple[float, float]:
    """The 95 % interval's ends of how much better `mine` is than `other`; above 0 it is better, below 0 worse.

    Scores on the same draws of the labels are compared draw by draw: Student's interval of the differences. Others are
    compared by their own intervals, whose gap counts (0 where they overlap).
    """
    sign = 1 if mine.higher else -1
    if mine.over == other.over == DRAWS and len(mine.values) == len(other.values) > 1:
        return student([sign * (a - b) for a, b in zip(mine.values, other.values, strict=True)])
    (low, high), (least, most) = mine.interval, other.interval
    if sign < 0:
        low, high, least, most = -high, -low, -most, -least
    return low - most, high - least


@dataclass(frozen=True)
class ComputeCost:
    """What a row's features take, on the processor; `None`: not known, or nothing of the kind."""

    minutes: float | None = None
    """CPU minutes until there is a first feature: training the model, fitting the dictionary."""
    views_per_second: float | None = None
    """Views that went through an encoder in a CPU second of training."""
    per_second: float | None = None
    """Samples turned into features in a CPU second."""

    @property
    def told(self) -> list[str]:
        """The numbers for people."""
        numbers = ((self.minutes, ",.1f"), (self.views_per_second, ",.0f"), (self.per_second, ",.0f"))
        return ["–" if number is None else format(number, how) for number, how in numbers]


UNKNOWN = ComputeCost()
COSTS = ("CPU minutes", "training views/s", "{noun}/s")
"""The titles of `ComputeCost.told`."""


@dataclass(frozen=True)
class ProbeTable:
    """All scores of one evaluation, in the order in which rows and columns are shown."""

    scores: list[Score]
    notes: list[str] = field(default_factory=list)
    costs: dict[str, ComputeCost] = field(default_factory=dict, compare=False)
    """By row; measured, so two tables with the same scores are equal whatever these are."""
    noun: str = "images"
    """What several samples are called."""

    def score(
        self, row: str, kind: str, labels: float = 1.0, per_class: int = 0, task: str | None = None
    ) -> Score:
        """One cell; with `per_class`, whatever share of the labels that is; by default of the first task.

        Raises:
            KeyError: that probe was not run.
        """
        for score in self.scores:
            share = per_class > 0 or score.labels == labels
            share = share and task in (None, score.task)
            if share and (score.row, score.kind, score.per_class) == (row, kind, per_class):
                return score
        told = f"{per_class} examples per class" if per_class else f"{labels:.0%} of the labels"
        raise KeyError(f"no {kind} score of {row} with {told}")

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        costs = {row: asdict(cost) for row, cost in self.costs.items()}
        return {
            "scores": [score.to_dict() for score in self.scores],
            "notes": list(self.notes),
            "costs": costs,
            "noun": self.noun,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "ProbeTable":
        """The inverse of `to_dict`."""
        names = ("row", "kind", "labels", "tested", "over")
        later = ("per_class", "task", "metric", "higher", "groups")  # than the first tables that were kept
        scores = [
            Score(
                **{n: s[n] for n in names},
                **{n: s[n] for n in later if n in s},
                values=tuple(s["values"]),
                choices=tuple(s["choices"]),
                bounds=None if s.get("bounds") is None else (s["bounds"][0], s["bounds"][1]),
                each={n: math.nan if v is None else float(v) for n, v in s.get("each", {}).items()},
            )
            for s in data["scores"]
        ]
        costs = {row: ComputeCost(**cost) for row, cost in data.get("costs", {}).items()}
        return cls(scores, list(data["notes"]), costs, data.get("noun", "images"))

    def __str__(self) -> str:
        """Aligned text: a row per kind of feature, a column per task and probe; below it what was chosen."""
        lines = aligned(self.cells())
        methods = dict.fromkeys(score.method for score in self.scores)
        lines += ["", *self.metrics(), f"95 % intervals: {'; '.join(methods)}."]
        several = self.tasks() > 1
        chosen = [
            f"{s.row}, {title(s, task=several)}: {_common(s.choices)}" for s in self.scores if s.choices
        ]
        lines += ["Chosen on validation data:", *(f"  {line}" for line in chosen)] if chosen else []
        return "\n".join([*lines, *self.notes, *self.of_each()])

    def of_each(self) -> list[str]:
        """Lines with the score of each variable by itself, of the first probe with all labels, a column a row."""
        told = [score for score in self.scores if score.each and column(score) == column(self.scores[0])]
        if not told:
            return []
        names = dict.fromkeys(name for score in told for name in score.each)
        head = [f"{told[0].metric} of each, {title(told[0])}", *(score.row for score in told)]
        rows = [[name, *(_of_one(score, name) for score in told)] for name in names]
        return ["", *aligned([head, *rows])]

    def markdown(self) -> str:
        """The table alone, in Markdown."""
        head, *rows = self.cells()
        return "\n".join(f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *rows))

    def tasks(self) -> int:
        """How many tasks it holds scores of."""
        return len({score.task for score in self.scores})

    def metrics(self) -> list[str]:
        """What the scores of each task are, in a sentence; nothing where all are the accuracies of the title."""
        told = {score.task: score for score in self.scores}
        if {score.metric for score in told.values()} <= {ACCURACY}:
            return []
        found = []
        for task, score in told.items():
            unit, way = " in %" if score.is_share else "", "higher" if score.higher else "lower"
            found.append(f"{task}: {score.metric}{unit}, {way} is better.")
        return found

    def cells(self) -> list[list[str]]:
        """A line of titles, and a line per row: its scores, and what its features cost where that is known."""
        rows, several = dict.fromkeys(score.row for score in self.scores), self.tasks() > 1
        columns = {column(score): title(score, task=several) for score in self.scores}
        cells = {(score.row, column(score)): score.told for score in self.scores}
        told = {row: self.costs.get(row, UNKNOWN).told for row in rows}
        costs = [i for i in range(len(COSTS)) if any(told[row][i] != "–" for row in rows)]
        found = list(dict.fromkeys(f"{s.metric} in %" if s.is_share else s.metric for s in self.scores))
        head = found[0] if len(found) == 1 else "score"
        lines = [[head, *columns.values(), *(COSTS[i].format(noun=self.noun) for i in costs)]]
        for row in rows:
            scores = [cells.get((row, c), "–") for c in columns]
            lines.append([row, *scores, *(told[row][i] for i in costs)])
        return lines


def combine(tables: Sequence[ProbeTable], over: str = "training seeds") -> ProbeTable:
    """One table from several of the same shape, e.g. of models trained with different seeds.

    Each table gives one value per cell (its mean); the interval is then Student's over the tables. Random
    initialisations, where a table has several, are repetitions of one another and count one by one.
    Rows that are the same in every table because nothing in them was trained (raw pixels) stay single.

    Raises:
        UserError: the tables do not hold the same cells, or there is none.
    """
    cells = [[(s.row, *column(s)) for s in table.scores] for table in tables]
    if not cells or any(other != cells[0] for other in cells):
        raise UserError(
            "only tables with the same rows and probes can be combined; run the same probe on each model"
        )
    merged = []
    for group in zip(*(table.scores for table in tables), strict=True):
        if len(group) == 1 or all(score.values == group[0].values for score in group):
            merged.append(group[0])
            continue
        first = group[0]
        if first.over == INITIALISATIONS:
            values = tuple(value for score in group for value in score.values)
            choices = tuple(choice for score in group for choice in score.choices)
            each = mean_each([score.each for score in group])
            merged.append(replace(first, values=values, choices=choices, bounds=None, each=each))
            continue
        choices = tuple(_common(score.choices) for score in group if score.choices)
        values = tuple(score.mean for score in group)
        each = mean_each([score.each for score in group])
        merged.append(replace(first, values=values, over=over, choices=choices, bounds=None, each=each))
    notes = list(dict.fromkeys(note for table in tables for note in table.notes))
    costs = {
        row: _mean_cost([table.costs[row] for table in tables if row in table.costs])
        for row in tables[0].costs
    }
    return ProbeTable(merged, notes, costs, tables[0].noun)


def together(tables: Sequence[ProbeTable]) -> ProbeTable:
    """One table of several tasks, from tables of the same rows."""
    notes = list(dict.fromkeys(note for table in tables for note in table.notes))
    costs = {row: cost for table in reversed(tables) for row, cost in table.costs.items()}
    return ProbeTable([score for table in tables for score in table.scores], notes, costs, tables[0].noun)


def column(score: Score) -> tuple[str, str, float, int]:
    """What tells one column of the table from another."""
    return score.task, score.kind, score.labels, score.per_class


def title(score: Score, name: str = "", *, task: bool = False) -> str:
    """A column's title for people.

    Args:
        name: of the probe, in the place of its short one.
        task: whether to name the task and its metric too.
    """
    name = name or score.kind
    if task:
        name = f"{score.task} ({score.metric}): {name}"
    if score.per_class:
        return f"{name}, {score.per_class} per class"
    return name if score.labels == 1.0 else f"{name}, {100 * score.labels:.3g} % of labels"


def _mean_cost(costs: Sequence[ComputeCost]) -> ComputeCost:
    def mean(values: Sequence[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return math.fsum(known) / len(known) if known else None

    names = [part.name for part in fields(ComputeCost)]
    return ComputeCost(**{name: mean([getattr(cost, name) for cost in costs]) for name in names})


def _of_one(score: Score, name: str) -> str:
    value = score.each.get(name, math.nan)
    return "–" if math.isnan(value) else score.show(value)


def _common(choices: Sequence[str]) -> str:
    return " | ".join(dict.fromkeys(choices))
