"""World models: their six choices, and how episodes are opened, fitted and held out."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar, Literal, Self

from pydantic import model_validator
from torch import Tensor

from openjepa.common.rng import Rng
from openjepa.config import Config
from openjepa.energies import Energy
from openjepa.errors import UserError
from openjepa.guards import Guard
from openjepa.hiding.future import Future
from openjepa.jepa import JEPA, Pair, Parts
from openjepa.nets.backbones import Backbone
from openjepa.nets.dynamics.base import Dynamics
from openjepa.nets.dynamics.union import WorldPredictor
from openjepa.nets.frames import FrameNet, frame_encoder
from openjepa.nets.frozen import FrozenNet
from openjepa.nets.heads import Head
from openjepa.nets.unused import unused
from openjepa.recipes.base import Recipe
from openjepa.signals.frames import FrameSignal, Window
from openjepa.targets import Target, require_levels
from openjepa.world_models.conditions import Actions, WorldCondition
from openjepa.world_models.frames import EpisodeFrames
from openjepa.world_models.model import PredictionHead, StateLayout, WorldJEPA
from openjepa.world_models.monitor import WorldMonitor
from openjepa.world_models.terms import Terms, TermsOf
from openjepa.world_models.windows import EpisodeWindows


class DataNames(Config):
    """Names of the data, where they are not plain or there are several: paths within an episode, or columns."""

    frames: str | None = None
    """Pictures that do not look like any; a camera is named by `signal.camera`."""
    actions: str | None = None
    state: str | None = None
    lengths: str | None = None
    """Dataset with the steps of each episode, in flat HDF5 files."""
    offsets: str | None = None
    """Dataset with each episode's first row, in flat HDF5 files."""


Over = Literal["first", "steps", "window"]


class WorldRecipe(Recipe):
    """Config of a world model's recipe: the six choices, the sizes, the training.

    What the episodes decide is filled in when they are opened.
    """

    data: str = ""
    """A folder of episodes, or an HDF5 file (see docs/acting.md)."""
    names: DataNames = DataNames()
    signal: FrameSignal = FrameSignal()
    hiding: Future
    condition: WorldCondition = Actions()
    encoder: FrameNet
    head: Head
    predictor: WorldPredictor
    target: Target
    energy: Energy
    guard: Guard
    guard_over: Over = "steps"
    """The guard's set of samples: the states of a time step, one set a step or the first alone; or
    those of all steps together."""
    terms: Terms = Terms()

    plans: ClassVar[dict[str, dict[str, str]]] = {}
    """By preset: options of `openjepa plan` with which it was measured, and which are its defaults."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.encoder.kind == "frozen" and self.target.kind != "shared":
            raise ValueError("an encoder that is never trained is its own target: use target shared")
        if self.terms.motion and self.hiding.frames < 3:
            raise ValueError("terms.motion needs windows of at least three frames: raise hiding.frames")
        if self.terms.inverse and not self.condition.takes_actions:
            raise ValueError(
                "the predictor is not given the actions, so nothing may be learned from them: set terms.inverse to 0"
            )
        return self

    @property
    def window(self) -> int:
        """States in a window to train on."""
        return self.hiding.frames

    def open(self, data: Any, adapt: bool) -> "EpisodeWindows":
        """Windows of episodes, given as a path, as `Episodes` or opened already; frames of the config's size."""
        from openjepa.worlds.episodes import Episodes
        from openjepa.worlds.reading import open_episodes

        if isinstance(data, EpisodeWindows):
            return data
        if not data and not isinstance(data, Episodes):
            raise UserError(
                f"{self.recipe} learns from episodes: name them with --data, or collect some: "
                "openjepa collect two-rooms --out episodes"
            )
        if isinstance(data, Episodes):
            episodes = data
        else:
            names = self.names.model_dump(exclude_none=True)
            asked: dict[str, Any] = {
                name: getattr(self.signal, name) for name in ("camera", "camera_as", "white")
            }
            episodes = open_episodes(data, names=names, size=self.signal.size, **asked)
        return EpisodeWindows(episodes, self.window + self.signal.stack - 1, self.signal.block)

    def samples(self, data: Any = "", split: Literal["all", "train", "test"] = "all") -> EpisodeFrames:
        """Single frames of episodes: of all, of those that are trained on, or of those that are held out.

        Raises:
            UserError: see `open`; or the episodes have other frames or actions than the model was trained on.
        """
        opened = self.open(data or self.data, adapt=False)
        self.adapt(opened)
        chosen = None if split == "all" else opened.split()[int(split == "test")].numpy()
        episodes = opened.episodes if chosen is None else opened.episodes.subset(chosen)
        return EpisodeFrames(episodes, self.signal)

    def adapt(self, samples: "EpisodeWindows") -> Self:
        """Frames' shape, names, the space of actions and their statistics; a config that has them must fit."""
        self.condition.check(samples.episodes)
        fitted, names = samples.fit(self.signal), DataNames.parse(samples.episodes.names)
        if self.condition.count or self.condition.low:
            for name in ("size", "channels", "action_dim"):
                has, given = getattr(self.signal, name), getattr(fitted, name)
                if has != given:
                    raise UserError(
                        f"{samples.name} has {name} {given}, the config's signal.{name} is {has}: give the episodes "
                        "that it was made for"
                    )
            return self.model_copy(update={"names": names})
        space = samples.episodes.actions
        known = (
            {"count": space}
            if isinstance(space, int)
            else {"low": space.low.tolist(), "high": space.high.tolist()}
        )
        condition = self.condition.model_validate(self.condition.model_dump() | known)
        changes: dict[str, Any] = {
            "names": names,
            "signal": fitted,
            "condition": condition.fitted(samples.trained),
        }
        if isinstance(self.encoder, FrozenNet):
            encoder = self.encoder.known()
            scale = encoder.scale(fitted.channels)
            changes |= {"encoder": encoder, "signal": fitted.model_copy(update=scale)}
        return self.model_copy(update=changes)

    def adapted(self, before: Any) -> str:
        """Which cameras go together and how, and the range of frames of floating numbers."""
        return self.signal.changed(before.signal)

    def hold_out(self, samples: "EpisodeWindows") -> tuple[Tensor, Window]:
        """Whole episodes are held out, never windows: one in fifty, at least 4, at most 64."""
        self.require_room(samples.held_out, samples)
        return samples.hold_out()

    def monitor(self, held_out: Window) -> WorldMonitor:
        return self.condition.monitor(held_out)

    def fill(self, model: JEPA) -> None:
        if isinstance(self.encoder, FrozenNet):
            frozen = next(part for part in model.encoder.modules() if isinstance(part, Backbone))
            self.encoder.fill(frozen)

    def build(self) -> WorldJEPA:
        """Raises UserError for networks that do not fit one another or the windows."""
        encoder = self.condition.encoder(frame_encoder(self.encoder, self.signal.seen), self.signal)
        width, head = self.head.out(encoder.width), self.head.build(encoder.width)
        require_levels(self.target, width)
        projected = self.head.kind != "none"
        tokens = (1, 1) if projected else encoder.grid
        grid = None if tokens == (1, 1) else tokens
        layout = StateLayout(tokens, width, maps=self.predictor.kind == "maps" and grid is not None)

        def prediction_head() -> PredictionHead:
            return PredictionHead(layout, self.head.build(width) if projected else None, encoder.finish)

        predictor = self.condition.dynamics(self.predictor, width, self.signal, grid, prediction_head)
        _check_history(self, predictor)
        parts = Parts(
            signal=self.signal,
            hiding=self.hiding.build(self.signal),
            encoder=encoder,
            head=head,
            predictor=predictor,
            target=self.target.build(),
            energy=self.energy,
            guard=self.guard,
            guard_on=guarded_states(self.hiding.frames, self.guard_over),
            unused=partial(unused, hidden=False),
        )
        terms = self.terms.build(layout.shape, self.signal.action_width)
        return self.assemble(parts, layout, terms)

    def assemble(self, parts: Parts, layout: StateLayout, terms: TermsOf) -> WorldJEPA:
        """The model of all its parts."""
        return self.condition.assemble(self, parts, layout, terms)


def guarded_states(
    frames: int, over: Over
) -> Callable[[Sequence[Pair], list[Tensor], list[Tensor], Rng], list[Tensor]]:
    """A function from the states of all frames, `[B * T, n, D]`, to the guard's embeddings; tokens count as samples."""

    def select(pairs: Sequence[Pair], s_x: list[Tensor], s_y: list[Tensor], rng: Rng) -> list[Tensor]:
        states = s_x[0].unflatten(0, (-1, frames))
        if over == "window":
            return [states.flatten(0, 2)]
        return [states[:, t].flatten(0, 1) for t in range(1 if over == "first" else frames)]

    return select


def _check_history(recipe: WorldRecipe, predictor: Dynamics) -> None:
    """Raises UserError for windows longer than a transformer's history; a predictor of the last state has no limit."""
    wanted = recipe.hiding.frames - 1
    short = recipe.hiding.forced and 1 < predictor.history < wanted
    if short or predictor.history < recipe.hiding.seen:
        raise UserError(
            f"the predictor looks back on {predictor.history} frames: use windows of hiding.frames "
            f"{predictor.history + 1} and hiding.seen of at most that, or raise predictor.history"
        )
