"""Evaluations of world models with proprioception: it reaches surprise, imitation and control."""

import numpy as np
import pytest
import torch

from openjepa.agent import ShortTermMemory, encode_episodes, relabel
from openjepa.agent.channel import Every
from openjepa.agent.perception import as_goals
from openjepa.errors import UserError
from openjepa.evals.planning.cloning import clone, encode_clips, encoded
from openjepa.evals.planning.linked import Controlled, SemanticActor, teach
from openjepa.evals.planning.players import Cloned
from openjepa.evals.planning.playing import play, problems
from openjepa.evals.planning.protocol import Cloning
from openjepa.evals.planning.state import probe_state
from openjepa.evals.planning.surprise import changes, errors, surprise
from openjepa.world_models.proprioception import ProprioceptionScores
from openjepa.worlds import TwoRooms

from ... import dots
from ...world_models.test_proprioception import proprioceptive, windows

ROOMS = TwoRooms(size=16)
OTHERS = ProprioceptionScores([0, 1], [0.0] * 2, [1.0] * 2, recorded=7)
"""Among other variables than those of these worlds: whoever is told of them is told of a mistake."""
BOTH = pytest.mark.parametrize("name", ["vjepa2-ac", "dino-wm with proprioception"])


@BOTH
def test_surprise_is_given_proprioception_and_judged_by_what_is_seen(name: str) -> None:
    model = proprioceptive(name)
    given = windows(model)
    plain = errors(model, given.frames, given.actions, given.state)
    first, last = given.state.clone(), given.state.clone()
    first[:, 0] += 3
    last[:, -1] += 3
    assert (errors(model, given.frames, given.actions, first)[:, 0] - plain[:, 0]).abs().max() > 1e-6
    assert torch.equal(errors(model, given.frames, given.actions, last), plain)
    seen = encode_clips(model, given.frames)[..., : -model.proprio_dim]
    torch.testing.assert_close(
        changes(model, given.frames), (seen[:, 1:] - seen[:, :-1]).square().flatten(2).mean(2)
    )
    parts = [
        errors(model, given.frames[i : i + 1], given.actions[i : i + 1], given.state[i : i + 1])
        for i in (0, 5)
    ]
    torch.testing.assert_close(torch.cat(parts), plain[[0, 5]], rtol=1e-4, atol=1e-6)


def test_clips_hold_proprioception_or_it_is_a_mistake() -> None:
    model = proprioceptive()
    table = surprise(model, ROOMS, clips=4, steps=3)
    assert {score.row for score in table.scores} == {"model", "last state", "random init"}
    model.hiding.proprioception = OTHERS
    with pytest.raises(UserError, match="trained on states of 7 variables, these have 2"):
        surprise(model, ROOMS, clips=4, steps=3)


def test_imitation_learns_from_proprioception_and_knows_goals_by_their_picture() -> None:
    model = proprioceptive("dino-wm with proprioception")
    samples = model.config.open(dots.episodes(), adapt=True)
    number = int(np.random.default_rng(0).permutation(samples.split()[0].numpy())[0])
    episode = samples.episodes[number]
    (log, *_) = encoded(model, samples, 1, seed=0)
    scores = model.hiding.proprioception(torch.from_numpy(episode.state))
    torch.testing.assert_close(log.states[:, 3, -2:], scores)
    alone = encode_clips(model, torch.from_numpy(episode.frames)[:, None])[:, 0]
    torch.testing.assert_close(as_goals(log.states, model.proprio_dim), alone)


def test_who_imitates_or_is_remote_acts_by_proprioception() -> None:
    model = proprioceptive("dino-wm with proprioception")
    samples = model.config.open(dots.episodes(), adapt=True)
    small = {"frames": 60, "updates": 2, "hidden": 8}
    policy = clone(model, samples, Cloning(**small), seed=0)
    actor = teach(model, samples, SemanticActor(**small), seed=0)
    given = problems(ROOMS, 0, [0, 1], {}, {})
    for player in (Cloned(model, policy), Controlled(model, actor, Every(steps=2), "predict", 0.0, seed=0)):
        outcomes, _ = play(player, given, 4, seed=0)
        assert [outcome.steps for outcome in outcomes] == [4, 4]
        acted, frames = [], ROOMS.render(given.start)
        for state in (given.start, given.goal):  # the same pictures
            player.begin(given)
            acted.append(player.act(state, frames, np.ones(2, bool)))
        assert np.abs(acted[0] - acted[1]).max() > 1e-4


def test_a_probe_is_not_given_what_it_asks_for() -> None:
    model = proprioceptive("dino-wm with proprioception")
    samples = model.config.open(dots.episodes(), adapt=True)
    model.hiding.proprioception = OTHERS
    assert {fit.row for fit in probe_state(model, samples, most=200).fits} >= {"model"}


def test_relabelled_episodes_hold_proprioception_and_their_goals_do_not() -> None:
    model = proprioceptive("dino-wm with proprioception")
    episodes = [dots.episodes()[i] for i in range(3)]
    encoded = encode_episodes(model, episodes)
    variables = torch.from_numpy(episodes[0].state[:: model.block])
    torch.testing.assert_close(encoded[0].states[:, 5, -2:], model.hiding.proprioception(variables))
    memory = ShortTermMemory()
    relabel(memory, encoded, torch.Generator().manual_seed(0), goals=2)
    assert memory.goals is not None and not memory.goals[..., -2:].any()
    assert (memory.costs == 0).sum() == 6  # where each of six ways arrives
