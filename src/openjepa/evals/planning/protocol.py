"""An evaluation of world models as a data object, saved as one JSON that re-runs to the same number."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

from pydantic import Field
from torch import nn

from openjepa.agent.cost import Reduce
from openjepa.agent.planners import CEM, Planner
from openjepa.common import files
from openjepa.common.distributed import exact_device
from openjepa.common.reach import read_json
from openjepa.common.renamed import PROTOCOLS, current_protocol, refuse_old
from openjepa.config import Config, override
from openjepa.errors import UserError
from openjepa.evals.planning.guides import Higher
from openjepa.training import Run, load
from openjepa.world_models.model import WorldJEPA
from openjepa.worlds import Box, World
from openjepa.worlds.opening import named, open_saved
from openjepa.worlds.registry import THIRD_PARTY, make

if TYPE_CHECKING:
    from openjepa.worlds.third_party import ThirdParty

Baseline = Literal["nothing", "random", "cloning", "expert", "oracle"]
"""Baselines beside the plans: doing nothing, a random policy, goal-conditioned behaviour cloning, the world's own
expert, and the oracle, a planner on the true simulator."""
_CONTINUOUS = {"nothing": "doing nothing", "oracle": "the oracle"}
MOST = 1_000_000
"""Episodes of a model, or steps of an episode."""


class Trained(Config):
    """A world model."""

    run: str
    """Directory that `openjepa train` has written."""
    weights: str = ""
    """SHA-256 of its weights (see `fingerprint`); empty: whatever is there."""


class GoalCost(Config):
    """The cost that a plan minimises, in latent space."""

    goal: float = Field(1.0, gt=0)
    """Weight of the distance to the goal."""
    effort: float = Field(0.0, ge=0)
    """Weight of the actions' mean square, in half ranges of their bounds."""
    prediction_error: float = Field(0.0, ge=0)
    """Weight of imagined steps like those whose prediction failed in this episode (see `agent.prediction_error`), in
    units of `distance`. A typical distance between two states of the world is a good one."""
    prediction_error_width: float = Field(0.5, gt=0)
    """Range of a remembered prediction error, in lengths of the step: less finds a door beside which it ran into the
    wall, more gives up a wall after fewer tries."""
    distance: Literal["l2", "l1", "cosine"] = "l2"
    reduce: Reduce = "sum"
    """Whether every imagined state counts (PLDM, EB-JEPA), or the last alone (LeWM)."""


class Cloning(Config):
    """Goal-conditioned behaviour cloning: the action taken, from the state and a later state of the same episode."""

    frames: int = Field(20_000, ge=1, le=100_000_000)
    """The most frames of the run's training episodes to learn from."""
    updates: int = Field(2_000, ge=1, le=100_000_000)
    batch: int = Field(256, ge=1, le=MOST)
    lr: float = Field(1e-3, gt=0)
    hidden: int = Field(256, ge=1, le=4096)
    layers: int = Field(2, ge=0, le=16)
    """Hidden layers."""


class WorldEvaluation(Config):
    """All that the numbers of an evaluation in a world depend on.

    Every model plays other `episodes`: model i those numbered from `(first + i) * episodes` on. Start and goal are
    functions of seed and number alone.
    """

    models: tuple[Trained, ...] = Field(min_length=1)
    """Runs of one recipe, e.g. its training seeds."""
    first: int = Field(0, ge=0, le=MOST)
    """Number of the first model: that of a part of a larger evaluation (see `parts`)."""
    env: str
    """Name of the world; `gym:ID` for a Gymnasium environment."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Options of the world, as `openjepa.worlds.open_world` takes them."""
    factors: dict[str, Any] = Field(default_factory=dict)
    """Factors of variation that are fixed, by name."""
    difficulty: dict[str, Any] = Field(default_factory=dict)
    """Difficulty of the goals, by the world's names; what is not named is as the world's protocol has it."""
    steps_at_goal: int = Field(1, ge=1, le=MOST)
    """Environment steps in a row that must be spent at the goal."""
    episodes: int = Field(100, ge=1, le=MOST)
    """Episodes of each model."""
    budget: int | None = Field(None, ge=1, le=MOST)
    """Environment steps of an episode; none: the world's `max_steps`."""
    seed: int = Field(0, ge=0, le=2**63 - 1)
    """Seed of starts, goals and all other random numbers."""
    batch: int = Field(50, ge=1, le=MOST)
    """Episodes that run side by side."""
    data: str = ""
    """Episodes to imitate; empty: those that each model was trained on."""
    baselines: tuple[Baseline, ...] = ()

    def parts(self) -> list[Self]:
        """One for each model, whose rows are its part of this one's: to be played apart, and joined again."""
        return [
            self.model_copy(update={"models": (model,), "first": self.first + i})
            for i, model in enumerate(self.models)
        ]

    def numbers(self, model: int) -> list[range]:
        """Numbers of model i's episodes, as many together as run side by side."""
        begin = (self.first + model) * self.episodes
        end = begin + self.episodes
        return [range(start, min(start + self.batch, end)) for start in range(begin, end, self.batch)]

    def world(self) -> "World | ThirdParty":
        """Raises UserError for an unknown world, option, factor or difficulty, or baselines that it cannot have."""
        world = open_saved("the protocol", self.env, self.options)
        for name in self.baselines:
            if name in ("expert", "oracle") and not isinstance(world, World):
                raise UserError(
                    f"{self.env}: there is no {name} of an environment that cannot be put into a state: leave it out "
                    "of baselines"
                )
            if name in ("nothing", "oracle") and isinstance(world.actions, int):
                raise UserError(
                    f"{self.env}: {_CONTINUOUS[name]} needs continuous actions, these are discrete: "
                    f"leave {name} out of baselines"
                )
        return world

    def own_world(self) -> World | None:
        """The world where it is one of ours; `None` for a Gymnasium environment, which is not made for that."""
        return None if self.env.startswith(THIRD_PARTY) else make(self.env, **self.options)

    def load(self, world: "World | ThirdParty") -> list[WorldJEPA]:
        """The models.

        Raises:
            UserError: not a world model, other weights than the protocol's, or made for other frames or actions.
        """
        models = []
        for trained in self.models:
            model = load_world_model(trained.run)
            if trained.weights and fingerprint(model) != trained.weights:
                raise UserError(
                    f"{trained.run} holds other weights than the protocol was made with: give the same run, or make a "
                    "new protocol"
                )
            check_fit(world, model, trained.run)
            models.append(model)
        return models

    def save(self, path: str | Path) -> None:
        """Raises UserError when it cannot be written."""
        write(path, self.model_dump(mode="json"))

    @classmethod
    def read(cls, path: str | Path, env: str | None = None) -> Self:
        """A saved protocol, or that of a saved result.

        Args:
            env: the world that it must name: so the user says that a module may be imported for it.

        Raises:
            UserError: missing, not JSON, no protocol, or one for another world.
        """
        try:
            data = read_json(path)
        except UserError as error:
            raise UserError(f"{error}; a protocol is a file of `openjepa plan --out`") from None
        if not isinstance(data, dict):
            raise UserError(f"{path} is no protocol: give a file that `openjepa plan --out` has written")
        try:
            protocol = cls.parse(current_protocol(data.get("protocol", data)))
        except UserError as error:
            raise UserError(f"{path}: {error}") from None
        if env is not None and env != protocol.env:
            raise UserError(f"{path} is for the world {protocol.env!r}, not {env!r}: leave --env out")
        if env is not None:
            named(env)
        return protocol


class PlanningProtocol(WorldEvaluation):
    """Planning, in one world."""

    planner: Planner = CEM()
    cost: GoalCost = GoalCost()
    level: Literal[1, 2] = 1
    """Level of the hierarchy that acts: 1 plans for the goal, 2 sets sub-goals for it."""
    higher: Higher = Higher()
    candidates: int | None = Field(None, ge=1, le=MOST)
    """The most candidates that the model is given at a time; none: all."""
    baselines: tuple[Baseline, ...] = ("nothing", "random", "cloning", "expert", "oracle")
    cloning: Cloning = Cloning()
    oracle: CEM = CEM(horizon=8, execute=4, samples=64, iterations=3, elites=8)
    """Planner on the true simulator; its steps are the environment's, its cost the true distance."""


def protocol_for(
    runs: Sequence[str], env: str | None = None, changes: Mapping[str, str] | None = None
) -> PlanningProtocol:
    """The protocol for some runs: world, options and difficulty are those of the first run's episodes, unless others
    are named.

    The planner is the one with which the first run's preset was measured (`WorldRecipe.plans`), else CEM, five steps
    ahead. Where actions are discrete there is no oracle among the baselines and nobody who does nothing, of a Gymnasium
    environment no expert either.

    Args:
        changes: dotted options on top, as on the command line: `{"planner": "mppi", "planner.horizon": "20"}`.

    Raises:
        UserError: no run, not a world model, a world that its data do not name, an unknown option.
    """
    return for_runs(PlanningProtocol, runs, env, changes)


QUICK: Mapping[str, str] = {"episodes": "10", "baselines": "[nothing, random]"}
"""A first try: ten episodes, and beside them only what takes no time."""


def quick(changes: Mapping[str, str]) -> dict[str, str]:
    """Changes of a protocol with those of a first try below them."""
    return {**QUICK, **changes}


E = TypeVar("E", bound=WorldEvaluation)


def for_runs(kind: type[E], runs: Sequence[str], env: str | None, changes: Mapping[str, str] | None) -> E:
    """`protocol_for` of any kind."""
    refuse_old(changes or {}, PROTOCOLS)
    if env is not None:
        named(env)
    found, plans = _of_runs(runs, env)
    plain = kind.parse(found).model_dump(mode="json")
    world = open_saved(f"the data of {runs[0]}", plain["env"], plain["options"])
    if issubclass(kind, PlanningProtocol) and not isinstance(world.actions, int):
        plain = override(kind, plain, plans)
    missing = {"expert", "oracle"} if not isinstance(world, World) else set()
    missing |= {"nothing", "oracle"} if isinstance(world.actions, int) else set()
    plain["baselines"] = [name for name in plain["baselines"] if name not in missing]
    return kind.parse(override(kind, plain, changes or {}))


def _of_runs(runs: Sequence[str], env: str | None = None) -> tuple[dict[str, Any], Mapping[str, str]]:
    """Values of a `WorldEvaluation` that follow from some runs: models, and the world of the first one's episodes,
    unless another is named; drawn in the size that the first one sees. And how the first one's preset plans.

    Raises:
        UserError: no run, not a world model, a world that its data do not name.
    """
    if not runs:
        raise UserError("name at least one run of a world model, or a --protocol")
    loaded = [load_world_model(run) for run in runs]
    models = [
        {"run": str(run), "weights": fingerprint(model)} for run, model in zip(runs, loaded, strict=True)
    ]
    about = _recorded(runs[0])
    env = env or about.get("world")
    if env is None:
        raise UserError(
            f"{runs[0]} does not say in which world its episodes were recorded: name it with --env"
        )
    config = loaded[0].config
    found, size, plans = {"models": models, "env": env}, {"size": loaded[0].signal.size}, config.plans
    if env != about.get("world"):
        return found | {"options": size}, plans.get(config.preset, {})
    world = {"options": {**about.get("options", {}), **size}, "difficulty": about.get("difficulty", {})}
    return found | world, plans.get(config.preset, {})


def _recorded(run: str) -> dict[str, Any]:
    """A run's record of how its episodes were collected. Raises UserError where it is damaged."""
    data = Run.open(run).about.get("data")
    about = data.get("about", {}) if isinstance(data, dict) else None
    kinds = {"world": str, "options": dict, "difficulty": dict}
    if not isinstance(about, dict) or any(
        not isinstance(about[key], kind) for key, kind in kinds.items() if about.get(key) is not None
    ):
        raise UserError(f"{run}: its run.json does not say how its episodes were recorded: name --env")
    return {key: value for key, value in about.items() if value is not None}


def load_world_model(run: str | Path) -> WorldJEPA:
    """The model of a run, on this process's device. Raises UserError when it is not a world model."""
    model = load(run)
    if not isinstance(model, WorldJEPA):
        recipe = model.config.recipe
        raise UserError(
            f"{run} is a run of {recipe}, which is no world model: give a run of one, such as pldm or lewm"
        )
    return model.to(exact_device())


def fingerprint(model: nn.Module) -> str:
    """SHA-256 over names, shapes and values of all weights."""
    return files.digest(model.state_dict())


def check_fit(world: "World | ThirdParty", model: WorldJEPA, name: str) -> None:
    """Raises UserError where a world's frames or actions are not those that a model was trained on."""
    if tuple(model.signal.frame) != tuple(world.frame):
        raise UserError(
            f"{name} was trained on frames {list(model.signal.frame)}, {world.name} gives {list(world.frame)}: "
            "set options.size to the model's"
        )
    given, taken = world.actions, model.actions
    if isinstance(given, int) or not isinstance(taken, Box):
        if given != taken:
            raise UserError(f"{name} was trained on {_said(taken)}, {world.name} takes {_said(given)}")
        return
    if given.size != taken.size:
        raise UserError(f"{name} was trained on {_said(taken)}, {world.name} takes {_said(given)}")
    if (taken.low < given.low - 1e-5).any() or (taken.high > given.high + 1e-5).any():
        raise UserError(
            f"{name} was trained on actions in {taken.low}..{taken.high}, {world.name} takes {given.low}..{given.high}"
        )


def write(path: str | Path, data: Any) -> None:
    """JSON, whole or not at all; UserError when it cannot be written."""
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.replace_json(path, data)
    except OSError as error:
        raise UserError(f"{path} cannot be written ({files.reason(error)}): name another file") from error


def _said(actions: Any) -> str:
    return f"{actions.size} numbers an action" if isinstance(actions, Box) else f"{actions} discrete actions"
