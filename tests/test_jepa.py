"""What flows through a model: targets that it could not all predict are refused."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from openjepa.common.rng import Rng
from openjepa.errors import UserError
from openjepa.jepa import JEPA, Views
from openjepa.recipes import build

from .training import small


def with_targets(model: JEPA, selected: tuple[bool, ...]) -> JEPA:
    """The model, whose hiding gives one target view for each of `selected`."""
    hiding = model.hiding

    def several(batch: Tensor, rng: Rng) -> Views:
        views = hiding(batch, rng)
        target = views.target[0]
        return Views(
            views.context, [target if chosen else replace(target, select=None) for chosen in selected]
        )

    model.hiding = several
    return model


def batch() -> Tensor:
    return torch.from_numpy(small.pixels(4)).permute(0, 3, 1, 2)


@pytest.mark.parametrize("selected", [(True, True), (False, True)])
def test_several_targets_that_select_tokens_are_refused(selected: tuple[bool, ...]) -> None:
    model = with_targets(build(small.config()), selected)
    with pytest.raises(UserError, match=f"{sum(selected)} of 2 target views select tokens"):
        model(batch(), Rng(0, 0))


def test_one_target_may_select_several_blocks_and_several_may_be_whole() -> None:
    one = build(small.config())
    expected = one(batch(), Rng(0, 0))
    assert expected.s_y.shape[1] > 1
    assert torch.equal(with_targets(one, (True,))(batch(), Rng(0, 0)).loss, expected.loss)
    assert with_targets(one, (False, False))(batch(), Rng(0, 0)).s_y.shape[1:3] == (1, 16)
