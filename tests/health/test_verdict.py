"""Verdicts on invented histories: one symptom at a time."""

import math

import pytest

from openjepa.health import judge, judged

STEPS = 1000
ALIVE = {
    "rank/context": 8.0,
    "rank/embedding": 6.0,
    "rank/target": 12.0,
    "share/varying": 0.8,
    "share/context": 0.35,
    "share/embedding": 0.6,
    "std/context_dead": 0.0,
    "std/target_dead": 0.0,
    "power/content": 0.8,
    "energy/model": 0.3,
    "energy/mean": 0.4,
    "energy/permuted": 0.5,
    "input/std": 0.2,
}
START = {"energy/model": 0.7, "energy/permuted": 0.7}


def run(*changes: dict[str, float], every: int = 100) -> list[dict[str, float]]:
    """A history with a reading every 100 steps; each differs from a run that is alive by `changes`."""
    return [{"step": i * every, **ALIVE, **change} for i, change in enumerate(changes)]


def course(key: str, *values: float) -> list[dict[str, float]]:
    return run(*({key: value} for value in values))


def test_no_measurement_no_verdict():
    with pytest.raises(ValueError, match="no measurement"):
        judge([], STEPS)


def test_nothing_is_judged_before_the_first_step():
    worn = {"rank/embedding": 1.0, "rank/context": 1.0, "share/context": 0.0, "energy/model": 0.1}
    for first in (START, worn):
        verdict = judge(run(first), STEPS)
        assert (verdict.word, verdict.step, verdict.healthy) == ("not trained yet", 0, True)
        assert not verdict.advice


def test_before_the_first_step_the_data_can_be_judged():
    verdict = judge(run({"input/std": 0.0, "share/embedding": 0.0}), STEPS)
    assert verdict.word == "not trained yet"
    assert "the same" in verdict.reason and "data" in verdict.advice


def test_without_tasks_no_more_is_claimed_than_the_energies_say():
    """As in the runs of before."""
    verdict = judge(run(START, {}), STEPS)
    assert (verdict.word, verdict.step, verdict.healthy) == ("alive", 100, True)
    assert "0.3" in verdict.reason and "0.4" in verdict.reason and "0.5" in verdict.reason
    assert "beats both" in verdict.reason and "was not measured" in verdict.reason


@pytest.mark.parametrize("changes", [{}, {"energy/model": 0.6}])
def test_at_the_end_nobody_is_told_to_wait(changes):
    verdict = judge(run(START, *[changes] * 10), STEPS)
    assert verdict.step == STEPS
    assert "wait" not in verdict.advice and " yet" not in verdict.reason


ADVISED = [
    (
        {"target": {"kind": "ema", "half_life": 0.02}, "guard": {"kind": "none"}},
        "--guard sigreg",
        "--target ema",
    ),
    ({"target": {"kind": "shared"}, "guard": {"kind": "none"}}, "--target ema", "half-life"),
    (
        {"target": {"kind": "shared"}, "guard": {"kind": "sigreg", "weight": 0.05}},
        "above 0.05",
        "--guard sigreg",
    ),
    (
        {"target": {"kind": "ema", "half_life": 0.02}, "guard": {"kind": "vicreg", "std": 2.0}},
        "--guard.std",
        "add a",
    ),
]


@pytest.mark.parametrize(("config", "said", "not_said"), ADVISED)
@pytest.mark.parametrize("changes", [{"share/varying": 0.01, "share/context": 0.001}, {"rank/context": 1.5}])
def test_what_a_run_has_is_not_advised(changes, config, said, not_said):
    verdict = judge(run(START, {}, changes), STEPS, config)
    assert verdict.word in ("collapsed", "dimensions dying")
    assert said in verdict.advice and not_said not in verdict.advice


def test_advice_names_the_numbers_to_leave():
    config = {"train": {"lr": 0.05, "warmup": 0.1}}
    gone = {"share/varying": 0.01, "share/context": 0.001, "energy/model": 0.9}
    assert "--train.lr below 0.05" in judge(run(START, {}, gone), STEPS, config).advice


def test_words_of_before_are_judged_anew():
    old = {"word": "learning", "reason": "it beats", "advice": "nothing to change", "step": 200}
    again = judged(old, run(START, {}, {}, {}), STEPS, {})
    assert (again.word, again.step) == ("alive", 200)
    kept = {"word": "collapsed", "reason": "seen", "advice": "add", "step": 200}
    assert judged(kept, run(START, {}, {}), STEPS, {}).reason == "seen"


def test_a_symptom_is_kept_for_three_measurements():
    gone = {"share/embedding": 1e-9}
    kept = judge(run(START, {}, gone, {}, {}), STEPS)
    assert (kept.word, kept.step) == ("collapsed", 200)
    assert judge(run(START, {}, gone, {}, {}, {}), STEPS).word == "alive"


def test_one_bad_reading_does_not_undo_what_was_reached():
    worse = {"energy/model": 0.41}
    assert "beats both" in judge(run(START, {}, {}, worse), STEPS).reason
    assert "does not beat both" in judge(run(START, {}, worse, worse, worse), STEPS).reason


@pytest.mark.parametrize("key", ["energy/model", "share/context", "share/embedding"])
def test_what_is_not_finite_has_collapsed(key):
    verdict = judge(run(START, {}, {key: math.nan}), STEPS)
    assert verdict.word == "collapsed"
    assert "not finite" in verdict.reason and "learning rate" in verdict.advice


def test_equal_samples_are_a_matter_of_the_data():
    verdict = judge(run(*[{"input/std": 0.0, "share/embedding": 0.0}] * 2), STEPS)
    assert verdict.word == "collapsed"
    assert "the same" in verdict.reason and "data" in verdict.advice


def test_equal_features_of_different_samples_are_not():
    verdict = judge(run(START, {"share/embedding": 1e-9}), STEPS)
    assert verdict.word == "collapsed"
    assert "data" not in verdict.advice


def test_constant_context_features_have_collapsed():
    gone = {"share/varying": 0.02, "share/context": 0.01}
    verdict = judge(run(START, {}, gone), STEPS)
    assert verdict.word == "collapsed"
    assert "2.00%" in verdict.reason and "2.5%" in verdict.reason and "guard" in verdict.advice


@pytest.mark.parametrize("kind", ["frozen", "operator"])
def test_features_that_a_fixed_target_brings_back_have_not_collapsed(kind):
    config = {"target": {"kind": kind}}
    for gone in (
        {"share/varying": 0.02, "share/context": 0.01},
        {"share/varying": 0.01, "share/embedding": 0.01},
    ):
        assert judge(run(START, {}, gone), STEPS).word == "collapsed"
        assert judge(run(START, {}, gone), STEPS, config).word == "alive"
    equal = run(START, {"share/embedding": 1e-9})
    assert judge(equal, STEPS, config).word == "collapsed"
    assert "--target ema" not in judge(equal, STEPS, config).advice


def test_a_steady_fall_is_named_before_it_is_complete():
    falling = [{"share/varying": v, "share/context": v / 3} for v in (0.3, 0.25, 0.2, 0.16, 0.095)]
    assert judge(run(START, *falling), STEPS).word == "collapsed"
    bounced = [falling[4], falling[0]] * 3 + [falling[4]]
    assert judge(run(START, *bounced), STEPS).word != "collapsed"


def test_embeddings_that_become_constant_have_collapsed():
    constant = [{"share/embedding": v, "share/context": v / 2} for v in (0.6, 0.3, 0.03)]
    assert judge(run(*constant), STEPS).word == "collapsed"
    assert judge(course("share/embedding", 0.6, 0.3, 0.2), STEPS).healthy


def test_a_constant_beside_features_that_still_tell_samples_apart_is_no_collapse():
    lejepa = [(0.476, 0.209), (0.164, 0.522), (0.107, 0.53), (0.103, 0.55), (0.089, 0.583), (0.074, 0.6)]
    readings = [{"share/embedding": e, "share/context": c} for e, c in lejepa]
    assert judge(run(*readings), STEPS).healthy


def test_a_share_that_is_small_from_the_start_is_not_accused():
    assert judge(course("share/embedding", 0.015, 0.013, 0.012), STEPS).healthy
    low = {"share/varying": 0.03, "share/context": 0.01}
    assert judge(run(low, low, low, low), STEPS).healthy


def test_diverse_tokens_that_lower_the_samples_share_are_not_accused():
    """VICReg on tokens: the pooled context depends more on the mask, while ever more of it varies."""
    values = ((0.8, 0.35), (0.6, 0.14), (0.7, 0.06), (0.9, 0.055), (0.95, 0.05))
    assert judge(run(*({"share/varying": v, "share/context": c} for v, c in values)), STEPS).healthy


def test_features_that_follow_the_mask_alone_have_collapsed():
    verdict = judge(course("share/context", 0.35, 0.2, 0.0, 0.001, 0.0), STEPS)
    assert verdict.word == "collapsed"
    assert "hidden" in verdict.reason


def test_what_to_change_depends_on_whether_the_energy_vanished_too():
    gone = {"share/varying": 0.01, "share/context": 0.001}
    agreed = judge(run(START, gone | {"energy/model": 0.01}), STEPS)
    exploded = judge(run(START, gone | {"energy/model": 0.6}), STEPS)
    assert agreed.word == exploded.word == "collapsed"
    assert agreed.advice.startswith("add a guard")
    assert exploded.advice.startswith("lower the learning rate")


def test_one_direction_is_a_collapse_and_half_the_rank_is_not_yet():
    halved = {"rank/embedding": 2.5, "rank/target": 5.0}
    verdict = judge(run(START, {}, halved), STEPS)
    assert verdict.word == "dimensions dying" and not verdict.healthy
    assert "6.0 to 2.5" in verdict.reason
    assert judge(run(START, {}, halved | {"rank/embedding": 1.1}), STEPS).word == "collapsed"
    assert judge(run(START, {}, {"rank/embedding": 2.5}), STEPS).healthy  # the target is alive


def test_context_rank_may_dip_but_not_to_a_third():
    assert judge(course("rank/context", 8.0, 3.6), STEPS).healthy
    assert judge(course("rank/context", 8.0, 2.0), STEPS).word == "dimensions dying"


def test_a_rank_that_falls_because_variance_grows_is_not_dying():
    early = {"share/varying": 0.1, "share/context": 0.05}
    assert judge(run(early, {"rank/context": 2.0}), STEPS).healthy


@pytest.mark.parametrize("name", ["context", "target"])
def test_dead_dimensions_are_counted_from_the_start(name):
    key = f"std/{name}_dead"
    verdict = judge(course(key, 0.0, 0.25), STEPS)
    assert verdict.word == "dimensions dying" and "25%" in verdict.reason
    assert judge(course(key, 0.25, 0.25), STEPS).healthy


def test_a_predictor_that_does_not_mind_the_swap_ignores_its_context():
    blind = {"energy/model": 0.4, "energy/permuted": 0.402, "energy/mean": 0.39}
    verdict = judge(run(START, *[blind] * 5), STEPS)
    assert verdict.word == "not using the context"
    assert "0.4 " in verdict.reason and "0.402" in verdict.reason and "0.39" in verdict.reason
    assert judge(run(START, *[blind] * 2), STEPS).word == "alive"  # too early to blame it
    assert judge(run(START, *[blind] * 4, {}), STEPS).word == "alive"


def test_a_predictor_that_begins_to_mind_the_swap_is_not_blamed():
    rising = [
        {"energy/model": 0.4, "energy/mean": 0.39, "energy/permuted": 0.4 + p} for p in (0.0, 0.002, 0.005)
    ]
    assert judge(run(START, *[rising[0]] * 3, *rising), STEPS).word == "alive"


def test_targets_without_content_change_the_advice():
    blind = {"energy/model": 0.04, "energy/permuted": 0.04, "energy/mean": 0.03}
    positions = judge(run(START, *[blind | {"power/content": 0.1}] * 5), STEPS)
    content = judge(run(START, *[blind] * 5), STEPS)
    assert "centre the target per position" in positions.advice and "10%" in positions.advice
    assert "centre" not in content.advice


WORLD = {"energy/persistence": 0.35, "energy/permuted_actions": 0.45}


def test_a_world_model_must_beat_the_last_state_too():
    still = {**WORLD, "energy/persistence": 0.25}
    assert judge(run({**START, **WORLD}, WORLD), STEPS).word == "alive"
    verdict = judge(run({**START, **still}, still, still, still), STEPS)
    assert verdict.word == "alive"
    assert "does not beat all" in verdict.reason and "the last state copied 0.25" in verdict.reason


def test_a_world_model_that_ignores_the_actions_is_told_before_a_fifth_of_its_run():
    ignores = {**WORLD, "energy/permuted_actions": 0.3003}
    assert judge(run(*[ignores] * 7, every=20), STEPS).word == "alive"
    verdict = judge(run(*[ignores] * 9, every=20), STEPS)
    assert (verdict.word, verdict.step, verdict.healthy) == ("not using the actions", 160, False)
    assert "--terms.inverse" in verdict.advice
    assert (
        "--terms.inverse"
        not in judge(run(*[ignores] * 9, every=20), STEPS, {"terms": {"inverse": 1.0}}).advice
    )
    rising = [{**WORLD, "energy/permuted_actions": 0.3 + 0.001 * i**2 / 8} for i in range(6)]
    assert judge(run(*rising), STEPS).word == "alive"


def test_early_a_little_use_of_the_actions_is_enough_and_later_it_is_not():
    """What a good run had at a sixth of its length: eight thousandths, and not rising."""
    little = {**WORLD, "energy/permuted_actions": 0.3 * 1.008}
    assert judge(run(*[little] * 11, every=40), STEPS).word == "alive"
    assert judge(run(*[little] * 14, every=40), STEPS).word == "not using the actions"


def test_in_a_short_run_actions_are_given_thirty_steps():
    ignores = {**WORLD, "energy/permuted_actions": 0.3}
    assert judge(run(*[ignores] * 7, every=4), 100).word == "alive"
    assert judge(run(*[ignores] * 9, every=4), 100).word == "not using the actions"


def test_states_of_a_world_that_return_to_where_they_began_have_not_collapsed():
    """They begin nearly alike; in the first fifth of good runs of LeWM they differ much for a while."""
    shares = ("share/varying", "share/context", "share/embedding")
    course = [dict.fromkeys(shares, share) for share in (0.01, 0.8, 0.5, 0.2, 0.05, 0.03)]
    assert judge(run(*({**WORLD, **part} for part in course)), STEPS).word == "alive"
    gone = [*course, *[dict.fromkeys(shares, 0.002)] * 2]
    assert judge(run(*({**WORLD, **part} for part in gone)), STEPS).word == "collapsed"
    assert judge(run(*course), STEPS).word == "collapsed"  # of images
