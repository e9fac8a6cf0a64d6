"""One command in a sandbox: it succeeds, or it ends with one sentence and exit code 2 and leaves nothing behind."""

import math
import os
import shutil
import signal
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch

from openjepa import cli
from openjepa.recipes import build

SECONDS = 15
"""For one case; a usual one takes a tenth of a second."""
LARGEST = 2_000_000
"""Numbers of a model that is really built; of a larger one its shapes alone."""


LONG = (
    "worlds.third_party ThirdParty record",
    "evals.protocol Comparison rows",
    "evals.planning.evaluate play",
    "evals.world_models.latent_controls fit",
    "evals.world_models.open_loop StateComponents",
)
"""Where what takes long begins: module, class, name."""

PIXELS = 100_000
"""Numbers of a sample, of which some are looked at; larger ones take long."""


class Accepted(BaseException):
    """All that the user gave was found good, and what takes long would begin."""


class Hung(BaseException):
    """It took too long."""


@dataclass(frozen=True)
class Fault:
    """What is wrong with an outcome, and where."""

    case: str
    what: str
    where: str

    def __str__(self) -> str:
        case = self.case if len(self.case) < 900 else f"{self.case[:200]} ... {self.case[-700:]}"
        return f"{self.what}\n    at   {self.where}\n    case {case}"


def accept(*_: Any, **__: Any) -> Any:
    raise Accepted


def first_step(trainer: Any, *_: Any) -> Any:
    """Of a training: health is measured, one step taken."""
    if math.prod(trainer.batches.samples.shape) > PIXELS:
        raise Accepted
    trainer.look()
    trainer.step(trainer.batches.stream(0))
    raise Accepted


def first_steps(run: Callable[..., Any]) -> Callable[..., Any]:
    """Of episodes that are collected: two of them, two steps each."""

    def begun(world: Any, act: Any, n: int, steps: int, seed: int, rng: Any) -> Any:
        list(run(world, act, 2, 2, seed, rng))
        raise Accepted

    return begun


def taught(teach: Callable[..., Any]) -> Callable[..., Any]:
    """Of an actor that learns: one update."""

    def begun(model: Any, windows: Any, actor: Any, *others: Any) -> Any:
        return teach(model, windows, actor.model_copy(update={"updates": 1, "frames": 30}), *others)

    return begun


def build_small(config: Any, seed: int | None = None) -> Any:
    """`build`, without the weights of a large model."""
    with torch.device("meta"):
        sizes = sum(p.numel() for p in config.from_scratch().build().parameters())
    if sizes > LARGEST:
        raise Accepted
    return build(config, seed)


@contextmanager
def stopped_early() -> Iterator[None]:
    """Commands end where the long part begins: training, playing, fitting probes, recording."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(import_module("openjepa.training.loop"), "build", build_small)
        patch.setattr(import_module("openjepa.training.loop").Trainer, "run_to_end", first_step)
        remote = import_module("openjepa.evals.planning.remote")
        patch.setattr(remote, "teach", taught(remote.teach))
        collect = import_module("openjepa.worlds.collect")
        patch.setattr(collect, "_run", first_steps(collect._run))
        for what in LONG:
            module, *owner, attribute = what.split(" ")
            place = import_module(f"openjepa.{module}")
            patch.setattr(getattr(place, owner[0]) if owner else place, attribute, accept)
        yield


@contextmanager
def limit(seconds: int) -> Iterator[None]:
    """Raises `Hung` after so many seconds of this process, or, where it only waits, after six times as many."""

    def stop(*_: Any) -> None:
        raise Hung

    clocks = (
        (signal.ITIMER_PROF, signal.SIGPROF, seconds),
        (signal.ITIMER_REAL, signal.SIGALRM, 6 * seconds),
    )
    before = [(number, signal.signal(number, stop)) for _, number, _ in clocks]
    for clock, _, after in clocks:
        signal.setitimer(clock, after)
    try:
        yield
    finally:
        for clock, _, _ in clocks:
            signal.setitimer(clock, 0)
        for number, handler in before:
            signal.signal(number, handler)


def tree(root: Path) -> set[Path]:
    return set(root.rglob("*"))


def clear(root: Path, before: set[Path]) -> list[Path]:
    """Remove what is new; what that was."""
    new = sorted(tree(root) - before, reverse=True)
    for path in new:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return new


def attempt(
    words: Sequence[str], root: Path, captured: Callable[[], tuple[str, str]], case: str = ""
) -> tuple[str, Fault | None]:
    """Run a command in `root`; how it ended (`done`, `accepted`, `refused`), and what is wrong with that.

    Args:
        captured: standard output and error since the last call.
        case: what to call it, by default the command.
    """
    before, case = tree(root), case or repr(list(words))
    captured()
    ended, found = "done", None
    try:
        with limit(SECONDS):
            cli.main(list(words))
    except Accepted:
        ended = "accepted"
    except Hung as error:
        ended, found = "hung", Fault(case, f"not over after {SECONDS} s", place(error))
    except SystemExit as end:
        ended = "done" if end.code in (0, None) else "refused"
        if end.code not in (0, None, 2):
            found = Fault(case, f"exit code {end.code}", "main")
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        ended, found = "raised", Fault(case, f"{type(error).__name__}: {error}"[:300], place(error))
    out, err = captured()
    new = clear(root, before)
    if ended == "refused" and list(words[:1]) == ["sweep"] and err.endswith("tries them again\n"):
        ended = "accepted"  # runs that are stopped early have no scores
    if ended == "refused" and found is None:
        *told, sentence = err.splitlines() or [""]
        lines = [*told, sentence]  # what was left out may be told before
        if out or not all(line.startswith("openjepa: ") for line in lines) or len(told) > 2:
            found = Fault(case, f"no one sentence: out {out[:200]!r}, err {err[:400]!r}", "standard error")
        elif len(err) > 5000 or not all(map(str.isprintable, lines)):
            found = Fault(case, f"not for eyes: {err[:200]!r}", "standard error")
        elif new:
            found = Fault(
                case, f"left behind {[str(p.relative_to(root)) for p in new][:4]}: {err[:200]}", "files"
            )
    return ended, found


def place(error: BaseException) -> str:
    """Where it was raised: the last lines of ours."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if f"{os.sep}openjepa{os.sep}" in f.filename]
    return " < ".join(f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in reversed(ours[-4:]))


def report(faults: Sequence[Fault]) -> str:
    """One of each kind."""
    kinds: dict[tuple[str, str], list[Fault]] = {}
    for fault in faults:
        kinds.setdefault((fault.what.split(":")[0], fault.where), []).append(fault)
    return "\n".join(f"[{len(same)}] {same[0]}" for same in kinds.values())
