"""What a user can have of sound without training: statistics of log-mels and of cepstral coefficients."""

from collections.abc import Callable
from typing import Any, Literal, get_args

from torch import Tensor

from openjepa.errors import UserError

Level = Literal["none", "quick", "all"]


def classical(spectrograms: Callable[[Any], Tensor], level: str = "all") -> list[Any]:
    if level not in get_args(Level):
        raise UserError(f"unknown classical features {level!r}; choose from {', '.join(get_args(Level))}")
    return []
