"""Films of an evaluation: they show what happened, change nothing, and come back from their file."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.random import default_rng

from openjepa.errors import UserError
from openjepa.evals.planning.film import Camera, EpisodeFilm, EpisodeFilms
from openjepa.evals.planning.play import EpisodeOutcome
from openjepa.evals.planning.players import Planned
from openjepa.evals.planning.playing import play, problems
from openjepa.evals.planning.protocol import PlanningProtocol
from openjepa.evals.planning.recall import ring
from openjepa.recipes import build, configure
from openjepa.world_models.model import WorldJEPA
from openjepa.worlds import TwoRooms

from ... import dots

WORLD, BUDGET = TwoRooms(size=16), 5
PLANNER = {"kind": "cem", "samples": 8, "iterations": 2, "elites": 4, "horizon": 3}


@pytest.fixture(scope="module")
def protocol() -> PlanningProtocol:
    return PlanningProtocol.parse({"models": [{"run": "x"}], "env": "two-rooms", "planner": PLANNER})


@pytest.fixture(scope="module")
def model() -> WorldJEPA:
    bounds = {"condition.low": [-2.45, -2.45], "condition.high": [2.45, 2.45]}
    given = {name: str(value) for name, value in {**dots.options("pldm"), **bounds}.items()}
    built = build(configure("pldm", "tiny", given), seed=0)
    assert isinstance(built, WorldJEPA)
    return built.eval()


@pytest.fixture(scope="module")
def played(model: WorldJEPA, protocol: PlanningProtocol) -> tuple[list[EpisodeOutcome], Camera]:
    camera = Camera(Planned(model, protocol))
    outcomes, _ = play(camera, problems(WORLD, 0, range(4), {}, {}), BUDGET, 0, watch=camera.watch)
    return outcomes, camera


def test_a_camera_changes_nothing(model, protocol, played) -> None:
    alone, _ = play(Planned(model, protocol), problems(WORLD, 0, range(4), {}, {}), BUDGET, 0)
    assert alone == played[0]


def test_a_film_shows_what_happened(played) -> None:
    outcomes, camera = played
    films = camera.develop(outcomes).films
    assert [film.number for film in films] == [0, 1, 2, 3]
    for film, outcome in zip(films, outcomes, strict=True):
        given, steps = problems(WORLD, 0, [film.number], {}, {}), outcome.steps
        assert film.values.shape == (steps + 1, 2) and film.actions.shape == (steps, 2)
        assert np.array_equal(film.values[:1], given.start.values)
        assert np.array_equal(film.frames[:1], WORLD.render(given.start))
        assert np.array_equal(film.goal, WORLD.render(given.goal)[0])
        state = given.start
        for action, after in zip(film.actions, film.values[1:], strict=True):
            state = WORLD.step(state, action[None], default_rng(0))
            assert np.allclose(state.values[0], after)
        assert WORLD.distance(state, given.goal)[0] == pytest.approx(outcome.final)
        assert film.plans.shape == (steps, 3, 2) and film.planned.tolist() == list(range(steps))
        assert torch.allclose(film.plans[:, 0], torch.from_numpy(film.actions))  # execute 1, block 1
        assert film.costs["goal"].shape == (steps,) and (film.costs["goal"] > 0).all()


def test_the_first_group_is_filmed_and_the_memory_is_that_after_it(model, protocol, played) -> None:
    outcomes, first = played
    camera = Camera(Planned(model, protocol))
    for numbers in (range(4), range(4, 6)):
        play(camera, problems(WORLD, 0, numbers, {}, {}), BUDGET, 0, watch=camera.watch)
    films, before = camera.develop(outcomes), first.develop(outcomes)
    assert [film.number for film in films.films] == [0, 1, 2, 3]
    assert films.memory is not None and before.memory is not None
    assert films.memory.moments == sum(outcome.steps for outcome in outcomes) == before.memory.moments
    assert np.array_equal(films.memory.costs, before.memory.costs)


def test_the_moments_of_the_memory_are_where_they_were(model, played) -> None:
    memory = played[1].develop(played[0]).memory
    assert memory is not None and memory.episodes == 4 and memory.capacity == 10_000
    assert 0 < memory.share <= 1 and memory.places.shape == (memory.moments, 2)
    assert np.array_equal(memory.prices, np.sort(memory.prices)) and memory.prices[0] == memory.costs.min()
    assert memory.frames.shape == (8, 3, 16, 16)
    outcomes, camera = played
    seen = {frame.tobytes(): film for film in camera.develop(outcomes).films for frame in film.frames}
    for frame, price in zip(memory.frames, memory.prices, strict=True):
        goal = seen[frame.tobytes()].goal
        now, wanted = model.encode(torch.from_numpy(np.stack([frame, goal]))[:, None])[:, 0].detach()
        assert float((now - wanted).square().mean()) == pytest.approx(price, rel=1e-4)


def test_both_ends_of_episodes_are_shown() -> None:
    camera = Camera()
    camera._problems, camera._recalled = problems(WORLD, 0, range(8), {}, {}), lambda: None
    camera._film = lambda row, outcome: row  # ty: ignore[invalid-assignment]

    def chosen(successes: str) -> list[int]:
        return list(
            camera.develop([EpisodeOutcome(i, s == "1", 3, 1.0, 0.0) for i, s in enumerate(successes)]).films
        )  # ty: ignore[invalid-argument-type]

    assert chosen("00110111") == [0, 1, 2, 3]
    assert chosen("11111101") == [0, 1, 2, 6]
    assert chosen("00000000") == [0, 1, 2, 3]
    assert chosen("00000010") == [0, 1, 2, 6]


def test_films_come_back_from_their_file(played, tmp_path: Path) -> None:
    films = played[1].develop(played[0])
    films.save(tmp_path / "new" / "plan.films")
    back = EpisodeFilms.read(tmp_path / "new" / "plan.films")
    assert len(back.films) == len(films.films)
    for one, other in zip(films.films, back.films, strict=True):
        assert (
            isinstance(other, EpisodeFilm)
            and one.number == other.number
            and one.costs.keys() == other.costs.keys()
        )
        assert np.array_equal(one.frames, other.frames) and torch.equal(one.plans, other.plans)
    assert (
        back.memory is not None and films.memory is not None and back.memory.moments == films.memory.moments
    )
    assert np.array_equal(back.memory.places, films.memory.places)


def test_damaged_films_are_named(tmp_path: Path) -> None:
    (tmp_path / "x.films").write_bytes(b"not films")
    with pytest.raises(UserError, match=r"x\.films"):
        EpisodeFilms.read(tmp_path / "x.films")


def test_a_ring_keeps_the_newest() -> None:
    assert ring(3, 5) == [0, 1, 2]
    assert ring(7, 3) == [6, 4, 5]
