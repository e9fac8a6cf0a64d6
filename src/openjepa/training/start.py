"""From a recipe's name, or a directory, to a run."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from openjepa.errors import UserError
from openjepa.hub import store
from openjepa.jepa import JEPA
from openjepa.parallel import rank
from openjepa.recipes import Recipe, configure
from openjepa.signals.images import ImageSet, open_images
from openjepa.training.data import hold_out
from openjepa.training.distributed import barrier, process_group
from openjepa.training.loop import Progress, fit
from openjepa.training.run import Run

MEASURED = 2000
"""Images from which a channel's mean and std are measured."""


def train(
    recipe: str | Recipe,
    *,
    preset: str | None = None,
    data: Any = None,
    out: str | Path | None = None,
    options: Mapping[str, object] | None = None,
    resume: bool = False,
    progress: Progress | None = None,
) -> JEPA:
    """Train a recipe on images.

    Args:
        recipe: a name (`openjepa.recipes.registered()` lists them) or a config.
        preset: a named size; `None`: `tiny`, as on the command line.
        data: what `open_images` takes: a name, a path, an array, a pair (images, labels), a torch data set; `None`:
            what the config names.
        out: the run's directory; `None` keeps nothing on disk.
        options: dotted options on top, as on the command line: `{"train.steps": 500, "guard": "sigreg"}`.
        resume: continue the run in `out` (its config must be the same), or start it where there is none yet.
        progress: told about every step.

    Returns:
        The model, in eval mode.

    Raises:
        UserError: an unknown name, data that do not fit, a full disk, a loss that is not finite.
    """
    config = _configure(recipe, preset, options or {})
    if resume and out is None:
        raise UserError("only a run in a directory can be resumed: name it (out)")
    with process_group():
        run = Run.open(out) if out and resume and (Path(out) / store.CONFIG).is_file() else None
        adapt = not isinstance(recipe, Recipe) and "signal.channels" not in (options or {})
        if run is None and out is not None:
            return _begin(config, out, data, adapt, progress, None)[1]
        config, images = open_data(config, data, adapt)
        if run is None:
            return fit(config, images, progress=progress)
        if config != run.config:
            raise UserError(f"{out} was started with other options: give the same, or name another directory")
        return _continue(run, images, progress)[1]


def _configure(recipe: str | Recipe, preset: str | None, options: Mapping[str, object]) -> Recipe:
    changes = {key: value if isinstance(value, str) else json.dumps(value) for key, value in options.items()}
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
    progress: Progress | None = None,
    command: str | None = None,
) -> Run:
    """Train in a new directory; what `openjepa train` does.

    Args:
        config: the recipe.
        out: the run's directory.
        data: images; `None`: what the config names.
        adapt: take the number of channels from the data; False: convert the data to the config's.
        progress: told about every step.
        command: what to write down as the command that was run.
    """
    with process_group():
        return _begin(config, out, data, adapt, progress, command)[0]


def resume(path: str | Path, *, data: Any = None, progress: Progress | None = None) -> Run:
    """Continue the run in `path` to its end; `data` as at its start, needed where no name or path was given."""
    with process_group():
        run = Run.open(path)
        _, images = open_data(run.config, data, adapt=False)
        return _continue(run, images, progress)[0]


def load(path: str | Path) -> JEPA:
    """The model of a run's directory (of an unfinished run: of its latest checkpoint) or an exported one; eval mode.

    Raises:
        UserError: neither lies there, it is truncated, or it is pickled (which is never opened).
    """
    path = Path(path)
    if path.is_file():
        store.refuse_pickle(path)
        raise UserError(f"{path} is a file: give the directory of a run or of an exported model")
    for directory in (path / "model", path):
        if (directory / store.WEIGHTS).exists():
            return store.load_model(directory)
    if not (path / store.CONFIG).exists():
        store.refuse_pickle(path / store.WEIGHTS)
        raise UserError(
            f"{path} holds neither a run nor an exported model: give a directory that `train` has written"
        )
    newest = Run.open(path).checkpoints.newest()
    if newest is None:
        raise UserError(
            f"{path} holds no model yet: its run was interrupted at the start; continue it with --resume"
        )
    model = store.rebuild(store.read_config(path / store.CONFIG))
    store.load_weights(model, newest / store.WEIGHTS)
    return model.eval()


def open_data(config: Recipe, data: Any, adapt: bool) -> tuple[Recipe, ImageSet]:
    """The images, at the config's size, and the config with the data's name and (if `adapt`) channels.

    Where the channels change, the mean and std of each are measured on the images that are trained on.
    """
    name = str(data) if isinstance(data, str | Path) else None
    source = config.data if data is None else data
    if rank() > 0:
        barrier()  # the first process downloads and unpacks, the others find it done
    images = _open(source, config, None if adapt else config.signal.channels)
    if rank() == 0:
        barrier()
    named: dict[str, Any] = config.model_dump(mode="json") | {
        "data": name or (config.data if data is None else images.name)
    }
    if images.shape[0] != config.signal.channels:
        mean, std = channel_statistics(images)
        named["signal"] |= {"channels": images.shape[0], "mean": mean, "std": std}
    return type(config).parse(named), images


def _open(data: Any, config: Recipe, channels: int | None) -> ImageSet:
    if isinstance(data, ImageSet):
        return data
    return open_images(data, size=config.signal.size, channels=channels)


def channel_statistics(images: ImageSet) -> tuple[list[float], list[float]]:
    """Mean and std of each channel, in 0..1, of up to 2,000 of the images that are trained on."""
    rows, _ = hold_out(images)
    some = rows[torch.linspace(0, len(rows) - 1, min(MEASURED, len(rows))).long()]
    pixels = images.read(some).transpose(0, 1).flatten(1).double() / 255
    mean, std = pixels.mean(1), pixels.std(1).clamp(min=0.01)
    return [round(v, 4) for v in mean.tolist()], [round(v, 4) for v in std.tolist()]


def _begin(
    config: Recipe, out: str | Path, data: Any, adapt: bool, progress: Progress | None, command: str | None
) -> tuple[Run, JEPA]:
    wanted = config.signal
    config, images = open_data(config, data, adapt)
    run = Run.create(out, config, images, command)
    barrier()
    if config.signal != wanted:
        signal = config.signal
        text = (
            f"the data have {signal.channels} channels, not {wanted.channels}: "
            f"normalising with their mean {list(signal.mean)} and std {list(signal.std)}"
        )
        run.log("event", 0, text=text)
        if progress and run.writes:
            progress.event(text)
    try:
        return run, fit(config, images, run=run, progress=progress)
    except UserError:
        run.discard_unbegun()
        raise


def _continue(run: Run, images: ImageSet, progress: Progress | None) -> tuple[Run, JEPA]:
    run.check_data(images)
    begun = run.checkpoints.newest() is not None  # else it was killed before its first checkpoint
    if not begun:
        run.rewind(0)
    return run, fit(run.config, images, run=run, resume=begun, progress=progress)
