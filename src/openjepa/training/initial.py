"""Trained weights that a run starts from (`Recipe.init`): which of them are taken, and which are not.

A network (encoder, head, predictor, ...) is taken whole, by the names and shapes of its tensors, or stays as it was
drawn. The encoder must fit. Tables of positions are made anew for another grid or other electrodes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from openjepa.common import files
from openjepa.common.hub import fetched as fetched_from_hub
from openjepa.common.hub import on_hub, repository
from openjepa.common.renamed import current
from openjepa.errors import UserError
from openjepa.hub import formats, licences, store
from openjepa.jepa import JEPA
from openjepa.nets.channels import ChannelPositions
from openjepa.nets.positions import LearnedPositions
from openjepa.recipes import Recipe
from openjepa.targets import AveragedTrunk
from openjepa.training.loading import load
from openjepa.training.run import Run

ENCODER, TARGET = "encoder", "target"


def given_start(model: JEPA, config: Recipe, run: Run | None) -> str:
    """Give a model that was built the weights that its run starts from, and say which they were; empty for none.

    The run keeps a copy of them, so that it can be continued where the source has gone.

    Raises:
        UserError: see `begin_from`; or the copy cannot be written.
    """
    if not config.init:
        return ""
    if run is not None and (run.start / files.WEIGHTS).exists():
        store.load_weights(model, run.start / files.WEIGHTS)
        return ""
    start = begin_from(model, config.init)
    if run is not None:
        run.keep_start(model, {"source": start.source, "taken": start.taken, "licence": start.licence})
    return str(start)


@dataclass(frozen=True)
class Start:
    """What a model was given of a source.

    Attributes:
        source: as it was named.
        taken: how many tensors of each network.
        kept: networks that stay as they were drawn, and why.
        remade: tables of positions that were made anew.
        licence: of the source's weights; `None`: not known.
    """

    source: str
    taken: dict[str, int]
    kept: dict[str, str]
    remade: tuple[str, ...]
    licence: str | None

    def __str__(self) -> str:
        taken = ", ".join(f"{name} ({count} tensors)" for name, count in self.taken.items())
        said = [f"started from {self.source}: {taken}"]
        said += [f"{name} is as it was drawn: {why}" for name, why in self.kept.items()]
        said += [f"{', '.join(self.remade)} made anew for the other grid"] if self.remade else []
        return "; ".join(said)


def begin_from(model: JEPA, source: str) -> Start:
    """Give a model that was built the weights of another.

    Raises:
        UserError: the source cannot be read, or its encoder does not fit; then nothing has changed.
    """
    given = load(source)
    weights, remade = _remade(model, given)
    weights = {name: value for name, value in weights.items() if name.partition(".")[0] not in given.drawn}
    own = model.state_dict()
    parts: dict[str, dict[str, Tensor]] = {}
    for name, value in own.items():
        parts.setdefault(name.partition(".")[0], {})[name] = value
    if TARGET not in parts or _misfit(parts[TARGET], weights):
        weights = weights | _evaluated(given, weights)
    taken: dict[str, dict[str, Tensor]] = {}
    kept: dict[str, str] = {}
    for part, tensors in parts.items():
        why = _misfit(tensors, weights)
        if why and part == ENCODER:
            raise UserError(f"{source} cannot be started from: {why}: {_advice(source)}")
        if why and part != TARGET:
            kept[part] = why
        elif not why:
            taken[part] = {name: weights[name] for name in tensors}
    model.load_state_dict(
        {name: value for part in taken.values() for name, value in part.items()}, strict=False
    )
    if TARGET in parts and TARGET not in taken:
        model.target.follow(model.encoder, model.head)  # a copy of what was just taken
    names = tuple(name for name in remade if any(name in part for part in taken.values()))
    return Start(
        source, {part: len(tensors) for part, tensors in taken.items()}, kept, names, licence_of(source)
    )


def config_of(source: str) -> dict[str, Any]:
    """A source's config as plain data, for a run of its recipe and sizes. Raises UserError where it cannot be read."""
    if on_hub(source) or formats.is_foreign(source):
        return load(source).config.model_dump(mode="json") | {"data": ""}
    return current(files.read_json(files.saved_model(source)[0]))


def licence_of(source: str) -> str | None:
    """The licence of a source's weights: what its card says, or of a run that began from others, theirs."""
    if on_hub(source):
        return licences.licence_of(fetched_from_hub(source), repository(source)[0])
    folder = Path(source)
    stated = licences.licence_of(folder) or licences.licence_of(folder / files.MODEL)
    about = folder / files.ABOUT
    if stated or not about.is_file():
        return stated
    began = files.read_json(about).get("init")
    return began.get("licence") if isinstance(began, dict) else None


def _evaluated(model: Any, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The encoder whose features the source's users have, for a model that has no average of its own."""
    if model.evaluated is model.encoder:
        return {}
    averaged = "target.encoder.own." if isinstance(model.evaluated, AveragedTrunk) else "target.encoder."
    return {
        f"{ENCODER}.{name.removeprefix(averaged)}": value
        for name, value in weights.items()
        if name.startswith(averaged)
    }


def _misfit(tensors: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> str:
    """Why a network's tensors cannot be these weights; empty where they can."""
    there = [name for name in tensors if name in weights]
    if not there:
        return "the source has none"
    for name, value in tensors.items():
        if name not in weights:
            return f"the source has no {name}"
        if weights[name].shape != value.shape:
            return f"{name} has shape {list(weights[name].shape)} there and {list(value.shape)} here"
    part = next(iter(tensors)).partition(".")[0]
    more = [name for name in weights if name.partition(".")[0] == part and name not in tensors]
    return f"the source also has {more[0]}" if more else ""


def _remade(model: nn.Module, given: nn.Module) -> tuple[dict[str, Tensor], list[str]]:
    """The source's weights with tables of positions as the model has them, and which of them were made anew."""
    weights, others, remade = dict(given.state_dict()), dict(given.named_modules()), []
    for path, module in model.named_modules():
        other = others.get(path)
        if isinstance(module, LearnedPositions) and isinstance(other, LearnedPositions):
            name, table = f"{path}.position_table", other.resized(module.trained)
        elif isinstance(module, ChannelPositions) and isinstance(other, ChannelPositions):
            name, table = f"{path}.table", other.at(module.places)
        else:
            continue
        if weights[name].shape != table.shape or not bool((weights[name] == table).all()):
            weights[name] = table.detach()
            remade.append(name)
    return weights, remade


def _advice(source: str) -> str:
    if on_hub(source):
        return "leave out recipe and preset, and the sizes are the source's"
    return f"give the encoder its sizes, or leave out recipe and preset to take them from {source}"
