"""What the semantic actor learns from."""

import torch

from openjepa.agent.semantic import Log, predicted, received

from .worlds import SPEED, PointModel


def log(steps: int, block: int = 1, missing: tuple[int, ...] = ()) -> Log:
    """A point that is driven around, a model action beginning at every step but the missing ones."""
    random = torch.Generator().manual_seed(steps)
    moves = torch.rand(steps, 2, generator=random) - 0.5
    states = 0.1 * SPEED * torch.cat([torch.zeros(1, 2), moves.cumsum(0)])
    begin = torch.tensor([t for t in range(steps - block + 1) if t not in missing])
    actions = 0.1 * torch.stack([moves[t : t + block].flatten() for t in begin])
    return Log(states, actions, begin)


def test_states_are_paired_with_the_actions_of_their_step() -> None:
    logs = [log(6), log(9, missing=(4,))]
    states, actions = received(logs)
    assert len(states) == len(actions) == 14
    torch.testing.assert_close(states[6:10], logs[1].states[:4])
    torch.testing.assert_close(states[10], logs[1].states[5])


def test_an_exact_model_predicts_the_logged_states() -> None:
    for block in (1, 2):
        model, logs = PointModel(block), [log(30, block), log(3, block)]
        states, actions = predicted(model, logs, 4, torch.Generator().manual_seed(0))
        steps = 31 - block - 4 * block  # from which there are four more, and an action after them
        assert len(states) == len(actions) == 4 * -(-steps // 4)
        gaps = (states[:, None] - logs[0].states).norm(dim=-1)
        assert gaps.min(1).values.max() < 1e-6
        place = {int(t): i for i, t in enumerate(logs[0].begin)}
        wanted = torch.stack([logs[0].actions[place[int(t)]] for t in gaps.argmin(1)])
        torch.testing.assert_close(actions, wanted)


def test_nothing_is_predicted_across_a_missing_action() -> None:
    whole, broken = log(8), log(8, missing=(3,))
    rng = torch.Generator().manual_seed(0)
    assert len(predicted(PointModel(), [whole], 3, rng)[0]) == 6
    states, _ = predicted(PointModel(), [broken, whole], 4, rng)
    assert len(states) == 4  # of the whole one alone
