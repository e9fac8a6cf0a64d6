"""From a recipe's name, or a directory, to a run."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from openjepa.common import files
from openjepa.common.distributed import rank
from openjepa.common.files import step_of
from openjepa.common.lock import Lock, sole_writer
from openjepa.config import as_text
from openjepa.errors import UserError
from openjepa.jepa import JEPA
from openjepa.recipes import Recipe, Training, configure
from openjepa.signals.base import Samples
from openjepa.training.distributed import barrier, process_group
from openjepa.training.fastest import as_chosen, chosen, way
from openjepa.training.loop import RunProgress, fit
from openjepa.training.optim import learning_rate
from openjepa.training.progress import shown
from openjepa.training.run import Run
from openjepa.training.stopping import Stopped


def train(
    recipe: str | Recipe,
    *,
    preset: str | None = None,
    data: Any = None,
    out: str | Path | None = None,
    options: Mapping[str, object] | None = None,
    init: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: RunProgress | bool | None = True,
) -> JEPA:
    """Train a recipe.

    Args:
        recipe: a name (`openjepa.recipes.registered()` lists them) or a config.
        preset: a named size; `None`: `tiny`, as on the command line.
        data: what the signal opens: a name, a path, an array, a pair (images, labels), a torch data set; for a world
            model episodes, or a path to them; `None`: what the config names.
        out: the run's directory; `None` keeps nothing on disk.
        options: dotted options on top, as on the command line: `{"train.steps": 500, "guard": "sigreg"}`.
        init: trained weights to start from: a run, an exported model, or `hub:owner/name`; short for the option.
        resume: continue the run in `out` (its config must be the same), or start it where there is none yet.
        overwrite: lose the run that lies in `out`, if one does; anything else that lies there is never removed.
        progress: told about every step; True: shown on standard error, in a notebook below the cell; False: nothing.

    Returns:
        The model, in eval mode; its `verdict` is the run's.

    Raises:
        UserError: an unknown name, data that do not fit, a full disk, a loss that is not finite, a directory that
            another process is writing to.
        KeyboardInterrupt: see `Stopped`; the step that was reached is saved.

    Examples:
        >>> import numpy as np, openjepa
        >>> images = np.random.default_rng(0).integers(0, 256, (64, 28, 28), dtype=np.uint8)
        >>> small = {"train.steps": 2, "train.batch_size": 16, "encoder.depth": 1}
        >>> model = openjepa.train("i-jepa", preset="tiny-vit", data=images, options=small, progress=False)
        >>> tuple(model.embed(images[:4, None]).shape)
        (4, 96)
    """
    options = dict(options or {}) | ({} if init is None else {"init": str(init)})
    config = _configure(recipe, preset, options)
    if resume and out is None:
        raise UserError("only a run in a directory can be resumed: name it (out)")
    if resume and overwrite:
        raise UserError("a run is continued or overwritten: give either resume or overwrite")
    adapt = not isinstance(recipe, Recipe) and "signal.channels" not in options
    told = shown() if progress is True else progress or None
    with process_group():
        if out is None:
            config, samples = open_data(config, data, adapt)
            notes = [getattr(samples, "remark", "")]
            model = fit(chosen(config, samples)[0], samples, progress=told, notes=notes)
        elif resume and (Path(out) / files.CONFIG).is_file():
            model = _continue(Run.open(out), data, told, config, adapt)[1]
        else:
            model = _begin(config, out, data, adapt, told, None, overwrite)[1]
    verdict = model.verdict
    if progress is True and told and verdict and rank() == 0:
        told.event(f"{out or 'the run'}: {verdict.in_a_line()}")
    return model


def _configure(recipe: str | Recipe, preset: str | None, options: Mapping[str, object]) -> Recipe:
    changes = {key: as_text(value) for key, value in options.items()}
    if isinstance(recipe, str):
        return configure(recipe, preset or "tiny", changes)
    if preset is not None:
        raise UserError(
            f"preset {preset!r}: a config has its sizes already; give it alone, or a recipe's name"
        )
    return configure(recipe.recipe, None, changes, recipe.model_dump(mode="json"))


def start(
    config: Recipe,
    out: str | Path,
    *,
    data: Any = None,
    adapt: bool = True,
    overwrite: bool = False,
    progress: RunProgress | None = None,
    command: str | None = None,
) -> Run:
    """Train in a new directory; what `openjepa train` does.

    Args:
        config: the recipe.
        out: the run's directory.
        data: as `train`'s.
        adapt: take the number of channels from the data; False: convert them to the config's.
        overwrite: as `train`'s.
        progress: told about every step.
        command: what to write down as the command that was run.
    """
    with process_group():
        return _begin(config, out, data, adapt, progress, command, overwrite)[0]


def has_ended(path: str | Path) -> bool:
    """Whether a run in a directory has been trained to its end."""
    return (Path(path) / files.MODEL / files.WEIGHTS).is_file()


def carry_on(
    config: Recipe,
    out: str | Path,
    *,
    adapt: bool = True,
    progress: RunProgress | None = None,
    command: str | None = None,
) -> None:
    """Train in a directory, or go on with the run there, which must have the same config.

    Raises:
        InUse: another process trains there.
        UserError: the run there has other options; and see `train`.
    """
    with process_group():
        if (Path(out) / files.CONFIG).is_file():
            _continue(Run.open(out), None, progress, config, adapt)
        else:
            _begin(config, out, None, adapt, progress, command)


def resume(
    path: str | Path, *, data: Any = None, steps: int | None = None, progress: RunProgress | None = None
) -> Run:
    """Continue the run in `path` to its end.

    Args:
        path: the run's directory.
        data: as at its start, needed where no name or path was given.
        steps: another length of the whole run, more than are done. From there on its schedules are those of a run of
            this length: with a cosine, the learning rate rises to what such a run has at this step.
        progress: told about every step.

    Raises:
        UserError: other data, no checkpoint that can be read, or as many steps are done already.
    """
    with process_group():
        return _continue(Run.open(path), data, progress, steps=steps)[0]


def open_data(config: Recipe, data: Any, adapt: bool) -> tuple[Recipe, Samples]:
    """The samples, and the config with the data's name and what `adapt` takes from them."""
    name = str(data) if isinstance(data, str | Path) else None
    source = config.data if data is None else data
    if rank() > 0:
        barrier()  # the first process downloads and unpacks, the others find it done
    samples = config.open(source, adapt)
    if rank() == 0:
        barrier()
    named = config.model_copy(update={"data": name or (config.data if data is None else samples.name)})
    return named.adapt(samples), samples


def _begin(
    config: Recipe,
    out: str | Path,
    data: Any,
    adapt: bool,
    progress: RunProgress | None,
    command: str | None,
    overwrite: bool = False,
) -> tuple[Run, JEPA]:
    with _alone(out) as lock:
        wanted = config
        config, samples = open_data(config, data, adapt)
        adapted = config.adapted(wanted)
        config, fastest = chosen(config, samples)
        run = Run.create(out, config, samples, command, lock, overwrite)
        barrier()
        try:
            notes = [adapted, fastest, getattr(samples, "remark", "")]
            return run, fit(config, samples, run=run, progress=progress, notes=notes)
        except (UserError, OSError):  # such as a name that no file system takes
            run.discard_unbegun()
            raise


def _continue(
    run: Run,
    data: Any,
    progress: RunProgress | None,
    wanted: Recipe | None = None,
    adapt: bool = False,
    steps: int | None = None,
) -> tuple[Run, JEPA]:
    """Go on with a run; `wanted` is refused where the run has another config; `steps` as in `resume`."""
    with _alone(run.path) as run.lock:
        config, samples = open_data(wanted or run.config, data, adapt)
        run.check_data(samples)  # first: the config takes some of its numbers from them
        if wanted and as_chosen(config, way(run.config)) != run.config:
            raise UserError(
                f"{run.path} was started with other options: give the same, or name another directory"
            )
        before = run.config.train
        if steps is not None:
            run = run.lengthened(steps)
            barrier()
        begun = run.checkpoints.newest() is not None  # else it was killed before its first checkpoint
        if begun:
            run.take_up()
        else:
            run.restart()
        notes = [_lengthened(run, before)] if steps not in (None, before.steps) else []
        try:
            return run, fit(run.config, samples, run=run, resume=begun, progress=progress, notes=notes)
        except Stopped as stopped:
            if isinstance(data, str | Path) and str(data) != run.config.data:
                stopped.data = str(data)
            raise


def _lengthened(run: Run, before: Training) -> str:
    """What another length changes, in a sentence."""
    newest, now = run.checkpoints.newest(), run.config.train
    assert newest is not None
    done = step_of(newest)
    rates = learning_rate(before, max(0, done - 1)), learning_rate(now, done)
    return (
        f"{now.steps} steps in all, not {before.steps}: from step {done} on the schedules are those of a run of this "
        f"length, and the learning rate goes from {rates[0]:.3g} to {rates[1]:.3g}"
    )


def _alone(path: str | Path) -> AbstractContextManager[Lock | None]:
    """The lock of a run's directory, for the process that writes."""
    return sole_writer(path) if rank() == 0 else nullcontext()
