"""`kill -9` at random moments, resume: the same losses, bit for bit, as a run that was left alone."""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from openjepa.training import Run, load

from . import small
from .killed import STEPS

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.parametrize("recipe", small.RECIPES)
def test_resumed_losses_are_equal_bit_for_bit(recipe: str, tmp_path: Path) -> None:
    seed = random.randrange(10**6)
    done = subprocess.run(
        [sys.executable, "-m", "tests.training.killed", recipe, str(tmp_path), str(seed)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, (seed, done.stderr[-3000:])
    whole, killed = Run.open(tmp_path / "whole"), Run.open(tmp_path / "killed")
    resumed = [record for record in killed.records("event") if record["text"].startswith("continuing")]
    assert resumed, f"seed {seed}: it was never resumed in its middle"
    assert [step for step, _ in small.losses(whole)] == list(range(STEPS))
    assert small.losses(killed) == small.losses(whole), f"seed {seed}"
    for kind in ("train", "verdict"):
        assert all(record["cpu_seconds"] > 0 for record in killed.records(kind))
    assert [record["views"] for record in killed.records("train")] == [
        record["views"] for record in whole.records("train")
    ]
    assert killed.readings() == whole.readings(), f"seed {seed}"
    assert [path.name for path in killed.checkpoints.all()] == [path.name for path in whole.checkpoints.all()]
    one, other = load(tmp_path / "whole").state_dict(), load(tmp_path / "killed").state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one), f"seed {seed}"
