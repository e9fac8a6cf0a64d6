"""What is said of a run first."""

from pathlib import Path

import pytest

from openjepa.evals.table import ProbeTable, Score
from openjepa.report.headline import headline
from openjepa.report.record import Record

VERDICT = {"step": 300, "kind": "verdict", "word": "better", "reason": "it gained", "advice": ""}


def record(probe: dict[str, float] | None, *lines: dict) -> Record:
    """A run of 300 steps with these linear scores, of 10,000 test samples."""
    table = None
    if probe is not None:
        scores = [Score(row, "linear", 1.0, (value,), 10_000) for row, value in probe.items()]
        table = ProbeTable(scores).to_dict()
    return Record(Path("run"), {"train": {"steps": 300}}, lines={"verdict": list(lines)}, probe=table)


@pytest.mark.parametrize(
    ("scores", "word", "mood"),
    [
        (
            {"model": 0.841, "random init": 0.877, "raw pixels": 0.913},
            "worse than random init and raw pixels",
            "bad",
        ),
        ({"model": 0.89, "random init": 0.877, "raw pixels": 0.913}, "worse than raw pixels", "bad"),
        ({"model": 0.914, "random init": 0.877, "raw pixels": 0.913}, "no better than raw pixels", "warn"),
        (
            {"model": 0.93, "random init": 0.877, "raw pixels": 0.913},
            "better than random init and raw pixels",
            "good",
        ),
    ],
)
def test_once_a_probe_has_run_it_has_the_word(scores, word, mood):
    said = headline(record(scores, VERDICT))
    assert (said.word, said.mood) == (word, mood)
    assert "better: it gained" in said.reason  # the verdict on training is told, not praised
    assert bool(said.advice) == (mood != "good")


def test_a_probe_of_the_model_alone_compares_nothing():
    assert headline(record({"model": 0.9}, VERDICT)).word == "better"


def test_before_a_probe_the_verdict_has_it():
    said = headline(record(None, VERDICT | {"step": 0, "word": "not trained yet"}, VERDICT))
    assert (said.word, said.mood) == ("better", "good")
    assert said.history == "not trained yet from step 0, better from step 300"
    assert headline(record(None)).word == "no verdict yet"
