"""The share of a training step that waits for clips: held in memory, and decoded by worker processes meanwhile.

    OPENJEPA_TEST_DATA=... python -m benchmarks.clip_wait
    OPENJEPA_TEST_DATA=... python -m benchmarks.clip_wait --recipe v-jepa-2 --preset tiny-vit --batch 16

A set of films that needs at most 1 GiB is decoded once, before training; of a larger one, worker processes decode the
clips of coming steps. Both are measured on the same films. A share is of seconds on the wall, by the training loop's
own step, once the workers are ahead as far as they go. Where other programs hold the cores, all of it takes longer, and
workers wait for a core as the step does: the median over rounds is told, with the least and the most. Beside it stand
CPU seconds, of a step and of decoding its clips.
"""

import argparse
import os
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import torch

from benchmarks import record
from openjepa.recipes import Recipe, configure
from openjepa.signals.video import clips
from openjepa.training.data import PREFETCH
from openjepa.training.loop import Trainer


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure both ways, write JSON and a table, print the table."""
    args = parse(arguments)
    torch.set_num_threads(1)
    options = {"train.batch_size": args.batch} if args.batch else {}
    config = configure(args.recipe, args.preset, {name: str(value) for name, value in options.items()})
    held = config.signal.open(args.data)
    if not held.in_memory:
        raise SystemExit(f"{args.data} needs more than 1 GiB, and both ways are measured: give fewer films")
    clips.IN_MEMORY_BYTES = 0
    ways = {"held in memory": held, "decoded by workers": config.signal.open(args.data)}
    rows = range(config.train.batch_size)
    decoding = []
    shares: dict[str, list[float]] = {name: [] for name in ways}
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(args.rounds):
        begun = time.process_time()
        ways["decoded by workers"].read(rows)
        decoding.append(time.process_time() - begun)
        for name, samples in ways.items():
            share, cpu = waited(config, samples, args.steps)
            shares[name].append(share)
            taken[name].append(cpu)
    found = {
        "recipe": f"{args.recipe} {args.preset}",
        "batch": config.train.batch_size,
        "workers": config.train.workers,
        "clips": len(held),
        "shares": shares,
        "cpu_seconds": {"step": taken, "decoding": decoding},
    }
    path = record.write(f"clip-wait-{args.recipe}-{args.preset}", found, args.results)
    text = as_markdown(found)
    path.with_suffix(".md").write_text(text)
    print(text)


def waited(config: Recipe, samples: Any, steps: int) -> tuple[float, float]:
    """The share of so many steps that was spent waiting, and the CPU seconds of a step; of later ones than the first,
    for which the workers have read ahead."""
    trainer = Trainer(config, samples, torch.device("cpu"), None, None)
    before = PREFETCH * config.train.workers + 1
    with closing(trainer.batches.stream(0)) as stream:
        clock = Waits(stream)
        for _ in range(before):
            trainer.step(clock)
        clock.seconds, wall, cpu = 0.0, time.perf_counter(), time.process_time()
        for _ in range(steps):
            trainer.step(clock)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return clock.seconds / wall, cpu / steps


class Waits:
    """An iterator, and the seconds that its user has waited for it."""

    def __init__(self, inner: Iterator[Any]) -> None:
        self.inner, self.seconds = inner, 0.0

    def __iter__(self) -> "Waits":
        return self

    def __next__(self) -> Any:
        begun = time.perf_counter()
        try:
            return next(self.inner)
        finally:
            self.seconds += time.perf_counter() - begun


def as_markdown(found: dict[str, Any]) -> str:
    """A row a way."""
    step, decoding = found["cpu_seconds"]["step"], statistics.median(found["cpu_seconds"]["decoding"])
    lines = [
        f"### Waiting for clips: {found['recipe']}, batch {found['batch']}, {found['workers']} workers",
        "",
        "| clips | share of a step spent waiting, median [least, most] | CPU s of a step | of decoding its clips |",
        "| --- | --- | --- | --- |",
    ]
    for name, shares in found["shares"].items():
        ends = f"{statistics.median(shares):.1%} [{min(shares):.1%}, {max(shares):.1%}]"
        beside = f"{decoding:.2f}, by workers" if "workers" in name else "none"
        lines.append(f"| {name} | {ends} | {statistics.median(step[name]):.2f} | {beside} |")
    return "\n".join(lines) + "\n"


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.clip_wait", description=__doc__.split("\n")[0]
    )
    root = os.environ.get("OPENJEPA_TEST_DATA")
    place = {"default": str(Path(root) / "video" / "ucf9.tar")} if root else {"required": True}
    parser.add_argument("--data", **place, help="films, such as ucf9.tar")
    parser.add_argument("--recipe", default="v-jepa", help="of films")
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--batch", type=int, default=0, help="clips of a step; 0: the preset's")
    parser.add_argument("--steps", type=int, default=20, help="that are measured in a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--results", type=Path, default=record.RESULTS)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
