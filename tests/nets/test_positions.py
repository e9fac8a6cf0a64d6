"""Rotary positions."""

import pytest
import torch
from torch import Tensor

from openjepa.errors import UserError
from openjepa.nets.positions import RotaryStyle, rotary


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def scores(positions: Tensor, style: RotaryStyle = "interleaved", width: int = 20) -> Tensor:
    """How N copies of one query meet N copies of one key at these places, `[N, N]`."""
    turn = rotary(positions, width, style)
    q, k = (draw(1, width, seed=s).expand(len(positions), -1) for s in (1, 2))
    return turn(q) @ turn(k).T


def test_scores_depend_on_differences_alone() -> None:
    places = torch.randint(0, 9, (12, 3), generator=torch.Generator().manual_seed(0))
    there = scores(places)
    for shift in ([5, 0, 0], [0, 3, 0], [0, 0, 2], [7, 1, 4]):
        torch.testing.assert_close(scores(places + torch.tensor(shift)), there, atol=1e-4, rtol=1e-4)
    assert there.std() > 0.1


def test_the_released_codes_tiled_style_is_not_relative() -> None:
    places = torch.randint(0, 9, (12, 3), generator=torch.Generator().manual_seed(0))
    diagonal = scores(places, "tiled").diagonal()
    assert diagonal.max() - diagonal.min() > 0.1
    plain = scores(places).diagonal()
    torch.testing.assert_close(plain, plain[:1].expand(12), atol=1e-4, rtol=1e-4)


def test_each_axis_turns_its_own_share() -> None:
    x = draw(1, 22)  # shares of 6, and 4 numbers left over
    for axis in range(3):
        place = torch.zeros(1, 3)
        place[0, axis] = 3
        moved = (rotary(place, 22)(x) != x)[0]
        assert moved[6 * axis : 6 * axis + 6].all()
        assert not moved[: 6 * axis].any() and not moved[6 * axis + 6 :].any()


def test_a_token_without_a_place_is_turned_by_time_alone() -> None:
    x = draw(1, 18)
    timed = rotary(torch.tensor([[4, 0, 0]]), 18)(x)
    torch.testing.assert_close(timed[:, 6:], x[:, 6:], rtol=0, atol=0)
    torch.testing.assert_close(timed[:, :6], rotary(torch.tensor([[4]]), 6)(x[:, :6]))


@pytest.mark.parametrize("positions", [torch.tensor([[1.5, 2.0, 0.25]]), torch.tensor([[0.0, 70.0, 3.0]])])
def test_turning_is_multiplication_by_unit_complex_numbers(positions: Tensor) -> None:
    width, pairs = 21, 3
    x = draw(1, width)
    frequencies = torch.tensor([1.0, 10000 ** (-1 / 3), 10000 ** (-2 / 3)])
    angle = (positions[0, :, None] * frequencies).flatten()
    numbers = torch.complex(x[0, : 6 * pairs : 2], x[0, 1 : 6 * pairs : 2])
    expected = torch.view_as_real(numbers * torch.polar(torch.ones(9), angle)).flatten()
    turned = rotary(positions, width)(x)[0]
    torch.testing.assert_close(turned[:18], expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(turned[18:], x[0, 18:])


def test_half_precision_stays_half_precision() -> None:
    assert rotary(torch.tensor([[1, 2, 3]]), 12)(draw(2, 1, 12).bfloat16()).dtype == torch.bfloat16


def test_heads_too_narrow_are_refused() -> None:
    with pytest.raises(UserError, match="at least 6"):
        rotary(torch.zeros(1, 3), 5)
