"""Intervals against published values, and the table as text and as data."""

import json
from dataclasses import replace

import pytest

from openjepa.errors import UserError
from openjepa.evals.table import INITIALISATIONS, ComputeCost, ProbeTable, Score, combine, student, wilson


def test_wilson_equals_known_values():
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)  # Newcombe 1998, table I, method 3
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)
    assert wilson(29, 29) == pytest.approx((0.8830, 1.0), abs=1e-4)


def test_student_equals_known_values():
    # df = 2: t = 4.302653; standard deviation 1, n = 3
    assert student([1.0, 2.0, 3.0]) == pytest.approx((2 - 4.302653 / 3**0.5, 2 + 4.302653 / 3**0.5), abs=1e-5)
    # df = 4: t = 2.776445; standard deviation 0.01581139
    low, high = student([0.90, 0.91, 0.92, 0.93, 0.94])
    assert (low, high) == pytest.approx((0.92 - 0.0196324, 0.92 + 0.0196324), abs=1e-6)


@pytest.fixture
def table() -> ProbeTable:
    return ProbeTable(
        [
            Score("model", "linear", 1.0, (0.9,), 1000, choices=("grid3, C=0.3",)),
            Score(
                "model", "linear", 0.01, (0.7, 0.72), 1000, "draws of the labels", ("mean, C=1", "mean, C=1")
            ),
            Score("raw pixels", "linear", 1.0, (0.84,), 1000),
        ],
        ["A note."],
    )


def test_one_value_gets_wilson_and_several_get_student(table):
    single, several = table.score("model", "linear"), table.score("model", "linear", 0.01)
    assert single.interval == wilson(900, 1000)
    assert single.method == "Wilson over 1,000 test samples"
    assert several.interval == student([0.7, 0.72])
    assert several.method == "Student's t over 2 draws of the labels"


def test_shares_and_their_intervals_lie_within_0_and_1():
    assert Score("model", "linear", 1.0, (0.97, 1.0), 50, "seeds").interval[1] == 1.0
    assert Score("model", "linear", 1.0, (0.0, 0.03), 50, "seeds").interval[0] == 0.0
    assert Score("model", "linear", 1.0, (0.0, 0.03), 50, "seeds", metric="R²").interval[0] < 0


def test_text_is_aligned_and_says_what_the_intervals_are(table):
    lines = str(table).splitlines()
    assert lines[0].split("  ")[0] == "accuracy in %"
    starts = {line.index(cell) for line, cell in zip(lines[:3], ("linear", "90.0", "84.0"), strict=True)}
    assert len(starts) == 1
    assert "–" in lines[2]  # the cell that was not run
    assert "Wilson over 1,000 test samples; Student's t over 2 draws" in str(table)
    assert "model, linear, 1 % of labels: mean, C=1\n" in str(table)
    assert lines[-1] == "A note."


def test_data_round_trips_through_json(table):
    assert ProbeTable.from_dict(json.loads(json.dumps(table.to_dict()))) == table
    first = table.to_dict()["scores"][0]
    assert (first["mean"], first["low"]) == (0.9, wilson(900, 1000)[0])


def test_models_of_several_seeds_combine(table):
    other = ProbeTable(
        [
            Score("model", "linear", 1.0, (0.92,), 1000, choices=("grid2, C=0.3",)),
            Score("model", "linear", 0.01, (0.75, 0.77), 1000, "draws of the labels"),
            Score("raw pixels", "linear", 1.0, (0.84,), 1000),
        ]
    )
    both = combine([table, other])
    assert both.score("model", "linear").values == (0.9, 0.92)
    assert both.score("model", "linear").method == "Student's t over 2 training seeds"
    assert both.score("model", "linear").choices == ("grid3, C=0.3", "grid2, C=0.3")
    assert both.score("model", "linear", 0.01).values == pytest.approx((0.71, 0.76))
    assert both.score("raw pixels", "linear") == table.score("raw pixels", "linear")
    assert both.notes == ["A note."]


def test_tables_of_another_shape_do_not_combine(table):
    with pytest.raises(UserError, match="same rows and probes"):
        combine([table, ProbeTable(table.scores[:1])])
    with pytest.raises(UserError, match="same rows and probes"):
        combine([])


def test_random_initialisations_of_several_tables_count_one_by_one():
    def of(*values: float) -> ProbeTable:
        scores = [
            Score("model", "knn", 1.0, values[:1], 1000),
            Score("random init", "knn", 1.0, values[1:], 1000, INITIALISATIONS, ("mean",) * len(values[1:])),
        ]
        return ProbeTable(scores)

    both = combine([of(0.9, 0.6, 0.7, 0.8), of(0.8, 0.5, 0.6, 0.7)])
    assert both.score("model", "knn").values == (0.9, 0.8)
    random = both.score("random init", "knn")
    assert random.values == (0.6, 0.7, 0.8, 0.5, 0.6, 0.7)
    assert random.interval == student(random.values)
    assert random.over == INITIALISATIONS


def test_costs_stand_beside_scores_round_trip_and_are_averaged(table):
    costs = {"model": ComputeCost(2.0, 300.0, 1000.0), "raw pixels": ComputeCost(None, None, 5000.0)}
    one, other = (
        replace(table, costs={**costs, "model": ComputeCost(m, v, 1000.0)})
        for m, v in ((2.0, 300.0), (4.0, None))
    )
    titles, model, pixels = one.cells()
    assert titles[-3:] == ["CPU minutes", "training views/s", "images/s"]
    assert model[-3:] == ["2.0", "300", "1,000"] and pixels[-3:] == ["–", "–", "5,000"]
    assert ProbeTable.from_dict(json.loads(json.dumps(one.to_dict()))).costs == one.costs
    assert combine([one, other]).costs == {
        "model": ComputeCost(3.0, 300.0, 1000.0),
        "raw pixels": ComputeCost(None, None, 5000.0),
    }
    old = one.to_dict()
    old["costs"] = {"model": {"minutes": None, "per_second": 1000.0}}
    assert (
        ProbeTable.from_dict(old).cells()[0][-1] == "images/s"
        and "CPU minutes" not in ProbeTable.from_dict(old).cells()[0]
    )
