"""What `test_killed.py` starts: runs in forked children that are killed at random moments.

Forking from a process that has imported but never computed saves the seconds of importing torch for each.
"""

import os
import random
import signal
import sys
import threading
from pathlib import Path

import torch

from openjepa.training import train
from openjepa.training.progress import Silent

from . import small

STEPS, KILLS = 40, 3


class Doom(Silent):
    """Kills its process up to 20 ms after some steps: in the middle of a step, a line, a checkpoint."""

    def __init__(self, steps: int, seconds: float) -> None:
        self.steps, self.seconds = steps, seconds

    def step(self, step: int, loss: float, rate: float) -> None:
        self.steps -= 1
        if self.steps == 0:
            threading.Timer(self.seconds, os.kill, (os.getpid(), signal.SIGKILL)).start()


def run(recipe: str, out: Path, doom: Doom | None) -> int:
    """Start or resume in a child; its exit status, or the signal that ended it."""
    child = os.fork()
    if child == 0:
        torch.set_num_threads(1)
        every = {
            "train.steps": STEPS,
            "train.health_every": 0.25,
            "train.batch_size": 4,
            "train.save_every": 0.1,
        }
        options = small.options(recipe) | every
        code = 1
        try:
            preset = small.PRESETS.get(recipe, "tiny")
            data = small.pixels()
            train(recipe, preset=preset, data=data, out=out, options=options, resume=True, progress=doom)
            code = 0
        finally:
            os._exit(code)
    status = os.waitpid(child, 0)[1]
    return os.waitstatus_to_exitcode(status)


def main(recipe: str, out: Path, seed: int) -> None:
    """`out/whole` is never interrupted, `out/killed` several times."""
    chance = random.Random(seed)
    assert run(recipe, out / "whole", None) == 0
    for _ in range(KILLS):
        doom = Doom(chance.randint(5, 11), chance.uniform(0, 0.02))
        assert run(recipe, out / "killed", doom) == -signal.SIGKILL
    assert run(recipe, out / "killed", None) == 0


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
