"""What `test_two_ranks.py` starts under torchrun: the first gradients and a short run of each case."""

import sys
import weakref
from pathlib import Path

import torch
import torch.distributed as dist
from safetensors.torch import save_file

from openjepa.common.distributed import rank
from openjepa.training import train
from openjepa.training.distributed import process_group

from . import small

CASES: dict[str, tuple[str, dict[str, object]]] = {
    "i-jepa": ("i-jepa", {}),
    "lejepa": ("lejepa", {}),
    "views of two sizes": ("lejepa", {"hiding.local_views": 2, "hiding.local_augment.size": 8}),
    "guarded": ("i-jepa", {"guard": "vicreg", "target": "shared"}),
    "unused": ("lejepa", {"encoder.hide": "replace", "hiding.drop": 0}),  # a mask token that nothing replaces
    "accumulated": ("i-jepa", small.steady("i-jepa") | {"train.accumulate": 2}),
}


def options(case: str) -> tuple[str, dict[str, object]]:
    """A case's recipe and options: constant rates from the first step, so that every step moves the weights."""
    recipe, extra = CASES[case]
    every = {"train.steps": 4, "train.clip": 1e6, "train.warmup": 0.0, "train.lr": 1e-4}
    return recipe, small.options(recipe) | every | extra


def main(out: Path) -> None:
    """Rank 0 writes `case.safetensors` and the run `case` for each."""
    torch.set_num_threads(1)
    with process_group():
        group = weakref.ref(dist.group.WORLD)
        for case in CASES:
            recipe, dotted = options(case)
            gradients, _ = small.first_gradients(recipe, dotted)
            if rank() == 0:
                save_file(
                    {name: g.contiguous() for name, g in gradients.items()}, out / f"{case}.safetensors"
                )
            dotted = {
                k: v for k, v in dotted.items() if not (dotted.get("guard") == "none" and k[:6] == "guard.")
            }
            preset = small.PRESETS.get(recipe, "tiny")
            train(recipe, preset=preset, data=small.pixels(), out=out / case, options=dotted)
    assert group() is None, "whoever holds the process group keeps its threads, which may abort the exit"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
