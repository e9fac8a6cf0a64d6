"""Goal-conditioned behaviour cloning on a world model's frozen latents: what imitation of the data is worth.

Pairs are relabelled in hindsight: the goal of a state is any later frame of its episode, the answer is the action that
was taken (Ghosh et al., arXiv:1912.06088; the GCBC of OGBench and stable-worldmodel).
"""

import numpy as np
import torch
from torch import Tensor

from openjepa.agent import Policy
from openjepa.agent.actor import space_of
from openjepa.agent.heads import descend
from openjepa.errors import UserError
from openjepa.evals.features import Progress
from openjepa.evals.planning.protocol import Cloning
from openjepa.recipes.worlds import EpisodeWindows, WorldRecipe
from openjepa.world_model import WorldJEPA
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


def encode_frames(model: WorldJEPA, frames: Tensor) -> Tensor:
    """Latents `[N, *L]` of single frames `[N, C, H, W]`, in bounded memory."""
    with torch.no_grad():
        device = next(model.parameters()).device
        return torch.cat([model.encode(part[:, None].to(device))[:, 0] for part in frames.split(ENCODED)])


def clone(
    model: WorldJEPA, samples: EpisodeWindows, settings: Cloning, seed: int, progress: Progress | None = None
) -> Policy:
    """A policy that imitates the training episodes.

    Raises:
        UserError: no episode has a whole block of actions.
    """
    train, _ = samples.split()
    random = np.random.default_rng(seed)
    latents, actions, rows, last, count = [], [], [], [], 0
    for number in random.permutation(train.numpy()):
        if count >= settings.frames:
            break
        episode = samples.episodes[int(number)]
        taken, begin = blocks(episode, model.block)
        latents.append(encode_frames(model, torch.from_numpy(episode.frames)))
        actions.append(torch.from_numpy(taken))
        rows.append(torch.from_numpy(begin) + count)
        last.append(torch.full((len(begin),), count + len(episode)))
        count += len(episode) + 1
        if progress is not None:
            progress("encoding episodes to imitate", min(count, settings.frames), settings.frames)
    states, row, end = torch.cat(latents), torch.cat(rows), torch.cat(last)
    if len(row) == 0:
        raise UserError(f"{samples.name}: no episode has {model.block} actions in a row to imitate")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        policy = Policy(
            tuple(states.shape[1:]), space_of(model), hidden=settings.hidden, layers=settings.layers
        ).to(states.device)
    policy.head.standardise(states)
    generator, done = torch.Generator().manual_seed(seed), torch.cat(actions).to(states)

    def loss() -> Tensor:
        pick = torch.randint(len(row), (settings.batch,), generator=generator)
        ahead = torch.rand(settings.batch, generator=generator) * (end[pick] - row[pick])
        goal = row[pick] + 1 + ahead.long()  # uniform over what followed
        given = policy(states[row[pick]], states[goal.clamp(max=end[pick])])
        return policy.distance(done[pick], given)

    descend(policy, loss, updates=settings.updates, lr=settings.lr)
    return policy.eval()


def blocks(episode: Episode, block: int) -> tuple[np.ndarray, np.ndarray]:
    """Model actions `[N, block * A]` that no missing action spoils, and the step at which each begins, `[N]`."""
    width = episode.actions.shape[1]
    if len(episode) < block:
        return np.zeros((0, block * width), np.float32), np.zeros(0, np.int64)
    windows = np.lib.stride_tricks.sliding_window_view(episode.actions, block, 0).swapaxes(1, 2)
    flat = windows.reshape(len(windows), -1)
    whole = np.flatnonzero(np.isfinite(flat).all(1))
    return np.ascontiguousarray(flat[whole]), whole
