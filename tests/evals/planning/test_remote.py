"""Remote control: from episodes of the cart-pole to success against transmissions, by the commands."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from openjepa import cli
from openjepa.errors import UserError
from openjepa.evals.planning import RemoteProtocol, RemoteResult, remote, remote_protocol_for
from openjepa.evals.planning.cloning import encode_episode, open_windows
from openjepa.evals.planning.linked import Controlled, teach
from openjepa.evals.planning.playing import play, problems
from openjepa.evals.planning.protocol import load_world_model
from openjepa.evals.planning.remote import Transmissions
from openjepa.worlds import CartPole

from ... import dots

pytest.importorskip("h5py")

SMALL = {
    "schedules": "[{kind: every}, {kind: every, steps: 3}, {kind: drift, threshold: 0.05}]",
    "episodes": "3",
    "batch": "2",
    "budget": "7",
    "loss": "0.3",
    "actor.frames": "60",
    "actor.updates": "3",
    "actor.hidden": "8",
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("remote")
    collect = ["collect", "cart-pole", "--episodes", "12", "--steps", "10", "--size", "16", "--json"]
    more = ["--policy", "scripted", "--begin", "upright", "--difficulty", "{target: [0, 0]}"]
    cli.main([*collect, *more, "--out", str(folder / "episodes")])
    options = dots.options("remote-jepa", train__steps=2)
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    data = ["--data", str(folder / "episodes")]
    cli.main(["train", "remote-jepa", *data, "--out", str(folder / "run"), *words, "--json"])
    return str(folder / "run")


def test_the_protocol_takes_world_and_goal_from_the_episodes(run: str) -> None:
    protocol = remote_protocol_for([run])
    assert protocol.env == "cart-pole" and protocol.options["begin"] == "upright"
    assert protocol.difficulty == {"target": [0, 0]} and protocol.steps_at_goal == 50
    given = problems(protocol.world(), 0, range(4), {}, protocol.difficulty, protocol.steps_at_goal)
    assert np.array_equal(given.goal.values, np.zeros((4, 4)))
    assert remote_protocol_for([run], env="two-rooms").difficulty == {}


def test_it_is_played_again_to_the_same_outcomes(
    run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [word for name, value in SMALL.items() for word in (f"--{name}", value)]
    cli.main(["remote", run, *words, "--json"])
    said = json.loads(capsys.readouterr().out)
    kept = Path(run) / "remote.json"
    assert said == json.loads(kept.read_text())
    cli.main(["remote", "--protocol", str(kept), "--out", str(tmp_path / "again.json")])
    table = capsys.readouterr().out
    assert "always" in table and "every 3 steps" in table and "keeps the last" in table
    again = json.loads((tmp_path / "again.json").read_text())
    timeless = {"seconds", "outcomes"}
    for one, other in zip(said["rows"] + said["baselines"], again["rows"] + again["baselines"], strict=True):
        assert {k: v for k, v in one.items() if k not in timeless} == {
            k: v for k, v in other.items() if k not in timeless
        }
    result = remote(RemoteProtocol.read(kept))
    assert result.same_outcomes(remote(RemoteProtocol.read(kept)))
    read = RemoteResult.from_dict(said)
    assert read.same_outcomes(result) and read.to_dict() == said
    rows = {(s.between, s.schedule.kind, getattr(s.schedule, "steps", 0)): s for s in result.transmissions}
    always, third = rows["predict", "every", 1], rows["predict", "every", 3]
    assert always.sent == (7, 7, 7) and always.share == 1 and third.sent == (3, 3, 3)
    assert sum(always.lost) > 0
    drifted = rows["predict", "drift", 0].share, rows["last", "drift", 0].share
    assert all(1 / 7 < share <= 1 for share in drifted)
    assert [row.method for row in result.baselines] == ["doing nothing", "random policy", "expert"]


def test_an_episode_is_the_same_alone_and_in_a_batch(run: str) -> None:
    protocol = remote_protocol_for([run], changes=SMALL)
    model, world = load_world_model(run), protocol.world()
    actor = teach(model, open_windows(model), protocol.actor, seed=0)

    def played(numbers: list[int]) -> tuple[list, list[int], list[int]]:
        player = Controlled(model, actor, protocol.schedules[2], "predict", 0.3, seed=0)
        given = problems(world, 0, numbers, {}, protocol.difficulty)
        return play(player, given, 7, seed=0)[0], player.sent, player.lost

    outcomes, sent, lost = played([0, 1, 2])
    alone = played([1])
    assert alone[1:] == (sent[1:2], lost[1:2])
    assert alone[0][0].final == pytest.approx(outcomes[1].final, rel=1e-4)


def test_the_share_counts_steps_of_the_model() -> None:
    from openjepa.agent.channel import Every
    from openjepa.evals.planning import EpisodeOutcome, PlayedRow

    outcomes = (EpisodeOutcome(0, True, 7, 1.0, 0.0), EpisodeOutcome(1, False, 8, 1.0, 1.0))
    way = Transmissions("last", Every(steps=2), PlayedRow("x", outcomes, 1, 0, 0), (2, 2), (0, 1), block=2)
    assert way.share == 0.5


def test_an_episode_is_encoded_as_the_agent_sees_it(run: str) -> None:
    model = load_world_model(run)
    frames = torch.from_numpy(open_windows(model).episodes[0].frames)
    latents = encode_episode(model, frames)
    for t in range(1, len(frames)):
        torch.testing.assert_close(latents[t], model.encode(frames[None, t - 1 : t + 1])[0, 1])
    torch.testing.assert_close(latents[0], model.encode(frames[None, :1])[0, 0])


def test_a_goal_may_have_to_be_kept() -> None:
    world = CartPole(size=16, begin="upright")
    from openjepa.evals.planning.players import Expert

    touched, kept = (
        play(Expert(), problems(world, 0, [0, 1], {}, {"target": [0, 0]}, steps_at_goal), 300, seed=0)[0]
        for steps_at_goal in (1, 20)
    )
    for one, other in zip(touched, kept, strict=True):
        assert one.success and other.success and other.steps >= one.steps + 19


def test_mistakes_are_named(run: str) -> None:
    with pytest.raises(UserError, match="schedules"):
        remote_protocol_for([run], changes={"schedules": "[]"})
    with pytest.raises(UserError, match="loss"):
        remote_protocol_for([run], changes={"loss": "1"})
    with pytest.raises(UserError, match="no rows of transmissions"):
        RemoteResult.from_dict({"rows": [{}], "baselines": []})
    with pytest.raises(SystemExit):
        cli.main(["remote", run, "--protocol", "x.json"])
