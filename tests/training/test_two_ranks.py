"""Two processes under torchrun give the losses and gradients of one process on the concatenated batch."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from openjepa.training import Run, load, train

from . import small, two_ranks

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def torchrun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("ranks")
    environment = os.environ | {
        "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}",
        "OMP_NUM_THREADS": "1",
        "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*launcher, "-m", "tests.training.two_ranks", str(out)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return out


@pytest.mark.slow
@pytest.mark.parametrize("case", two_ranks.CASES)
def test_equal_to_one_process(case: str, torchrun: Path, tmp_path: Path) -> None:
    recipe, dotted = two_ranks.options(case)
    expected, _ = small.first_gradients(recipe, dotted | {"train.accumulate": 1})
    small.assert_equal_gradients(load_file(torchrun / f"{case}.safetensors"), expected)
    config = small.configured(recipe, dotted | {"train.accumulate": 1})
    train(config, data=small.pixels(), out=tmp_path / "run")
    two, one = Run.open(torchrun / case), Run.open(tmp_path / "run")
    # an energy of 1e-3 between embeddings of unit size is a difference in which float32's rounding shows
    for kind, keys, floor in (
        ("train", ("step", "loss", "lr", "grad_norm"), 1e-8),
        ("health", ("step", "energy/model"), 1e-6),
    ):
        readings = [torch.tensor([[r[key] for key in keys] for r in run.records(kind)]) for run in (two, one)]
        assert torch.allclose(*readings, rtol=1e-5, atol=floor), kind
    views = [[r["views"] for r in run.records("train")] for run in (two, one)]
    assert views[0] == views[1]
    batch = small.images().read([0, 1])
    assert torch.allclose(load(two.path).embed(batch), load(one.path).embed(batch), atol=1e-3)
