"""Verdicts where tasks were measured: what is known of the features now, against step 0."""

import math

import pytest

from openjepa.health import judge

from .test_verdict import START, STEPS, WORLD, run

FIRST = {"task/look": 0.3, "task/view": 0.4, "task/coarse": 0.6} | {
    f"task/{name}_error": 0.02 for name in ("look", "view", "coarse")
}
UP = FIRST | {"task/look": 0.5, "task/view": 0.55, "task/coarse": 0.7}
DOWN = FIRST | {"task/look": 0.1, "task/view": 0.3, "task/coarse": 0.4}
NOISE = FIRST | {"task/look": 0.31, "task/view": 0.4, "task/coarse": 0.605}
DYING = {"rank/context": 1.5}


@pytest.mark.parametrize(
    ("tasks", "word", "healthy"),
    [(UP, "better", True), (NOISE, "no better", True), (DOWN, "worse", False), (FIRST, "no better", True)],
)
def test_the_word_is_what_tasks_gained(tasks, word, healthy):
    verdict = judge(run(START | FIRST, {}, {}, tasks), STEPS)
    assert (verdict.word, verdict.step, verdict.healthy) == (word, 300, healthy)
    assert "at step 0: 0.30" in verdict.reason


def test_a_prediction_that_beats_all_does_not_make_features_better():
    """What was called learning once."""
    history = run(START | FIRST, *[{"energy/model": 0.01}] * 9, NOISE | {"energy/model": 0.01})
    verdict = judge(history, STEPS)
    assert verdict.word == "no better" and verdict.step == STEPS
    assert "train longer" in verdict.advice


def test_a_difference_within_the_error_is_none():
    wide = {f"task/{name}_error": 0.3 for name in ("look", "view", "coarse")}
    assert judge(run(START | FIRST | wide, UP | wide), STEPS).word == "no better"
    assert judge(run(START | FIRST | wide, DOWN | wide), STEPS).word == "no better"


def test_in_passing_the_latest_tasks_count():
    assert judge(run(START | FIRST, UP, {}, {}), STEPS).word == "better"
    assert judge(run(START | FIRST, UP, {}, NOISE), STEPS).word == "no better"


def test_what_was_there_and_went_is_told():
    verdict = judge(run(START | FIRST, {}, UP, {}, NOISE), STEPS)
    assert verdict.word == "no better" and "better at step 200" in verdict.reason
    assert "better at step" not in judge(run(START | FIRST, {}, NOISE), STEPS).reason.replace(
        "no better than", ""
    )


def test_a_dip_of_rank_is_no_alarm_while_nothing_is_lost():
    assert judge(run(START | FIRST, DYING | UP), STEPS).word == "better"
    assert judge(run(START | FIRST, DYING | NOISE), STEPS).word == "no better"


def test_a_dip_of_rank_with_a_loss_is_one():
    verdict = judge(run(START | FIRST, DYING | DOWN), STEPS)
    assert verdict.word == "dimensions dying" and not verdict.healthy
    assert "0.10 (at step 0: 0.30)" in verdict.reason
    gone = {"share/varying": 0.05, "share/context": 0.01}
    assert judge(run(START | FIRST, gone | DOWN), STEPS).word == "collapsed"
    assert judge(run(START | FIRST, gone | UP), STEPS).word == "better"


def test_features_that_became_one_constant_have_collapsed_whatever_can_be_decoded():
    drowned = {"share/varying": 0.001, "share/embedding": 0.001, "share/context": 0.001}
    verdict = judge(run(START | FIRST, drowned | UP), STEPS)
    assert verdict.word == "collapsed" and "0.10%" in verdict.reason and "60.0%" in verdict.reason
    assert judge(run(START | FIRST, drowned | UP | {"share/varying": 0.3}), STEPS).word == "better"


PLACES = {"task/coarse": 0.8, "task/coarse_error": 0.02}


def test_of_a_world_it_is_told_that_places_were_lost_and_since_when():
    lost = {**WORLD, "task/coarse": 0.5, "task/coarse_error": 0.02}
    verdict = judge(run(WORLD | PLACES, lost, WORLD | PLACES, lost, lost), STEPS)
    assert verdict.word == "worse"
    assert verdict.reason == (
        "the features are worse than at the start since step 300: where things are is decoded: 0.50 (at step 0: 0.80)"
    )


def test_unused_actions_are_why_places_are_lost():
    lost = {**WORLD, "energy/permuted_actions": 0.3, "task/coarse": 0.5, "task/coarse_error": 0.02}
    verdict = judge(run(WORLD | PLACES, *[lost] * 4, every=50), STEPS)
    assert (verdict.word, verdict.healthy) == ("not using the actions", False)
    assert "worse than at the start since step 50: where things are" in verdict.reason
    assert "actions and frames belong together" in verdict.advice


def test_features_that_are_not_finite_need_no_evidence():
    broken = {f"task/{name}": math.nan for name in ("look", "view", "coarse")}
    assert judge(run(START | FIRST, {"energy/model": math.nan} | UP), STEPS).word == "collapsed"
    assert judge(run(START | FIRST, FIRST | broken), STEPS).word == "worse"


def test_only_the_tasks_that_a_signal_has_are_compared():
    first = {"task/coarse": 0.5, "task/coarse_error": 0.02}
    verdict = judge(run(START | WORLD | first, WORLD | first | {"task/coarse": 0.8}), STEPS)
    assert verdict.word == "better" and "decoded: 0.80 (at step 0: 0.50)" in verdict.reason
