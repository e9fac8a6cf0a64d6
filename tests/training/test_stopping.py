"""Ctrl-C and SIGTERM save the step that was reached; what continues there is the same bit for bit."""

import multiprocessing
import os
import signal
from pathlib import Path

import pytest
import torch

from openjepa.signals.images import image_set
from openjepa.training import Run, Stopped, fit, load, resume, train
from openjepa.training.progress import Silent

from . import small
from .test_start import folder_of


class Interrupting(Silent):
    """Sends a signal to this process, and to its workers, once some steps are done."""

    def __init__(self, at: int, number: int = signal.SIGINT, times: int = 1) -> None:
        self.at, self.number, self.times = at, number, times

    def step(self, step: int, loss: float, rate: float) -> None:
        if step == self.at:
            for child in multiprocessing.active_children():
                os.kill(child.pid or 0, self.number)
            for _ in range(self.times):
                os.kill(os.getpid(), self.number)


def equal(one: Path, other: Path) -> bool:
    a, b = Run.open(one), Run.open(other)
    first, second = load(one).state_dict(), load(other).state_dict()
    return (
        small.losses(a) == small.losses(b)
        and a.readings() == b.readings()
        and a.verdict() == b.verdict()
        and all(torch.equal(first[name], second[name]) for name in first)
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "run"
    train("i-jepa", preset="tiny-vit", data=small.pixels(), out=out, options=small.options())
    return out


# between checkpoints, at a measurement, at a checkpoint
@pytest.mark.parametrize(("at", "number"), [(1, signal.SIGINT), (5, signal.SIGTERM), (6, signal.SIGHUP)])
def test_the_step_is_saved_and_the_run_goes_on(at: int, number: int, whole: Path, tmp_path: Path) -> None:
    if signal.getsignal(number) is signal.SIG_IGN:
        pytest.skip("the signal is ignored here, as under nohup")
    out = tmp_path / "my run"
    call = {"data": small.pixels(), "out": out, "options": small.options(), "resume": True}
    with pytest.raises(Stopped) as caught:
        train("i-jepa", preset="tiny-vit", **call, progress=Interrupting(at, number))  # ty: ignore
    assert caught.value.number == number
    assert (
        str(caught.value) == f"interrupted after step {at} of 10, which is saved; continue with: "
        f"openjepa train --resume '{out}'"
    )
    assert Run.open(out).checkpoints.newest() == out / f"checkpoints/step-00000{at}"
    train("i-jepa", preset="tiny-vit", **call)  # ty: ignore
    assert equal(out, whole)
    assert signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler)


def test_the_second_ends_at_once(tmp_path: Path) -> None:
    run = small.new_run(tmp_path / "run", small.config())
    with pytest.raises(KeyboardInterrupt) as caught:
        fit(run.config, small.images(), run=run, progress=Interrupting(4, times=2))
    assert type(caught.value) is KeyboardInterrupt
    assert run.checkpoints.newest() == run.path / "checkpoints/step-000003"


def test_without_a_directory_the_first_ends_at_once() -> None:
    with pytest.raises(KeyboardInterrupt) as caught:
        fit(small.config(), small.images(), progress=Interrupting(2))
    assert type(caught.value) is KeyboardInterrupt


def test_workers_outlive_the_signal_that_they_are_sent_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_set, "IN_MEMORY_BYTES", 0)
    folder = folder_of(tmp_path / "photos", channels=1)
    options = small.options(train__workers=2)
    with pytest.raises(Stopped) as caught:
        train(
            "i-jepa",
            preset="tiny-vit",
            data=folder,
            out=tmp_path / "run",
            options=options,
            progress=Interrupting(2),
        )
    assert multiprocessing.active_children() == []
    resume(tmp_path / "run")
    train("i-jepa", preset="tiny-vit", data=folder, out=tmp_path / "whole", options=options)
    assert equal(tmp_path / "run", tmp_path / "whole")
    assert caught.value.step == 2


def test_a_handler_of_the_users_stays(tmp_path: Path) -> None:
    heard = []
    before = signal.signal(signal.SIGTERM, lambda *_: heard.append("mine"))
    try:
        run = small.new_run(tmp_path / "run", small.config(train__steps=3))
        fit(run.config, small.images(), run=run, progress=Interrupting(2, signal.SIGTERM))
    finally:
        signal.signal(signal.SIGTERM, before)
    assert heard == ["mine"]
