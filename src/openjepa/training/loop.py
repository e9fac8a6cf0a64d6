"""The training loop."""

import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from typing import Protocol

import torch

from openjepa.common.distributed import rank, world_size
from openjepa.common.files import step_of
from openjepa.errors import UserError, warn
from openjepa.health import Verdict
from openjepa.jepa import JEPA
from openjepa.recipes import Recipe, build
from openjepa.signals.base import Batch, Samples, finite
from openjepa.training.checkpoints import TrainingState
from openjepa.training.data import Batches
from openjepa.training.distributed import barrier, mean_over_processes, process_group, sum_over_processes
from openjepa.training.initial import given_start
from openjepa.training.optim import adamw
from openjepa.training.run import Run
from openjepa.training.step import NotFinite, Stepper, require_whole_batches
from openjepa.training.stopping import Requests, Stopped, stop_requests

MOST_ROLLBACKS = 3


class RunProgress(Protocol):
    """What is told to whoever watches a run; on several processes only the first one tells."""

    def started(self, total: int) -> None:
        """A run of `total` steps begins or continues."""

    def step(self, step: int, loss: float, rate: float) -> None:
        """`step` steps are done, at `rate` steps a second."""

    def event(self, text: str) -> None:
        """A verdict, a warning."""

    def finished(self) -> None:
        """The run has ended, well or not."""


class Collapsed(UserError):
    """The run was stopped because its representation collapsed."""


def fit(
    config: Recipe,
    samples: Samples,
    *,
    run: Run | None = None,
    resume: bool = False,
    progress: RunProgress | None = None,
    notes: Iterable[str] = (),
) -> JEPA:
    """Train a recipe's model.

    Args:
        config: the recipe; `config.train` says how.
        samples: the training set; some of it is held out for health (see `Recipe.hold_out`).
        run: the directory for metrics, checkpoints and the final model; `None` keeps nothing.
        resume: continue from the run's latest readable checkpoint, bit for bit.
        progress: told about every step.
        notes: what was found out before, logged and told once it is sure that training can begin.

    Returns:
        The model, in eval mode.

    Raises:
        UserError: data that do not fit, a loss that is not finite, a disk that is full.
        Collapsed: with `on_collapse` "stop", or "rollback" in vain.
        Stopped: on Ctrl-C or SIGTERM, once the step is finished and saved.
    """
    with process_group() as device, torch.random.fork_rng([device] if device.type == "cuda" else []):
        told = progress if rank() == 0 else None
        try:
            with stop_requests(run is not None) as asked:
                trainer = Trainer(config, samples, device, run, told, asked)
                return trainer.run_to_end(resume, [*notes, trainer.began])
        finally:
            if run:
                run.trackers.close()
            if told:
                told.finished()


class Trainer:
    """One run on one process: see `fit`."""

    def __init__(
        self,
        config: Recipe,
        samples: Samples,
        device: torch.device,
        run: Run | None,
        progress: RunProgress | None,
        asked: Requests | None = None,
    ) -> None:
        self.config, self.training, self.run, self.progress = config, config.train, run, progress
        self.asked = asked or Requests()
        if run is None and self.training.on_collapse == "rollback":
            raise UserError(
                "train.on_collapse rollback goes back to a checkpoint: name a run directory (out)"
            )
        rows, held_out = config.hold_out(samples)
        self.batches = Batches(samples, rows, self.training, rank(), world_size())
        model = build(config)
        self.began = given_start(model, config, run)
        """What the run starts from, in a sentence; empty for random weights, and where it continues."""
        model = model.to(device)
        self.state = TrainingState(model, adamw(model, self.training))
        self.stepper = Stepper(model, self.state.optimiser, self.training, self.batches.start)
        self.monitor = config.monitor(held_out)
        self.readings: list[dict[str, float]] = []
        self.verdict: Verdict | None = None
        self.seconds = 0.0
        """Seconds of a step, a moving average."""

    def run_to_end(self, resume: bool, notes: Iterable[str] = ()) -> JEPA:
        """The loop; `notes` are logged and told first, but for empty ones."""
        state, training = self.state, self.training
        if not resume:
            require_whole_batches(state.model, training)
        if self.progress:
            self.progress.started(training.steps)
        if resume:
            self.resume()
        for note in filter(None, notes):
            self.event(note)
        if not resume:
            self.look()
            self.save()
        while state.step < training.steps:
            with closing(self.batches.stream(state.step)) as stream:
                self.run_until_it_goes_back(stream)
        if self.run:
            self.run.finish(state.model, self.batches.samples)
        if self.verdict and not self.verdict.healthy and self.progress is None and rank() == 0:
            warn(f"the run ended {self.verdict.word}: {self.verdict.reason}; {self.verdict.advice}")
        state.model.verdict = self.verdict
        return state.model.eval()

    def run_until_it_goes_back(self, stream: Iterator[Batch]) -> None:
        """Steps to the end of the run, or to a collapse after which the run has gone back."""
        state, training = self.state, self.training
        while state.step < training.steps:
            self.stop_if_asked()
            self.step(stream)
            if self.due(training.health_every) and self.look().word == "collapsed" and self.went_back():
                return
            if self.due(training.save_every):
                self.save()

    def stop_if_asked(self) -> None:
        """Save and end, where Ctrl-C or SIGTERM came; between two steps, so that the run continues bit for bit."""
        number = self.asked.agreed(self.stepper.device)
        if number is None or self.run is None:
            return
        newest = self.run.checkpoints.newest()
        if newest is None or step_of(newest) != self.state.step:
            self.save()
        barrier()
        raise Stopped(number, self.run.path, self.state.step, self.training.steps)

    def due(self, share: float) -> bool:
        """Whether something that happens at every `share` of the run, and at its end, is due."""
        every = max(1, round(share * self.training.steps))
        return self.state.step % every == 0 or self.state.step == self.training.steps

    def step(self, stream: Iterator[Batch]) -> None:
        """One optimiser step."""
        step, begun, cpu_begun = self.state.step, time.perf_counter(), time.process_time()
        batch = next(stream)
        waited = time.perf_counter() - begun
        try:
            logged = self.stepper(step, batch, 0.5**self.state.rollbacks)
        except NotFinite:
            raise self.not_finite(batch) from None
        self.state.step += 1
        taken = time.perf_counter() - begun
        self.seconds = taken if not self.seconds else 0.95 * self.seconds + 0.05 * taken
        if self.run:
            self.run.log(
                "train",
                step,
                **logged,
                views=self.stepper.views,
                data_wait=round(waited / taken, 5),
                seconds=round(taken, 5),
                cpu_seconds=self.cpu_seconds(cpu_begun),
            )
        if self.progress:
            self.progress.step(self.state.step, logged["loss"], 1 / self.seconds)

    def cpu_seconds(self, begun: float) -> float:
        """User and system time since `time.process_time` was `begun`, of all threads of all processes of the run.

        Processes that only read data (`train.workers`) are not counted.
        """
        return round(sum_over_processes(time.process_time() - begun, self.stepper.device), 5)

    def look(self) -> Verdict:
        """Measure health and judge it."""
        step, before, cpu_begun = self.state.step, self.verdict, time.process_time()
        reading = self.monitor.measure(self.state.model, step, self.readings)
        self.readings.append(reading)
        self.verdict = self.config.judge(self.readings)
        self.state.healthy = self.verdict.healthy
        if self.run:
            self.run.log("health", step, **{name: value for name, value in reading.items() if name != "step"})
            words = {"word": self.verdict.word, "reason": self.verdict.reason, "advice": self.verdict.advice}
            self.run.log("verdict", step, **words, cpu_seconds=self.cpu_seconds(cpu_begun))
        if self.progress and (before is None or before.word != self.verdict.word):
            self.progress.event(f"step {step}: {self.verdict.in_a_line()}")
        return self.verdict

    def save(self) -> None:
        """Write a checkpoint, unless the weights are beyond use."""
        if self.run is None or not self.run.writes:
            return
        if not all(bool(p.isfinite().all()) for p in self.state.model.parameters()):
            raise UserError(
                f"step {self.state.step}: weights are not finite although the loss was: lower train.lr or set "
                f"train.clip; {self.kept()}"
            )
        self.run.save(self.state)

    def resume(self) -> None:
        """Continue from the latest readable checkpoint."""
        if self.run is None:
            raise UserError("only a run in a directory can be resumed: name it (out)")
        self.monitor.begin(self.state.model)  # still as it was built
        path, failures = self.run.checkpoints.load_newest(self.state)
        intact = self.restore()
        if failures and self.run.writes:
            self.run.checkpoints.drop_after(path)
        for failure in failures:
            self.event(f"{failure}; falling back to {path}")
        if not intact:
            self.event(f"{self.run.metrics.path} was changed since: lines of it may be missing")
        self.event(f"continuing from step {self.state.step}")

    def went_back(self) -> bool:
        """What `on_collapse` says; True when the run has gone back.

        Raises:
            Collapsed: with "stop", or where going back has not helped.
        """
        mode, verdict = self.training.on_collapse, self.verdict
        if mode == "warn" or verdict is None:
            return False
        found = f"collapsed at step {verdict.step}: {verdict.reason}; {verdict.advice}"
        if mode == "stop" or self.run is None:
            self.save()
            raise Collapsed(f"{found}; {self.kept()}")
        checkpoints, rollbacks = self.run.checkpoints, self.state.rollbacks + 1
        back = checkpoints.newest_healthy()
        if back is None or rollbacks > MOST_ROLLBACKS:
            raise Collapsed(f"{found}; going back {MOST_ROLLBACKS} times has not helped")
        if self.run.writes:
            checkpoints.note_rollback(back, rollbacks)
            checkpoints.drop_after(back)
        barrier()
        checkpoints.load(back, self.state)
        self.restore()
        self.event(f"{found}; back at step {self.state.step} with {0.5**rollbacks:g} of the learning rate")
        return True

    def restore(self) -> bool:
        """Bring metrics and health's history back to the state's step; False where the metrics had been changed."""
        assert self.run is not None
        intact = self.run.rewind(self.state)
        barrier()
        self.readings = self.run.readings()
        return intact

    def event(self, text: str) -> None:
        """Log and tell."""
        if self.run:
            self.run.log("event", self.state.step, text=text)
        if self.progress:
            self.progress.event(text)

    def not_finite(self, batch: Batch) -> UserError:
        """The error for the batch of the current step: is it the input or the loss?"""
        rows, start = self.batches.rows(self.state.step), self.batches.start
        noun = self.batches.samples.noun
        flags = torch.zeros(len(rows), device=self.stepper.device)
        flags[start : start + len(batch)] = (~finite(batch)).to(flags)
        bad = rows[(mean_over_processes(flags) > 0).cpu()]
        if len(bad):
            what, advice = "the input is not finite", f"mend or remove these {noun}"
        else:
            bad, what = rows, "the loss is not finite although its input is"
            advice = "lower train.lr, lengthen train.warmup or set train.clip"
        shown = ", ".join(map(str, bad[:8].tolist())) + (f", ... ({len(bad)})" if len(bad) > 8 else "")
        return UserError(f"step {self.state.step}, {noun} {shown}: {what}: {advice}; {self.kept()}")

    def kept(self) -> str:
        """Where the run could be taken up again."""
        newest = self.run.checkpoints.newest() if self.run else None
        return f"the last good checkpoint is {newest}" if newest else "there is no checkpoint"
