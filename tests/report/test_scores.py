"""The probe table on the page."""

import pytest

from openjepa.errors import UserError
from openjepa.evals.table import DRAWS, ProbeTable, Score
from openjepa.report.scores import scores


def table(*cells: tuple[str, str, float, float]) -> dict:
    return ProbeTable(
        [Score(row, kind, labels, (value,), 10_000, choices=("mean",)) for row, kind, labels, value in cells]
    ).to_dict()


def test_it_says_what_the_intervals_allow():
    found = scores(
        table(
            ("model", "linear", 1.0, 0.88), ("random init", "linear", 1.0, 0.85), ("raw pixels", "linear", 1.0, 0.84),
            ("model", "knn", 1.0, 0.851), ("random init", "knn", 1.0, 0.90), ("raw pixels", "knn", 1.0, 0.85),
        )
    )  # fmt: skip
    assert found.sentence == (
        "Linear probe: the model beats random init and raw pixels. "
        "Nearest neighbours: the model is level with raw pixels, is worse than random init."
    )
    assert [title for title, *_ in found.probes] == ["Linear probe", "Nearest neighbours"]


def test_it_says_what_the_model_adds_to_classical_features():
    found = scores(
        table(
            ("raw pixels", "linear", 1.0, 0.7), ("HOG", "linear", 1.0, 0.8), ("random init", "linear", 1.0, 0.95),
            ("model", "linear", 1.0, 0.75), ("model + best classical", "linear", 1.0, 0.85),
        )
    )  # fmt: skip
    assert found.sentence == (
        "Linear probe: the model beats raw pixels, is worse than HOG and random init. "
        "Linear probe: beside HOG the model adds +5.0 points."
    )
    same = scores(table(("HOG", "knn", 1.0, 0.8), ("model + best classical", "knn", 1.0, 0.801)))
    assert same.sentence.endswith("beside HOG the model adds +0.1 points (which may be chance).")


def drawn(*values: tuple[str, tuple[float, ...]]) -> dict:
    """Scores on the same draws of ten labels a class."""
    return ProbeTable(
        [Score(row, "linear", 0.01, found, 10_000, DRAWS, per_class=10) for row, found in values]
    ).to_dict()


def test_scores_on_the_same_draws_are_compared_draw_by_draw():
    hard, easy = (0.60, 0.70, 0.65, 0.75, 0.68), (0.615, 0.713, 0.666, 0.765, 0.694)
    found = scores(
        drawn(("HOG", hard), ("model", easy))
    )  # the intervals overlap, every difference is above 0
    assert found.sentence == "Linear probe, 10 per class: the model beats HOG."
    found = scores(drawn(("HOG", easy), ("model", hard)))
    assert found.sentence == "Linear probe, 10 per class: the model is worse than HOG."
    found = scores(drawn(("HOG", (0.60, 0.70, 0.65, 0.75, 0.70)), ("model", (0.59, 0.72, 0.64, 0.77, 0.69))))
    assert found.sentence == "Linear probe, 10 per class: the model is level with HOG."


def test_places_lie_on_the_axis_in_order():
    found = scores(table(("model", "linear", 0.01, 0.88), ("raw pixels", "linear", 0.01, 0.7)))
    ((title, (model, pixels), _),) = found.probes
    assert title == "Linear probe, 1 % of labels"
    assert model.mean == "88.0" and model.chosen == "mean"
    assert 0 <= pixels.left < pixels.dot < pixels.left + pixels.width < model.left < model.dot <= 100


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_perfect_and_hopeless_scores_stay_on_the_axis(value):
    ((_, (row,), _),) = scores(table(("model", "linear", 1.0, value))).probes
    assert 0 <= row.left <= row.dot <= 100


def test_an_empty_table_is_none_and_a_broken_one_is_named():
    assert scores({"scores": [], "notes": []}) is None
    with pytest.raises(UserError, match="run the probe again"):
        scores({"scores": [{"row": "model"}], "notes": []})
    with pytest.raises(UserError, match="run the probe again"):
        scores({"accuracy": 0.9})
    told = table(("model", "linear", 1.0, 0.9))
    with pytest.raises(UserError, match="run the probe again"):
        scores(told | {"costs": {"model": {"minutes": "long"}}})


def test_costs_stand_beside_the_scores():
    told = table(("model", "linear", 1.0, 0.88), ("raw pixels", "linear", 1.0, 0.7))
    told["costs"] = {"model": {"minutes": 11.9, "views_per_second": 640.0, "per_second": 2000.0}}
    assert scores(told).table == [
        ["accuracy in %", "linear", "CPU minutes", "training views/s", "images/s"],
        ["model", "88.0 [87.3, 88.6]", "11.9", "640", "2,000"],
        ["raw pixels", "70.0 [69.1, 70.9]", "–", "–", "–"],
    ]


def test_each_task_has_its_metric_its_axis_and_its_direction():
    def score(row, value, task, metric, higher):
        bounds = (value - 0.02, value + 0.02)
        return Score(
            row, "linear", 1.0, (value,), 500, task=task, metric=metric, higher=higher, bounds=bounds
        )

    rows = [
        *(
            score("model", 0.9, "classes", "accuracy", True),
            score("log-mel", 0.8, "classes", "accuracy", True),
        ),
        *(score("model", 0.3, "next 8", "MSE", False), score("log-mel", 0.5, "next 8", "MSE", False)),
    ]
    found = scores(ProbeTable(rows, noun="recordings").to_dict())
    assert [title for title, *_ in found.probes] == [
        "classes (accuracy): Linear probe",
        "next 8 (MSE): Linear probe",
    ]
    assert "next 8 (MSE): Linear probe: the model beats log-mel." in found.sentence
    assert found.probes[0][2] == ("75%", "95%") and found.probes[1][1][0].mean == "0.300"
    assert "Next 8: MSE, lower is better." in found.metrics and found.classical == "Log-mel needs"
