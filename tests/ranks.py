"""Run a function on several gloo processes of this machine and collect what each returns."""

import multiprocessing
import tempfile
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.utils._pytree import tree_map_only

SECONDS = 60


def run(function: Callable[..., Any], *args: Any, count: int = 2) -> list[Any]:
    """`function(rank, *args)` on `count` forked processes; tensors in the results are detached.

    Forked, not spawned: half a second instead of twenty. Each child keeps to one thread, and a hang fails by name.
    """
    context = multiprocessing.get_context("fork")
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder, "store")
        pipes = [context.Pipe(duplex=False) for _ in range(count)]
        children = [
            context.Process(
                target=_child, args=(rank, count, store, pipes[rank][1], function, args), daemon=True
            )
            for rank in range(count)
        ]
        for child in children:
            child.start()
        try:
            return [_answer(rank, receiver) for rank, (receiver, _) in enumerate(pipes)]
        finally:
            for child in children:
                child.kill()
                child.join()


def _answer(rank: int, receiver: Connection) -> Any:
    if not receiver.poll(SECONDS):
        raise TimeoutError(f"rank {rank} gave no answer in {SECONDS} s")
    result = receiver.recv()
    if isinstance(result, str):
        raise AssertionError(f"rank {rank}: {result}")
    return tree_map_only(_Array, lambda array: torch.tensor(array.values).view(array.shape), result)


class _Array:
    """A tensor as plain numbers: sending tensors themselves would hold shared memory open."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self.values, self.shape = tensor.detach().flatten().tolist(), tensor.shape


def _child(
    rank: int, count: int, store: Path, sender: Connection, function: Callable[..., Any], args: Any
) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{store}", rank=rank, world_size=count, timeout=timedelta(seconds=SECONDS)
    )
    try:
        result = tree_map_only(torch.Tensor, _Array, function(rank, *args))
    except Exception as error:
        result = f"{type(error).__name__}: {error}"
    sender.send(result)
    dist.barrier()
    dist.destroy_process_group()
