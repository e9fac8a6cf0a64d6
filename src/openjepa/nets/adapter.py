"""Any `nn.Module` as an encoder, a stem or a predictor, of tokens or states; `openjepa.parts` makes options of it."""

import inspect
import math
from typing import Any

import torch
from torch import Tensor, nn

from openjepa.errors import UserError, first_line
from openjepa.jepa import Pair, View, evaluating, gather
from openjepa.nets.dynamics.base import Markov
from openjepa.nets.pictured import PictureEncoder
from openjepa.nets.positions import SinCos, placed
from openjepa.nets.predictor import Ports, mask_tokens, queries_of


class NetEncoder(PictureEncoder):
    """A network that is given pictures `[B, C, H, W]`: `View -> [B, n, D]`.

    It gives a map `[B, D, h, w]`, a vector `[B, D]` or tokens `[B, n, D]` in row order. Of other signals it is given
    what their `fold` makes of tokens (clips `[B, T, C, H, W]`, say), or raw tokens `[B, N, F]`.

    Args:
        net: the network.
        signal: an `openjepa.signals.base.Signal`.
        name: of the part, for what is said of it.

    Raises:
        UserError: it cannot take what the signal gives, or gives something else.
    """

    embeds = False
    """As a stem: a linear map of its outputs follows."""

    def __init__(self, net: nn.Module, signal: Any, name: str) -> None:
        super().__init__()
        self.net, self.signal, self.name = net, signal, name
        example = self.example()
        with evaluating(net), torch.no_grad():
            try:
                given = net(example)
            except (RuntimeError, TypeError, ValueError, AssertionError) as error:
                if isinstance(error, NotImplementedError):
                    raise
                raise UserError(
                    f"{name} takes no batch of shape {list(example.shape)} ({first_line(error)})"
                ) from error
        if not isinstance(given, Tensor) or given.dim() < 2:
            shape = list(given.shape) if isinstance(given, Tensor) else type(given).__name__
            raise UserError(
                f"{name} gives {shape}, not a map [B, D, h, w], a vector [B, D] or tokens [B, n, D] in row order"
            )
        self.width = given.shape[1] if given.dim() > 3 else given.shape[-1]
        self.vector = given.dim() == 2
        self._places = self._grid(given)

    def _grid(self, given: Tensor) -> tuple[int, ...] | None:
        layout = self.signal.layout
        if given.dim() > 3:
            return tuple(given.shape[2:])
        if given.dim() == 2:
            return (1,) * len(layout) if layout is not None else None
        if layout is not None and given.shape[1] == math.prod(layout):
            return tuple(layout)
        side = math.isqrt(given.shape[1])
        if layout is not None and len(layout) == 2 and side * side == given.shape[1]:
            return side, side
        if layout is None:
            return None
        raise UserError(
            f"{self.name} gives {given.shape[1]} tokens, and the signal has a grid of {list(layout)}: give one a "
            "token, without class tokens, or a map [B, D, h, w]"
        )

    @property
    def stride(self) -> int | None:
        """Pixels of a square picture to one place of the map, along a side; `None` of anything else."""
        size = getattr(self.signal, "size", None)
        return max(1, round(size / self._places[0])) if isinstance(size, int) and self._places else None

    def places(self, pictures: Tensor) -> Tensor:
        given = self.net(pictures)
        return given.unsqueeze(1) if given.dim() == 2 else _in_rows(given)

    def layers(self, view: View, count: int) -> list[Tensor]:
        """The output: a network of any kind has no other layers."""
        return [self.forward(view)]

    def layout(self, layout: tuple[int, ...] | None) -> tuple[int, ...] | None:
        """The grid of the outputs for samples of the signal's size, whatever the token grid."""
        return self._places


class QueryPredictor(nn.Module):
    """A network that is given queries and the context: `s_x [B, K, D]` and a pair to `[B, M, T, D']`.

    A query is a mask token with the place of a token that is asked for; all blocks of a pair are asked together. The
    network maps queries `[B, Q, width]` and context `[B, K, width]` to `[B, Q, width]`, as `nn.TransformerDecoder`
    does. Where samples have unequal numbers of tokens it is told which are there, `[B, Q]` and `[B, K]` bool, in its
    arguments `queries_there` and `context_there`.
    """

    def __init__(self, net: nn.Module, ports: Ports, width: int, name: str) -> None:
        super().__init__()
        self.net, self.name, self.condition = net, name, ports.condition
        self.enter, self.leave = nn.Linear(ports.width, width), nn.Linear(width, ports.out)
        self.mask_token = mask_tokens(ports, width)
        nn.init.trunc_normal_(self.mask_token, std=0.02)
        self.positions = SinCos().build(ports.signal, width)
        names = inspect.signature(net.forward).parameters
        self._told = {"queries_there", "context_there"} <= names.keys()

    def forward(self, s_x: Tensor, pair: Pair) -> Tensor:
        context, target = pair.context, pair.target[0]
        dropped = context.keep is not None and s_x.shape[1] != context.tokens.values.shape[1]
        where = placed(self.positions, context.tokens, None)
        known = self.enter(s_x) + (
            gather(where, context.keep) if dropped and context.keep is not None else where
        )
        place = placed(self.positions, target.tokens, pair.place).expand(len(s_x), -1, -1)
        queries = queries_of(self.mask_token, place, pair, self.condition)
        there = context.present if dropped else context.tokens.valid
        answers = self.net(queries.flatten(1, 2), known, **self._masks(there, pair.asked, known, queries))
        return self.leave(answers).unflatten(1, queries.shape[1:3])

    def _masks(
        self, there: Tensor | None, asked: Tensor | None, known: Tensor, queries: Tensor
    ) -> dict[str, Tensor]:
        if there is None and asked is None:
            return {}
        if not self._told:
            raise UserError(
                f"{self.name} is not told which tokens are there, and samples here have unequal numbers of them: give "
                "its forward the arguments queries_there and context_there, or hide equally many in each"
            )
        whole = known.new_ones(known.shape[:2], dtype=torch.bool)
        everything = known.new_ones(queries.shape[:3], dtype=torch.bool)
        return {
            "queries_there": (everything if asked is None else asked).flatten(1),
            "context_there": whole if there is None else there,
        }


class StepPredictor(Markov):
    """A network of a world model's state `[N, D]` and action `[N, A']`, which gives the next state `[N, D]`."""

    def __init__(
        self, net: nn.Module, width: int, condition_dim: int, head: nn.Module | None, name: str
    ) -> None:
        super().__init__((width,), condition_dim, head)
        self.net, self.name = net, name

    def step(self, state: Tensor, action: Tensor) -> Tensor:
        following = self.net(state, action)
        if following.shape != state.shape:
            raise UserError(f"{self.name} gives {list(following.shape)} for states of {list(state.shape)}")
        return following


def _in_rows(given: Tensor) -> Tensor:
    """A map `[B, D, h, w]` as tokens `[B, h * w, D]` in row order; tokens as they are."""
    return given.flatten(2).transpose(1, 2) if given.dim() > 3 else given
