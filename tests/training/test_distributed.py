"""Several processes train what one process trains: also what a loss reads later, or never."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from openjepa.common.distributed import rank, world_size
from openjepa.common.rng import Rng
from openjepa.errors import UserError
from openjepa.jepa import JEPA, Output
from openjepa.recipes import build
from openjepa.signals.base import hold_out
from openjepa.training.data import Batches
from openjepa.training.optim import adamw
from openjepa.training.step import Stepper

from .. import ranks
from . import small

STEPS, START = 4, 2
Gradients = list[dict[str, Tensor]]


def with_late_loss(declared: set[str] | None) -> JEPA:
    """A small model with a second loss from step 2 on, whose parameters are `late`, and one of no loss, `never`.

    Its `unused` gives `declared`.
    """
    model = build(small.config(guard="none", train__clip=1e6))
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model.late, model.never = nn.Linear(16, 1), nn.Linear(2, 2)
    plain = model.forward

    def forward(batch: Any, rng: Rng) -> Output:
        output = plain(batch, rng)
        if rng.step >= START:
            output = Output(
                output.loss + model.late(output.s_x[0]).square().mean(),  # ty: ignore[not-callable]
                output.terms,
                output.s_x,
                output.s_y,
                output.prediction,
            )
        return output

    model.forward, model.unused = forward, lambda: declared  # ty: ignore[invalid-assignment]
    return model


def gradients_of_steps(rank_: int, declared: set[str] | None, steps: int = STEPS) -> Gradients:
    """Every parameter's gradient after each step, over all processes."""
    model, training, data = with_late_loss(declared), small.config().train, small.images()
    batches = Batches(data, hold_out(data)[0], training, rank(), world_size())
    stepper, stream, found = (
        Stepper(model, adamw(model, training), training, batches.start),
        batches.stream(0),
        [],
    )
    for step in range(steps):
        stepper(step, next(stream))
        found.append({n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None})
    return found


def test_a_loss_that_starts_later_trains_its_parameters() -> None:
    one = gradients_of_steps(0, None)
    late = {"late.weight", "late.bias"}
    assert [late <= gradients.keys() for gradients in one] == [False, False, True, True]
    for several in ranks.run(gradients_of_steps, None):
        for found, expected in zip(several, one, strict=True):
            small.assert_equal_gradients(found, expected)


def test_what_is_declared_unused_is_waited_for_by_nobody() -> None:
    declared = {"never.weight", "never.bias", "late.weight", "late.bias"}
    one = gradients_of_steps(0, declared, START)
    for several in ranks.run(gradients_of_steps, declared, START):
        for found, expected in zip(several, one, strict=True):
            small.assert_equal_gradients(found, expected)


@pytest.mark.parametrize(
    ("declared", "complaint"),
    [
        (
            {"never.weight", "never.bias"},
            r"no loss of this step has read late.weight and 1 more: name what no step",
        ),
        ({"ever"}, "declares ever unused and has no such parameter"),
    ],
)
def test_a_wrong_declaration_is_one_sentence(declared: set[str], complaint: str) -> None:
    def refused(rank_: int) -> bool:
        with pytest.raises(UserError, match=complaint):
            gradients_of_steps(rank_, declared)
        return True

    assert ranks.run(refused) == [True, True]
