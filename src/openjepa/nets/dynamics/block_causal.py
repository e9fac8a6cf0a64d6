"""V-JEPA 2-AC's predictor: action, state and patches of every step in one sequence, causal from step to step."""

import math
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from openjepa.errors import UserError
from openjepa.nets.dynamics.base import Grid, Memory
from openjepa.nets.dynamics.causal import CausalDynamics
from openjepa.nets.positions import RotaryStyle, rotary
from openjepa.nets.transformer import Block, TransformerConfig, initialise


class BlockCausal(TransformerConfig):
    """A transformer over the tokens `[action, state, patches]` of every step, which see their own and earlier steps.

    Assran et al., arXiv:2506.09985, section 3; defaults of `src/models/ac_predictor.py`. Patches are at (step, row,
    column) of a rotary embedding, action and state at a step alone. The released network can have a fourth token, of
    the camera's pose, which no released model uses; it is left out.
    """

    kind: Literal["block-causal"] = "block-causal"
    width: int = Field(1024, ge=8, le=65_536)
    depth: int = Field(24, ge=1, le=256)
    heads: int = Field(16, ge=1, le=1024)
    history: int = Field(8, ge=1, le=1024)
    """Steps that it looks back on, the newest included."""
    state: int = Field(7, ge=0, le=4096)
    """Numbers of proprioception, the last of every condition; 0: there is no such token."""
    rotary: RotaryStyle = "interleaved"
    """`tiled` for the released weights."""

    def build(
        self, width: int, condition_dim: int, grid: Grid | None = None, head: nn.Module | None = None
    ) -> "BlockCausalDynamics":
        """Raises UserError when states are not tokens on a grid, or nothing but robot state is left of the action."""
        if grid is None:
            raise UserError(
                "predictor 'block-causal' takes patch tokens, the encoder gives one vector a frame"
            )
        if condition_dim <= self.state:
            raise UserError(
                f"predictor.state {self.state} leaves nothing of actions of {condition_dim} numbers: "
                "they are the action's and then the state's"
            )
        return BlockCausalDynamics(self, width, condition_dim, grid, head)


class BlockCausalDynamics(CausalDynamics):
    """Patch tokens in row order, `[N, k, h * w, D]`."""

    def __init__(
        self, config: BlockCausal, width: int, condition_dim: int, grid: Grid, head: nn.Module | None
    ) -> None:
        super().__init__((grid[0] * grid[1], width), condition_dim, config.history, head)
        self.config, self.grid = config, grid
        sizes = [condition_dim - config.state, config.state]
        self.sizes = [size for size in sizes if size]
        self.enter = nn.Linear(width, config.width)
        self.tell = nn.ModuleList(nn.Linear(size, config.width) for size in self.sizes)
        self.blocks = nn.ModuleList(
            Block(config.width, config.heads, config.mlp_ratio, config.norm_eps) for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(config.width, config.norm_eps)
        self.leave = nn.Linear(config.width, width)
        initialise(self, config.init)
        _calm(self.blocks)

    def predict(self, states: Tensor, actions: Tensor, memory: Memory, newest: bool) -> Tensor:
        past, steps = memory.steps, states.shape[1]
        condition = [
            tell(part) for tell, part in zip(self.tell, actions.split(self.sizes, -1), strict=True)
        ]  # [N, k, width] each
        x = torch.cat([torch.stack(condition, 2), self.enter(states)], 2)
        positions = self.step_positions(past, steps, x.device)
        turn = rotary(positions, self.config.width // self.config.heads, self.config.rotary)
        patches = self.attend(x, memory, newest, turn=turn)[:, :, len(condition) :]
        return self.leave(self.norm(patches))

    def step_positions(self, past: int, steps: int, device: torch.device) -> Tensor:
        """(step, row, column) of `steps` steps' tokens, `[steps * n, 3]`; action and state at (step, 0, 0)."""
        rows, columns = (torch.arange(side, device=device) for side in self.grid)
        patches = torch.cartesian_prod(rows, columns)
        frame = torch.cat([patches.new_zeros(len(self.sizes), 2), patches])
        when = torch.arange(past, past + steps, device=device).repeat_interleave(len(frame))
        return torch.cat([when.unsqueeze(1), frame.repeat(steps, 1)], 1)


def _calm(blocks: nn.ModuleList) -> None:
    """Scale what block i of 1.. adds to its input by 1 / sqrt(2 i), as the released code does at the start."""
    with torch.no_grad():
        for i, block in enumerate(blocks, 1):
            for last in ("attention.proj.weight", "mlp.2.weight"):
                block.get_parameter(last).div_(math.sqrt(2 * i))
