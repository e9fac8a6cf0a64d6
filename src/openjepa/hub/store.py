"""Models on disk: safetensors and JSON, complete or absent, never anything that could run code."""

from collections.abc import Mapping
from pathlib import Path

from openjepa.common.files import (
    CONFIG,
    WEIGHTS,
    complete_or_absent,
    fill,
    read_json,
    read_with_recipe,
    recover,
    write_json,
    write_tensors,
)
from openjepa.common.renamed import current, is_recipe
from openjepa.errors import UserError
from openjepa.hub import licences
from openjepa.jepa import JEPA
from openjepa.recipes import Recipe, build, find

MODEL_FILES = {CONFIG, WEIGHTS, licences.CARD}
"""What the folder of an exported model holds."""


def save_model(model: JEPA, directory: str | Path, texts: Mapping[str, str] | None = None) -> None:
    """Write `model.safetensors` and `config.json`; an old model there is replaced only by a complete new one.

    Args:
        texts: what is written beside them, by name.

    Raises:
        UserError: the model was not built from a recipe, or the directory cannot be written.
    """
    if not isinstance(model.config, Recipe):
        raise UserError("only a model built from a recipe can be saved, since its config rebuilds it")
    with complete_or_absent(Path(directory)) as partial:
        write_json(partial / CONFIG, model.config.model_dump(mode="json"))
        write_tensors(partial / WEIGHTS, model.state_dict(), model.config.recipe)
        for name, text in (texts or {}).items():
            (partial / name).write_text(text, encoding="utf-8")


def require_vacant(directory: str | Path) -> None:
    """Raises UserError where a folder, to which a model is to be written, holds anything but a model."""
    directory = Path(directory)
    if not directory.exists():
        return
    others = sorted({path.name for path in directory.iterdir()} - MODEL_FILES) if directory.is_dir() else [""]
    if others:
        raise UserError(
            f"{directory} holds other things than a model, such as {others[0]}: name another folder"
        )


def load_model(directory: str | Path) -> JEPA:
    """The model that `save_model` wrote, in eval mode on the CPU.

    Raises:
        UserError: something is missing, truncated, of another recipe, or holds pickled code (which is not run).
    """
    directory = Path(directory)
    recover(directory)
    model = rebuild(read_config(directory / CONFIG))
    load_weights(model, directory / WEIGHTS)
    return model.eval()


def rebuild(config: Recipe) -> JEPA:
    """The config's model, to be filled with saved weights: published ones are not fetched for it."""
    model = build(config.from_scratch())
    model.config = config
    return model


def read_config(path: str | Path) -> Recipe:
    """A saved recipe config.

    Raises:
        UserError: missing, not JSON, or not a config of a known recipe.
    """
    data = current(read_json(Path(path)))
    if not isinstance(data.get("recipe"), str):
        raise UserError(f"{path} is not a config of OpenJEPA: it names no recipe")
    try:
        return find(data["recipe"]).parse(data)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def load_weights(model: JEPA, path: Path, checksum: str | None = None) -> None:
    """Fill the model; every tensor must be there, with its shape, and no other.

    Raises:
        UserError: see `read_tensors`; or the weights belong to another recipe or config.
    """
    tensors, recipe = read_with_recipe(path, checksum)
    if not is_recipe(recipe, model.config.recipe):
        raise UserError(
            f"{path} holds a model of recipe {recipe or 'unknown'}, its config asks for {model.config.recipe}: "
            "give the directory that holds both"
        )
    fill(model, tensors, path)
