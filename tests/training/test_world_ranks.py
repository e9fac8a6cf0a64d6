"""Two processes give a world model the loss and gradients of one process on the concatenated batch."""

import pytest
import torch
from torch import Tensor

from .. import dots, ranks
from .test_world_runs import first_gradients

STEADY: dict[str, dict[str, object]] = {
    "lewm": {"predictor__dropout": 0.0},  # each process drops others
}


def on_one_of_two(rank: int, recipe: str, changes: dict[str, object]) -> tuple[dict[str, Tensor], float]:
    return first_gradients(recipe, **changes)


@pytest.mark.parametrize("recipe", dots.RECIPES)
def test_equal_to_one_process(recipe: str) -> None:
    expected, loss = first_gradients(recipe, **STEADY.get(recipe, {}))
    for gradients, same in ranks.run(on_one_of_two, recipe, STEADY.get(recipe, {})):
        assert same == pytest.approx(loss, rel=1e-5)
        assert gradients.keys() == expected.keys()
        largest = max(float(gradient.abs().max()) for gradient in expected.values())
        for name, gradient in expected.items():  # batch norm of what hardly varies yet amplifies rounding
            torch.testing.assert_close(gradients[name], gradient, rtol=1e-3, atol=1e-5 * largest, msg=name)
