"""Two levels: what each learns from, and what reaches what."""

from typing import cast

import numpy as np
import pytest
import torch
from torch import Tensor

from openjepa.common.rng import Rng
from openjepa.errors import UserError
from openjepa.nets.dynamics.adaln import AdaLN
from openjepa.nets.dynamics.lift import Lift, Same
from openjepa.recipes import build, configure
from openjepa.world_models.hierarchy import HierarchicalJEPA, Level2
from openjepa.world_models.model import StateLayout
from openjepa.worlds import make

from .. import dots

CASES: dict[str, dict[str, object]] = {
    "own states": {},
    "the same states": {"level2.lift": "same", "level2.predictor.hidden": [8]},
    "a map": {
        "encoder.output": "map",
        "predictor": "maps",
        "predictor.channels": 8,
        "level2.lift": "same",
        "level2.predictor": "maps",
        "level2.predictor.channels": 8,
    },
    "projected": {"head": "projector", "head.hidden": 16, "head.width": 8, "level2.lift": "same"},
    "codes": {"level2.macro.capacity": "codebook"},
}


def model_of(case: str = "own states", **changes: object) -> HierarchicalJEPA:
    wanted = dots.options("h-jepa", **(CASES[case] | changes))
    if "level2.lift" in CASES[case]:
        mlp = {"level2.lift.hidden", "level2.lift.width", "level2.predictor.hidden"} - set(CASES[case])
        wanted = {name: value for name, value in wanted.items() if name not in mlp}
    options = {name: str(value) for name, value in wanted.items()}
    return cast(HierarchicalJEPA, build(configure("h-jepa", "tiny", options), 0))


def gradients(model: torch.nn.Module) -> float:
    return sum(float(p.grad.abs().sum()) for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize("case", CASES)
def test_level_2_learns_on_top_of_level_1(case: str) -> None:
    """Its own loss reaches lift, macro-actions and predictor, and nothing below unless both are to learn together."""
    for joint in (False, True):
        model = model_of(case, level2__joint=joint).train()
        loss, terms = model.level2(*model.far(dots.windows(8, 5)), Rng(0, 0))
        loss.backward()
        level = model.level2
        learns = [level.macro, level.predictor, *([level.lift] if [*level.lift.parameters()] else [])]
        assert all(gradients(part) > 0 for part in learns)
        assert bool(gradients(model.encoder)) == joint and gradients(model.predictor) == 0
        assert all(not term.requires_grad and term.isfinite() for term in terms.values())


def test_level_1_is_what_it_would_be_alone() -> None:
    """The first frames of a longer window teach it, as if there were no level 2."""
    model = model_of(level2__steps=3).train()
    window = dots.windows(8, 7)
    alone, both = (
        super(HierarchicalJEPA, model).forward(model.near(window), Rng(0, 0)),
        model(window, Rng(0, 0)),
    )
    for name, value in alone.terms.items():
        torch.testing.assert_close(both.terms[name], value)
    assert both.loss > alone.loss and set(both.terms) - set(alone.terms) >= {
        "level2/energy",
        "level2/latent/nats",
    }
    (pair,) = model.pairs(window, Rng(0, 0))
    assert torch.equal(
        pair.context.tokens.values, model.pairs(model.near(window), Rng(0, 0))[0].context.tokens.values
    )


def test_what_level_2_sees() -> None:
    """States a span apart, and all the actions between them in their order."""
    model = model_of().eval()
    window = dots.windows(4, 5)
    states, actions = model.far(window)
    torch.testing.assert_close(states, model.encode(window.frames)[:, ::2], rtol=1e-4, atol=1e-5)
    condition = model.signal.normalise_actions(window.actions)
    assert torch.equal(actions[:, 1], torch.cat([condition[:, 2], condition[:, 3]], -1))


def test_a_rollout_is_what_training_predicts() -> None:
    model = model_of().train()
    window = dots.windows(8, 5)
    model(window, Rng(0, 0))
    level = model.eval().level2
    states, actions = model.far(window)
    z, lifted, (unit, _) = level.macro(actions).z, level.encode(states), level._units()
    several = torch.stack([z, -z], 1)
    imagined = level.rollout(lifted[:, :1], several)
    assert imagined.shape == (8, 2, 2, 4)
    trained = level.predictor.unroll(level.lift(states)[:, :1], z)
    torch.testing.assert_close(imagined[:, 0], trained @ unit, rtol=1e-3, atol=1e-4)
    assert not torch.allclose(imagined[:, 0], imagined[:, 1])
    assert (level.block, level.history, level.horizon, level.span) == (1, 1, 2, 2)
    assert level.actions.size == 2


def test_states_are_given_to_planning_in_units_of_moves() -> None:
    """Whatever the features' scale and direction: a macro-action leads as far in each."""
    model = model_of().train()
    window = dots.windows(16, 5)
    model(window, Rng(0, 0))
    level = model.eval().level2
    with torch.no_grad():
        level.lift.net[-1].weight[0] *= 30  # type: ignore[index, operator, union-attr]
        level.moves.zero_()
        model.train()(window, Rng(0, 0))
        states = model.eval().far(window)[0]
        s = level.encode(states)
        moves = (s[:, 1:] - s[:, :-1]).flatten(0, 1)
    moments = moves.T @ moves / len(moves)
    assert torch.allclose(moments, torch.diag(moments.diagonal()), atol=1e-2)
    raw = torch.linalg.eigvalsh(level.moves)
    assert raw.max() > 50 * raw.median() and moments.diagonal().max() < 1.01
    apart = level.apart(s[:, 0], s[:, 1])
    assert apart.shape == (16,) and 0.05 < apart.mean() < 2
    before = level.moves.clone()
    model(window, Rng(0, 0))
    assert torch.equal(level.moves, before)  # in training alone


def test_of_level_1s_states_the_stride_is_their_mean_square() -> None:
    model = model_of("the same states").train()
    window = dots.windows(8, 5)
    model(window, Rng(0, 0))
    states = model.far(window)[0]
    torch.testing.assert_close(model.level2.stride, (states[:, 1:] - states[:, :-1]).square().mean())
    torch.testing.assert_close(model.level2.encode(states), states)


def test_no_sample_of_level_2_depends_on_its_neighbours() -> None:
    model = model_of().train()
    window = dots.windows(8, 5)
    model(window, Rng(0, 0))
    level = model.eval().level2
    states, actions = model.far(window)

    def imagined(rows: slice) -> Tensor:
        return level.rollout(level.encode(states[rows]), level.macro(actions[rows]).z[:, None])

    torch.testing.assert_close(imagined(slice(None))[:2], imagined(slice(2)), rtol=1e-4, atol=1e-6)


def test_mistakes_are_named() -> None:
    with pytest.raises(
        UserError, match=r"level 2 looks 2 x 2 steps ahead, 5 frames, and these windows have 4"
    ):
        model_of().far(dots.windows(4, 4))
    wrong = Level2(lift=Same(), predictor=AdaLN())
    with pytest.raises(UserError, match=r"'adaln' takes states of shape \[4, 8\], level 2's are \[8, 2, 2\]"):
        wrong.build(StateLayout((2, 2), 8, maps=True), 8, 2)
    with pytest.raises(UserError, match="take actions alone, not condition 'latent'"):
        model_of(condition="latent")
    with pytest.raises(UserError, match="one future"):
        model_of().level2.rollout(torch.zeros(1, 1, 4), torch.zeros(1, 1, 1, 2), z=torch.zeros(1))


def test_windows_are_long_enough_for_both_levels() -> None:
    config = configure("h-jepa", "tiny")
    assert config.window == 17 and configure("h-jepa", "diverse-maze").window == 61  # type: ignore[attr-defined]
    short = configure("h-jepa", "tiny", {"level2.span": "2", "level2.steps": "2"})
    assert short.window == 5  # type: ignore[attr-defined]


def test_in_units_of_moves_the_slow_features_of_a_maze_follow_the_way() -> None:
    """Their exact values, as the eigenvectors of a random walk among places."""
    maze = make("maze", rooms=3)
    places = maze.reset(150, np.random.default_rng(0), layout=0)
    one, other = (index.ravel() for index in np.mgrid[:150, :150])
    way = torch.from_numpy(maze.distance(places.take(one), places.take(other)).reshape(150, 150)).float()
    walk = torch.exp(-((way / 8) ** 2)).fill_diagonal_(0)
    degree = walk.sum(1)
    vectors = torch.linalg.eigh(walk / (degree[:, None] * degree).sqrt()).eigenvectors
    slow = vectors.flip(1)[:, 1:9] / degree[:, None].sqrt()
    slow = slow / slow.std(0)
    level = Level2(lift=Lift(width=8)).build(StateLayout((1, 1), 8, maps=False), 8, 2)
    level.lift = torch.nn.Identity()
    steps = (slow[:, None] - slow[None]).flatten(0, 1)
    level.moves.copy_(torch.einsum("n,nd,ne->de", walk.flatten() / walk.sum(), steps, steps))
    units = level.encode(slow)
    straight = torch.from_numpy(places.values).float()
    order = {
        name: ranked(torch.cdist(x, x), way)
        for name, x in (("units", units), ("equal", slow), ("xy", straight))
    }
    assert order["units"] > 0.9 and order["units"] > max(order["equal"], order["xy"]) + 0.15


def ranked(one: Tensor, other: Tensor) -> float:
    """Spearman's correlation of two matrices' values above the diagonal."""
    rows, columns = torch.triu_indices(*one.shape, offset=1)
    ranks = [x[rows, columns].argsort().argsort().float() for x in (one, other)]
    return float(torch.corrcoef(torch.stack(ranks))[0, 1])
