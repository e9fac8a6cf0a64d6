"""Contenders in turns, in one process, and ratios of what they took."""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

Action = Callable[[int], object]
"""Does one round's work; told the round."""


def interleave(actions: Mapping[str, Action], rounds: int) -> dict[str, dict[str, list[float]]]:
    """A B C, A B C, ...: seconds on the wall and of the CPU (all threads of this process) by contender.

    The first round warms up and is not counted. The order turns by one with every round, so that nobody is always
    first. CPU seconds do not grow while other programs hold the cores: on a busy machine they are what to compare.
    """
    taken: dict[str, dict[str, list[float]]] = {name: {"wall": [], "cpu": []} for name in actions}
    names = list(actions)
    for round_ in range(-1, rounds):
        turn = round_ % len(names)
        for name in names[turn:] + names[:turn]:
            wall, cpu = time.perf_counter(), time.process_time()
            actions[name](round_ + 1)
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            if round_ >= 0:
                taken[name]["wall"].append(wall)
                taken[name]["cpu"].append(cpu)
    return taken


def ratios(taken: Mapping[str, Mapping[str, list[float]]], ours: str) -> dict[str, dict[str, float]]:
    """How many times the CPU seconds of `ours` each other contender took: median, least and most over the rounds."""
    found = {}
    for name, seconds in taken.items():
        if name != ours:
            each = [b / a for a, b in zip(taken[ours]["cpu"], seconds["cpu"], strict=True)]
            found[name] = {"median": statistics.median(each), "least": min(each), "most": max(each)}
    return found


def flops(action: Callable[[], object]) -> int:
    """Floating-point operations of the matrix products in one call, attention included."""
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        action()
    return counter.get_total_flops()


def matmul(side: int, dtype: torch.dtype = torch.float32) -> tuple[Action, int]:
    """A square product, and its floating-point operations."""
    a, b, out = (torch.ones(side, side, dtype=dtype) for _ in range(3))
    return lambda round_: torch.mm(a, b, out=out), 2 * side**3


def as_lines(taken: Mapping[str, Mapping[str, list[float]]], items: int) -> list[str]:
    """A line per contender: images a CPU second; under a peer, how many times as fast each of ours is."""
    lines = []
    ours = [name for name in taken if name.startswith("openjepa")]
    for name, seconds in taken.items():
        lines.append(f"  {name:<34} {items / statistics.median(seconds['cpu']):9.2f} images/CPU-second")
        for mine in ours if name not in ours else []:
            r = ratios(taken, mine)[name]
            lines.append(f"    {mine}: {r['median']:.2f}x as fast [{r['least']:.2f}, {r['most']:.2f}]")
    return lines


def summary(taken: Mapping[str, Mapping[str, list[float]]], items: int) -> dict[str, Any]:
    """For JSON: all seconds, medians, and how many times as fast each of ours is."""
    return {
        "images": items,
        "seconds": {name: dict(seconds) for name, seconds in taken.items()},
        "images_per_cpu_second": {
            name: items / statistics.median(seconds["cpu"]) for name, seconds in taken.items()
        },
        "times_as_fast_as": {name: ratios(taken, name) for name in taken if name.startswith("openjepa")},
    }
