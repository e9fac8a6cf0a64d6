"""Trained models, by where they lie."""

from pathlib import Path

from openjepa.common import files
from openjepa.common.files import step_of
from openjepa.common.hub import on_hub
from openjepa.errors import UserError, warn
from openjepa.hub import formats, store
from openjepa.jepa import JEPA
from openjepa.recipes import own
from openjepa.training.run import Run


def load(path: str | Path) -> JEPA:
    """The model of a run's directory (of an unfinished run: of its latest checkpoint) or an exported one; eval mode.

    Args:
        path: the directory, one in the layout of the Hub (see `openjepa.hub.formats`), or `hub:owner/name`.

    Raises:
        UserError: none of these lies there, it is truncated, or it is pickled (which is never opened).
    """
    if on_hub(path) or formats.is_foreign(path):
        return formats.read(path)
    own.check_run(path)
    config, weights = files.saved_model(path)
    if weights and weights[0].parent == config.parent:
        return store.load_model(config.parent)
    run = Run.open(path)
    if run.checkpoints.newest() is None:
        raise UserError(
            f"{path} holds no model yet: its run was interrupted at the start; continue it with --resume"
        )
    model = store.rebuild(run.config)
    found, failures = run.checkpoints.load_model(model)
    for failure in failures:
        warn(f"{failure}; falling back to {found}")
    if step_of(found) < run.config.train.steps:
        warn(
            f"{path} has not ended: this is its model after {step_of(found)} of {run.config.train.steps} steps"
        )
    return model.eval()
