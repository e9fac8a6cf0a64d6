"""Kill a training at every call with which it changes the disk: each time it must continue bit for bit.

    python -m benchmarks.kills                      # every call, some minutes
    python -m benchmarks.kills --sample 20 --twice

A child dies at call k (a file half written, a directory half removed), is started again, with `--twice` dies again at a
later call, and is started once more. Losses, health, verdict, checkpoints and weights must equal those of a run that
was left alone. In `rollback` the run collapses once, and goes back. Only a lost process is imitated, not a lost
machine: what the kernel was given counts as written.
"""

import argparse
import builtins
import importlib
import io
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch

from openjepa.health import Verdict
from openjepa.hub import store
from openjepa.training import Run, load, loop, train

SIZES: dict[str, object] = {
    "signal.size": 16,
    "encoder.width": 16,
    "encoder.depth": 1,
    "encoder.heads": 2,
    "train.steps": 4,
    "train.batch_size": 4,
    "train.lr": 1e-3,
    "train.precision": "fp32",
    "train.save_every": 0.5,
    "train.health_every": 0.5,
    "train.keep": 1,
}
PREDICTOR = {"predictor.width": 16, "predictor.depth": 1}
CASES: dict[str, tuple[str, dict[str, object]]] = {
    "i-jepa": ("i-jepa", PREDICTOR),
    "lejepa": ("lejepa", {"head.hidden": 16, "head.width": 8, "guard.slices": 16}),
    "rollback": ("i-jepa", {**PREDICTOR, "train.on_collapse": "rollback", "train.health_every": 0.25}),
}
COLLAPSES, DIED = 3, 9
"""The step at which `rollback` collapses; the exit status of a child that was killed."""


class Doom:
    """Counts the calls with which this process changes the disk, and ends it at one of them."""

    def __init__(self, at: int | None) -> None:
        self.at, self.calls = at, 0

    def due(self) -> bool:
        self.calls += 1
        return self.calls == self.at

    def before(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """The call, unless the process ends before it."""

        def counted(*arguments: Any, **options: Any) -> Any:
            if self.due():
                os._exit(DIED)
            return call(*arguments, **options)

        return counted

    def install(self) -> None:
        """Watch this process from now on."""
        for name in (
            "fsync",
            "rename",
            "replace",
            "rmdir",
            "unlink",
            "remove",
            "mkdir",
            "truncate",
            "ftruncate",
        ):
            setattr(os, name, self.before(getattr(os, name)))
        opened = io.open

        def watched(file: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
            if not set(mode) & set("wa+x"):
                return opened(file, mode, *arguments, **options)
            return Writing(self.before(opened)(file, mode, *arguments, **options), self)

        builtins.open = io.open = watched  # ty: ignore[invalid-assignment]
        save = store.save_file

        def save_file(tensors: dict[str, torch.Tensor], path: Path, metadata: dict[str, str]) -> None:
            self.before(save)(tensors, path, metadata)
            if self.due():
                with opened(path, "rb+") as file:
                    file.truncate(path.stat().st_size // 2)
                os._exit(DIED)

        store.save_file = save_file


class Writing:
    """An open file whose process may end with half of a text written."""

    def __init__(self, file: Any, doom: Doom) -> None:
        self._file, self._doom = file, doom

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> "Writing":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __iter__(self) -> Iterator[Any]:
        return iter(self._file)

    def write(self, data: Any) -> Any:
        for part in (data[:0], data[: len(data) // 2]):
            if self._doom.due():
                self._file.write(part)
                self._file.flush()
                os._exit(DIED)
        return self._file.write(data)

    def truncate(self, size: int) -> int:
        return self._doom.before(self._file.truncate)(size)


def pixels() -> np.ndarray:
    """40 noisy grey images of 16 px."""
    chance = np.random.default_rng(0)
    return (
        (chance.uniform(0, 255, (40, 1, 1, 1)) + chance.uniform(-40, 40, (40, 16, 16, 1)))
        .clip(0, 255)
        .astype("u1")
    )


def run(case: str, out: Path, at: int | None = None, doomed: float | None = None) -> int:
    """Start or continue a run in a child that dies at call `at`; the calls it made, or -1 where it died."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            torch.set_num_threads(1)
            recipe, options = CASES[case]
            if case == "rollback":
                loop.judge = lambda readings, *_: judge(readings, doomed)  # ty: ignore[invalid-assignment]
            doom = Doom(at)
            doom.install()
            train(recipe, data=pixels(), out=out, options=SIZES | options, resume=True, progress=Quiet())
            os.write(writing, str(doom.calls).encode())
            code = 0
        finally:
            os._exit(code)
    os.close(writing)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with open(reading) as calls:
        said = calls.read()
    if status not in (0, DIED):
        raise SystemExit(f"{case}, call {at}: a child ended with status {status}; see {out}")
    return int(said) if status == 0 else -1


class Quiet:
    """A progress that says nothing."""

    def started(self, total: int) -> None: ...
    def step(self, step: int, loss: float, rate: float) -> None: ...
    def event(self, text: str) -> None: ...
    def finished(self) -> None: ...


def judge(readings: list[dict[str, float]], doomed: float | None) -> Verdict:
    """Collapsed at one step under one energy: not again once the run has gone back and learns more slowly."""
    last = readings[-1]
    if last["step"] == COLLAPSES and doomed in (None, last["energy/model"]):
        return Verdict("collapsed" if doomed is not None else "alive", "it is", "nothing", COLLAPSES)
    return Verdict("alive", "it is", "nothing", int(last["step"]))


def difference(one: Path, other: Path) -> str | None:
    """The first thing in which two runs differ."""
    a, b = Run.open(one), Run.open(other)

    def lines(run: Run, kind: str) -> list[dict[str, Any]]:
        measured = ("seconds", "data_wait")
        return [{k: v for k, v in line.items() if k not in measured} for line in run.records(kind)]

    for kind in ("train", "health", "verdict"):
        if lines(a, kind) != lines(b, kind):
            return f"{kind} lines"
    if [path.name for path in a.checkpoints.all()] != [path.name for path in b.checkpoints.all()]:
        return "checkpoints"
    if store.digest(load(one).state_dict()) != store.digest(load(other).state_dict()):
        return "weights"
    left = {path.name for path in two(other)} ^ {path.name for path in two(one)}
    return f"files {sorted(left)}" if left else None


def two(run: Path) -> list[Path]:
    """Files and folders of a run and of its checkpoints."""
    return [*run.iterdir(), *(run / "checkpoints").iterdir()]


def check(case: str, root: Path, sample: int | None, twice: bool, seed: int) -> tuple[int, int, list[str]]:
    """Calls of one run, those at which it was killed, and what went wrong."""
    importlib.import_module("torch._dynamo")  # which AdamW imports: once here instead of in every child
    doomed = None
    if case == "rollback":
        run(case, root / "plain")
        readings = Run.open(root / "plain").readings()
        doomed = next(r["energy/model"] for r in readings if r["step"] == COLLAPSES)
    calls = run(case, root / "whole", None, doomed)
    chance, wrong = random.Random(seed), []
    chosen = (
        range(1, calls + 1)
        if sample is None
        else sorted(chance.sample(range(1, calls + 1), min(sample, calls)))
    )
    for at in chosen:
        out = root / f"killed-{at}"
        died = run(case, out, at, doomed) == -1
        if twice:
            run(case, out, chance.randint(1, calls), doomed)
        if run(case, out, None, doomed) == -1 or not died:
            wrong.append(f"{case}, call {at}: it did not die as it should")
        elif found := difference(root / "whole", out):
            wrong.append(f"{case}, call {at}: other {found}")
        shutil.rmtree(out)
    return calls, len(chosen), wrong


def main(arguments: list[str] | None = None) -> None:
    """Print what was tried; exits with 1 if a run did not continue as it should."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--sample", type=int, help="calls to die at, drawn by --seed (default: every call)")
    parser.add_argument("--twice", action="store_true", help="let the second start die, too")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args(arguments)
    failed = False
    for case in chosen.cases:
        with tempfile.TemporaryDirectory() as root:
            calls, tried, wrong = check(case, Path(root), chosen.sample, chosen.twice, chosen.seed)
        print(f"{case}: killed at {tried} of {calls} calls, {len(wrong)} continued otherwise")
        for line in wrong:
            print(f"  {line}")
        failed |= bool(wrong)
    if failed:
        sys.exit(1)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main()
