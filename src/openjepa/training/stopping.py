"""Ctrl-C, SIGTERM and a terminal that hangs up: the step is finished and saved, then the run ends."""

import os
import shlex
import signal
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist

from openjepa.common.distributed import world_size

SIGNALS = (signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []))
_SAID = b"\nopenjepa: saving after this step; once more ends at once\n"


class Stopped(KeyboardInterrupt):
    """A run was asked to end and is saved; its text names the command that continues it.

    Attributes:
        number: of the signal.
        data: what the command has to name as `--data`, where that is not what the run has stored.
    """

    def __init__(self, number: int, path: Path, step: int, total: int, data: str | None = None) -> None:
        super().__init__()
        self.number, self.path, self.step, self.total, self.data = number, path, step, total, data

    def __str__(self) -> str:
        words = [
            "openjepa",
            "train",
            "--resume",
            str(self.path),
            *(["--data", self.data] if self.data else []),
        ]
        return f"interrupted after step {self.step} of {self.total}, which is saved; continue with: {shlex.join(words)}"


class Requests:
    """The signal that asked this process to end, if one did."""

    def __init__(self) -> None:
        self.number: int | None = None

    def agreed(self, device: torch.device) -> int | None:
        """The signal that any process of the group was sent, the same on all."""
        if world_size() == 1:
            return self.number
        number = torch.tensor(self.number or 0, device=device)
        dist.all_reduce(number, dist.ReduceOp.MAX)
        return int(number) or None


@contextmanager
def stop_requests(wanted: bool = True) -> Generator[Requests]:
    """Take down the first Ctrl-C, SIGTERM or SIGHUP; the second acts as if nobody listened.

    Under torchrun, which sends every process the signal that its terminal has sent already, all later ones are
    ignored too. Handlers that are not Python's own stay, and outside the main thread nothing can be taken down.
    """
    requests = Requests()
    usual: dict[int, Any] = {}
    if wanted and threading.current_thread() is threading.main_thread():
        known = {number: signal.getsignal(number) for number in SIGNALS}
        usual = {n: h for n, h in known.items() if h in (signal.SIG_DFL, signal.default_int_handler)}

    def note(number: int, frame: FrameType | None) -> None:
        if requests.number is not None:
            return
        requests.number = number
        if world_size() == 1:
            _restore(usual)
        if sys.stderr.isatty():
            os.write(2, _SAID)  # print could be interrupted in itself

    for number in usual:
        signal.signal(number, note)
    try:
        yield requests
    finally:
        _restore(usual)


def ignore_first(worker: int = 0) -> None:
    """In a process that only serves: it ends with its parent, and not by the signal that the parent acts on."""
    heard = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]  # nohup stays
    usual: dict[int, Any] = dict.fromkeys(heard, signal.SIG_DFL)
    for number in heard:
        signal.signal(number, lambda *_: _restore(usual))


def _restore(handlers: dict[int, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)
