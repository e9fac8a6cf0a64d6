"""Goal-conditioned behaviour cloning on a world model's frozen states: a baseline of imitation.

Pairs are relabelled in hindsight: the goal of a state is any later frame of its episode, the answer is the action that
was taken (Ghosh et al., arXiv:1912.06088; the GCBC of OGBench and stable-worldmodel).
"""

import numpy as np
import torch
from torch import Tensor

from openjepa.agent import Policy
from openjepa.agent.actor import space_of
from openjepa.agent.heads import descend
from openjepa.agent.perception import as_goals, encode, proprio_dim_of
from openjepa.agent.semantic import Log
from openjepa.errors import UserError
from openjepa.evals.features import Progress
from openjepa.evals.planning.protocol import Cloning
from openjepa.recipes.worlds import WorldRecipe
from openjepa.world_models.model import WorldJEPA
from openjepa.world_models.windows import EpisodeWindows
from openjepa.worlds.episodes import Episode

ENCODED = 256
"""Frames that are encoded at a time."""


def open_windows(model: WorldJEPA, data: str = "") -> EpisodeWindows:
    """Episodes for a model, with its division into those for training and those held out.

    Args:
        data: a path; empty: what the model was trained on.

    Raises:
        UserError: they are not there, or of other frames or actions.
    """
    config = model.config
    assert isinstance(config, WorldRecipe)
    if not (data or config.data):
        raise UserError(
            "this model was trained on episodes that were not given as a path: name some with --data"
        )
    samples = config.open(data or config.data, adapt=False)
    config.adapt(samples)
    return samples


@torch.no_grad()
def encode_clips(model: WorldJEPA, frames: Tensor, known: Tensor | None = None) -> Tensor:
    """States `[N, T, *L]` of clips `[N, T, C, H, W]`, in bounded memory.

    Args:
        known: `[N, T, P]`, physical variables, for models that take proprioception (see `perception`).
    """
    device, together = next(model.parameters()).device, max(1, ENCODED // frames.shape[1])
    parts = frames.split(together)
    variables = [None] * len(parts) if known is None else known.split(together)
    return torch.cat(
        [encode(model, part.to(device), some) for part, some in zip(parts, variables, strict=True)]
    )


def encode_episode(model: WorldJEPA, frames: Tensor, known: Tensor | None = None) -> Tensor:
    """States `[T, *L]` of all frames `[T, C, H, W]` of an episode, each with those before it that a state is of.

    Args:
        known: `[T, P]`, as in `encode_clips`.
    """
    before, found = model.config.signal.stack - 1, []
    for frame in range(min(model.block, len(frames))):  # a state's frames are a block apart
        rows = [side[None, frame :: model.block] for side in (frames, known) if side is not None]
        parts = [
            encode_clips(model, *(row[:, max(0, start - before) : start + ENCODED] for row in rows))[
                0, min(start, before) :
            ]
            for start in range(0, rows[0].shape[1], ENCODED)
        ]
        found.append(torch.cat(parts))
    states = found[0].new_empty(len(frames), *found[0].shape[1:])
    for frame, part in enumerate(found):
        states[frame :: model.block] = part
    return states


def encoded(
    model: WorldJEPA, samples: EpisodeWindows, frames: int, seed: int, progress: Progress | None = None
) -> list[Log]:
    """Training episodes, mixed, until there are as many frames.

    Raises:
        UserError: no episode has a whole block of actions.
    """
    train, _ = samples.split()
    logs: list[Log] = []
    count = 0
    for number in np.random.default_rng(seed).permutation(train.numpy()):
        if count >= frames:
            break
        episode = samples.episodes[int(number)]
        taken, begin = blocks(episode, model.block)
        states = encode_episode(model, *map(torch.from_numpy, (episode.frames, episode.state)))
        logs.append(Log(states, torch.from_numpy(taken).to(states), torch.from_numpy(begin)))
        count += len(episode) + 1
        if progress is not None:
            progress("encoding episodes to imitate", min(count, frames), frames)
    if not any(len(log.begin) for log in logs):
        raise UserError(f"{samples.name}: no episode has {model.block} actions in a row to imitate")
    return logs


def clone(
    model: WorldJEPA, samples: EpisodeWindows, settings: Cloning, seed: int, progress: Progress | None = None
) -> Policy:
    """A policy that imitates the training episodes.

    Raises:
        UserError: no episode has a whole block of actions.
    """
    logs = encoded(model, samples, settings.frames, seed, progress)
    first = np.cumsum([0] + [len(log.states) for log in logs[:-1]]).tolist()
    states, done = (torch.cat([getattr(log, name) for log in logs]) for name in ("states", "actions"))
    row = torch.cat([log.begin + start for log, start in zip(logs, first, strict=True)])
    end = torch.cat(
        [
            torch.full((len(log.begin),), start + len(log.states) - 1)
            for log, start in zip(logs, first, strict=True)
        ]
    )
    policy = new_policy(model, tuple(states.shape[1:]), settings, seed, goal=True).to(states.device)
    policy.head.standardise(states)
    proprio_dim = proprio_dim_of(model)
    generator = torch.Generator().manual_seed(seed)

    def loss() -> Tensor:
        pick = torch.randint(len(row), (settings.batch,), generator=generator)
        ahead = torch.rand(settings.batch, generator=generator) * (end[pick] - row[pick])
        goal = row[pick] + 1 + ahead.long()  # uniform over what followed
        given = policy(states[row[pick]], as_goals(states[goal.clamp(max=end[pick])], proprio_dim))
        return policy.distance(done[pick], given).mean()

    descend(policy, loss, updates=settings.updates, lr=settings.lr)
    return policy.eval()


def new_policy(
    model: WorldJEPA, shape: tuple[int, ...], settings: Cloning, seed: int, *, goal: bool
) -> Policy:
    """An untrained policy for states of this shape; its weights are a function of the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Policy(shape, space_of(model), goal=goal, hidden=settings.hidden, layers=settings.layers)


def blocks(episode: Episode, block: int) -> tuple[np.ndarray, np.ndarray]:
    """Model actions `[N, block * A]` that no missing action spoils, and the step at which each begins, `[N]`."""
    width = episode.actions.shape[1]
    if len(episode) < block:
        return np.zeros((0, block * width), np.float32), np.zeros(0, np.int64)
    windows = np.lib.stride_tricks.sliding_window_view(episode.actions, block, 0).swapaxes(1, 2)
    flat = windows.reshape(len(windows), -1)
    whole = np.flatnonzero(np.isfinite(flat).all(1))
    return np.ascontiguousarray(flat[whole]), whole
