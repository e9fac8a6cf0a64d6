"""World models: their six choices, and how episodes are opened, fitted and held out."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Self

import torch
from pydantic import model_validator
from torch import Tensor

from openjepa.config import Config
from openjepa.energies import Energy
from openjepa.errors import UserError
from openjepa.guards import Guard
from openjepa.health.world_monitor import WorldMonitor
from openjepa.hiding.future import Future
from openjepa.jepa import JEPA, Parts
from openjepa.nets.dynamics import Dynamics
from openjepa.nets.frames import FrameNet, frame_encoder
from openjepa.nets.frozen import Backbone, FrozenNet
from openjepa.nets.heads import Head
from openjepa.nets.unused import unused
from openjepa.nets.world import WorldPredictor
from openjepa.recipes.base import Recipe
from openjepa.recipes.conditions import Actions, Condition
from openjepa.rng import Rng
from openjepa.samples import HELD_OUT_SHARE, LEAST_HELD_OUT
from openjepa.signals.frames import FrameSignal, Window
from openjepa.targets import Target
from openjepa.terms import Terms, TermsOf
from openjepa.world_model import Ending, Form, WorldJEPA

if TYPE_CHECKING:
    from openjepa.worlds.episodes import Episodes

LEAST_EPISODES, MOST_EPISODES = 4, 64
"""Episodes held out."""
HELD_OUT_WINDOWS, HELD_OUT_FRAMES = 256, 1024
"""Held-out windows, and frames of them, that health is measured on; not more, since it looks at all at once."""


class Names(Config):
    """What the data call things, where that is not plain or there are several: paths within an episode, or columns."""

    frames: str | None = None
    actions: str | None = None
    state: str | None = None
    lengths: str | None = None
    """Of flat HDF5 files: steps of each episode."""
    offsets: str | None = None
    """Of flat HDF5 files: each episode's first row."""


Over = Literal["first", "steps", "window"]


class WorldRecipe(Recipe):
    """The six choices, the sizes, the training; what the episodes decide is filled in when they are opened."""

    data: str = ""
    """A folder of episodes, or an HDF5 file."""
    names: Names = Names()
    signal: FrameSignal = FrameSignal()
    hiding: Future
    condition: Condition = Actions()
    encoder: FrameNet
    head: Head
    predictor: WorldPredictor
    target: Target
    energy: Energy
    guard: Guard
    guard_over: Over = "steps"
    """What the guard takes for one set of samples: the states of a time step, one set a step or the first alone; or
    those of all steps together."""
    terms: Terms = Terms()

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.encoder.kind == "frozen" and self.target.kind != "shared":
            raise ValueError("an encoder that is never trained is its own target: use target shared")
        if self.terms.motion and self.hiding.frames < 3:
            raise ValueError("terms.motion needs windows of at least three frames: raise hiding.frames")
        if self.terms.inverse and not self.condition.told:
            raise ValueError(
                "the actions are not told, so nothing may be learned from them: set terms.inverse to 0"
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
            episodes = open_episodes(data, names=names, size=self.signal.size)
        return EpisodeWindows(episodes, self.window + self.signal.stack - 1, self.signal.block)

    def adapt(self, samples: "EpisodeWindows") -> Self:
        """Frames' shape, names, the space of actions and their statistics; a config that has them must fit."""
        fitted, names = samples.fit(self.signal), Names.parse(samples.episodes.names)
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
        own = self.head.kind != "none"
        places = (1, 1) if own else encoder.places
        grid = None if places == (1, 1) else places
        form = Form(places, width, maps=self.predictor.kind == "maps" and grid is not None)

        def ending() -> Ending:
            return Ending(form, self.head.build(width) if own else None, encoder.finish)

        predictor = self.condition.dynamics(self.predictor, width, self.signal, grid, ending)
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
        terms = self.terms.build(form.shape, self.signal.action_width)
        return self.assemble(parts, form, terms)

    def assemble(self, parts: Parts, form: Form, terms: TermsOf) -> WorldJEPA:
        """The model of all its parts."""
        return self.condition.assemble(self, parts, form, terms)


def guarded_states(frames: int, over: Over) -> Callable[[list[Tensor], Tensor, Rng], list[Tensor]]:
    """From the states of all frames, `[B * T, n, D]`, to the guard's embeddings; places count as samples."""

    def select(s_x: list[Tensor], s_y: Tensor, rng: Rng) -> list[Tensor]:
        states = s_x[0].unflatten(0, (-1, frames))
        if over == "window":
            return [states.flatten(0, 2)]
        return [states[:, t].flatten(0, 1) for t in range(1 if over == "first" else frames)]

    return select


class EpisodeWindows:
    """Windows of `frames` frames, `block` environment steps apart, and the episodes that they are of.

    Raises:
        UserError: no episode is long enough.
    """

    noun = "windows"

    def __init__(self, episodes: "Episodes", frames: int, block: int) -> None:
        self.episodes, self.windows = episodes, episodes.windows(frames, block)
        self.name, self.in_memory = episodes.name, episodes.in_memory

    def __len__(self) -> int:
        return len(self.windows)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a window: frames, channels, rows, columns."""
        return self.windows.shape

    @property
    def held_out(self) -> int:
        """How many windows health is measured on, at most."""
        return min(HELD_OUT_WINDOWS, max(LEAST_HELD_OUT, HELD_OUT_FRAMES // self.windows.steps))

    def read(self, indices: Any) -> Window:
        return self.windows.read(indices)

    def fit(self, signal: FrameSignal) -> FrameSignal:
        """The signal with the frames' shape and the statistics of the actions that are trained on."""
        kept: dict[str, Any] = {"stack": signal.stack, "told": signal.told}
        if signal.channels == self.windows.frame[0]:
            kept |= {"mean": signal.mean, "std": signal.std}
        return self.windows.signal(**self.trained.action_scale(), **kept)

    @property
    def trained(self) -> "Episodes":
        """The episodes to train on."""
        return self.episodes.subset(self.split()[0].tolist())

    def split(self) -> tuple[Tensor, Tensor]:
        """Numbers of the episodes to train on and of those held out, the same ones whatever the run's seed.

        Raises:
            UserError: fewer than two episodes.
        """
        total = len(self.episodes)
        if total < 2:
            raise UserError(f"{self.name} has {total} episode: give at least two, of which one is held out")
        count = min(max(LEAST_EPISODES, round(HELD_OUT_SHARE * total)), MOST_EPISODES, total // 2)
        order = torch.randperm(total, generator=torch.Generator().manual_seed(0))
        return order[count:].sort().values, order[:count].sort().values

    def hold_out(self) -> tuple[Tensor, Window]:
        """Windows to train on, ascending, and some of other episodes, mixed: up to 256, of up to 1,024 frames.

        Raises:
            UserError: too few held-out windows to measure health on.
        """
        _, held = self.split()
        out = torch.isin(torch.from_numpy(self.windows.episode), held)
        rows, mixed = (~out).nonzero()[:, 0], out.nonzero()[:, 0]
        if len(mixed) < LEAST_HELD_OUT:
            raise UserError(
                f"{self.name}: its {len(held)} held-out episodes give {len(mixed)} windows, health needs "
                f"{LEAST_HELD_OUT}: give more or longer episodes"
            )
        order = torch.randperm(len(mixed), generator=torch.Generator().manual_seed(0))
        return rows, self.read(mixed[order[: self.held_out]])

    def describe(self) -> dict[str, Any]:
        """As `Samples` asks; `about` says how the episodes were recorded."""
        episodes, windows = self.episodes, self.windows
        return {
            "name": self.name,
            self.noun: len(self),
            "episodes": len(episodes),
            "frames": windows.steps,
            "gaps": windows.gaps,
            "shape": list(episodes.frame),
            "variables": list(episodes.variables),
            "fingerprint": episodes.fingerprint,
            "contents": episodes.contents,
            "skipped": [[one.name, one.reason] for one in (*episodes.skipped, *windows.skipped)],
            "about": dict(episodes.about),
        }


def _check_history(recipe: WorldRecipe, predictor: Dynamics) -> None:
    """A transformer has no place for more frames than its history; what only knows the last state has no limit."""
    wanted = recipe.hiding.frames - 1
    short = recipe.hiding.forced and 1 < predictor.history < wanted
    if short or predictor.history < recipe.hiding.seen:
        raise UserError(
            f"the predictor looks back on {predictor.history} frames: use windows of hiding.frames "
            f"{predictor.history + 1} and hiding.seen of at most that, or raise predictor.history"
        )
