"""The benchmark of verdicts: its cases, its truths, and how it counts."""

import pytest
import torch
from benchmarks.verdicts import table
from benchmarks.verdicts.cases import OF, Case, cases, damaged
from benchmarks.verdicts.measure import Truth
from benchmarks.verdicts.train import config_of

from openjepa.health import Verdict

FIRST = {"task/view": 0.2, "task/view_error": 0.01, "task/coarse": 0.5, "task/coarse_error": 0.01}


def ended(gain: float, said: str, view: float, recipe: str = "i-jepa", fault: int = 0) -> table.Ended:
    """A run of this true gain (in accuracy), whose last verdict is `said`, and where retrieval gained `view`."""
    truth = Truth((0.5, 0.5 + gain), (0.4, 0.4 + gain), gain, 0.005, (0.2, 0.3))
    readings = [
        {"step": 0} | FIRST,
        {"step": 100} | FIRST | {"task/view": 0.2 + view, "task/coarse": 0.5 - view},
    ]
    verdicts = [Verdict("not trained yet", "", "", 0), Verdict(said, "", "", 100)]  # ty: ignore[invalid-argument-type]
    return table.Ended(Case(OF[recipe][fault], recipe, "cifar10", 1), truth, readings, verdicts)


def test_there_are_enough_cases_and_every_one_can_be_configured():
    found = cases()
    assert len(found) >= 60
    assert len({case.name for case in found}) == len({case.seed for case in found}) == len(found)
    for case in found:
        assert config_of(case).train.seed == case.seed


def test_both_halves_of_the_faults_have_every_kind():
    for faults in OF.values():
        for half in (faults[::2], faults[1::2]):
            assert any(fault.damage for fault in half)
            assert any(fault.name.startswith("as it is") for fault in half)


@pytest.mark.parametrize("how", ["noise", "permuted", "few", "stamp", "faint", "turned"])
def test_damage_is_repeatable_and_leaves_the_original(how):
    images = torch.randint(
        0, 256, (60, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    before = images.clone()
    spoilt = damaged(images, how, 3)
    assert torch.equal(spoilt, damaged(images, how, 3)) and torch.equal(images, before)
    assert spoilt.shape == images.shape and spoilt.dtype == torch.uint8
    assert not torch.equal(spoilt, images)


def test_a_truth_is_a_change_beyond_its_noise():
    words = [ended(gain, "better", 0.1).truth.word for gain in (0.02, 0.009, -0.009, -0.02)]
    assert words == ["learned", "no better", "no better", "worse"]
    assert Truth((0.5, 0.5), (0.5, 0.5), 0.0, 0.01, (0.2, 0.9999)).word == "collapsed"


def test_untrue_words_are_counted():
    runs = [ended(0.05, "better", 0.2), ended(0.0, "better", 0.1), ended(-0.05, "better", 0.1)]
    found = table.bars([*runs, ended(0.05, "collapsed", 0.1), ended(-0.02, "worse", -0.1)])
    assert (found["better"], found["better, untrue"], found["better, and features lost"]) == (3, 2, 1)
    assert (found["learned"], found["learned, stopped by --on-collapse stop"]) == (2, 1)
    assert table.confusion(runs) == {"better": {"learned": 1, "no better": 1, "worse": 1}}


def test_the_fit_finds_the_task_that_knows():
    """Here decoding falls wherever features improve."""
    runs = [
        ended(change, "better", 2 * change, recipe, fault)
        for recipe in OF
        for fault, change in enumerate((-0.06, -0.03, 0.0, 0.03, 0.06, 0.09))
    ]
    found = table.fit(runs)
    assert found["weights"]["view"] > found["weights"]["coarse"]
    assert found["spearman"] == pytest.approx(1)
    assert 0 < found["better above"] < 0.27


def test_the_tables_name_every_run():
    text = table.markdown([ended(0.05, "better", 0.2), ended(-0.05, "worse", -0.1, "lejepa", 1)])
    assert "| i-jepa | cifar10 | as it is | yes | +5.0 ± 1.0 | learned | " in text
    assert "worse" in text and "lejepa" in text
