"""Open-loop evaluation: what a world model predicts of held-out episodes, without robot or simulator.

From a recorded situation the model is given the recorded actions alone, and the states that it predicts some steps
ahead are compared with those of the frames that came. Beside it stand copying the last state, and linear regressions
from the last state (and the actions) to the later one, fitted on the episodes that the model was trained on. Where
physical variables were recorded, such as joints, they are read off predicted states, beside what linear regression
predicts from the variables themselves. The same predictions choose: given a recorded goal, which of many recorded
sequences of actions led to it?
"""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from openjepa.agent.cost import Goal
from openjepa.agent.perception import proprio_dim_of
from openjepa.errors import UserError
from openjepa.evals.features import Progress
from openjepa.evals.planning.cloning import open_windows
from openjepa.evals.regression import GroupedRidge
from openjepa.evals.world_models.open_loop_table import (
    BLIND,
    CHANGE,
    CHANGE_OTHERS,
    COPY,
    LINEAR,
    MODEL,
    OTHERS,
    READ,
    TRUE,
    VARIABLES,
    ErrorCurve,
    OpenLoopTable,
    interval,
)
from openjepa.evals.world_models.physical import KnownSituations, PhysicalVariables, physical_variables
from openjepa.evals.world_models.preferences import Costs, of_other_episodes, preferences
from openjepa.evals.world_models.situations import Situations, SituationWindows, StateComponents
from openjepa.world_models.model import WorldJEPA

LEAST_AHEAD = 5
"""Steps ahead of a model that was trained to predict fewer."""
COLUMNS = 10
"""The most numbers of steps ahead that are told."""
TOGETHER = 2**22
"""Numbers of predicted states that are held at a time."""


@torch.no_grad()
def open_loop(
    model: WorldJEPA,
    data: str = "",
    *,
    test: str = "",
    horizon: int | None = None,
    variables: Sequence[str] = (),
    goals: int = 200,
    candidates: int = 32,
    windows: int = 2000,
    seed: int = 0,
    name: str = "the model",
    progress: Progress | None = None,
) -> OpenLoopTable:
    """Predict held-out episodes, and choose among recorded actions.

    Args:
        data: the episodes that the model was trained on, to fit regressions on; empty: the run's.
        test: other episodes to predict; empty: those that are held out of `data`.
        horizon: steps of the model to look ahead; `None`: as many as it was trained for, at least 5.
        variables: physical variables to predict, by name or pattern (`right_*`); none: all that change.
        goals: how many recorded goals are chosen actions for.
        candidates: sequences of actions for each, the true one among them.
        windows: the most that are predicted; twice as many are fitted on.
        seed: of the choice of windows, and of others' actions.

    Raises:
        UserError: episodes that do not fit the model or are too short, a variable that is not recorded, or only one
            episode to predict.
    """
    samples, ahead = open_windows(model.eval(), data), horizon or max(LEAST_AHEAD, model.horizon)
    seen, held = (numbers.numpy() for numbers in samples.split())
    others = open_windows(model, test) if test else samples
    held = np.arange(len(others.episodes)) if test else held
    to_fit = SituationWindows(model, samples.episodes.subset(seen), ahead, 2 * windows, seed)
    to_predict = SituationWindows(model, others.episodes.subset(held), ahead, windows, seed)
    if to_predict.episodes < 2:
        raise UserError(
            f"{others.name}: only one episode to predict is long enough for {ahead} steps of {model.block} rows, "
            "and two are needed: lower --horizon, or name more episodes with --test"
        )
    components = StateComponents(to_fit.sample(), proprio_dim_of(model))
    fitted = to_fit.situations(components, progress)
    tested = to_predict.situations(components, progress)
    where, recorded = samples.name, samples.episodes.variables
    physical = physical_variables(fitted, tested, recorded, variables, where)
    evaluation = _Evaluation(model, fitted, tested, physical, to_predict, components, seed, progress)
    steps = np.unique(np.linspace(1, ahead, min(ahead, COLUMNS)).round().astype(int)).tolist()
    states, errors = evaluation.errors(steps)
    last = [states[curve][-1][:, 0] for curve in (OTHERS, MODEL)]
    found, chosen_for, count = preferences(tested, evaluation.ways(), goals, candidates, seed)
    fps, notes = samples.episodes.about.get("fps"), [*components.notes, *(physical.notes if physical else ())]
    if ahead > model.horizon:
        notes.append(f"The model was trained to predict {model.horizon} of these {ahead} steps.")
    return OpenLoopTable(
        name=name,
        steps=tuple(steps),
        seconds=model.block / fps if isinstance(fps, int | float) and fps > 0 else None,
        trained=model.horizon,
        episodes=to_predict.episodes,
        windows=len(tested),
        states=tuple(_curve(curve, parts, tested.episode) for curve, parts in states.items()),
        variables=physical.names if physical else (),
        physical=tuple(
            _curve(curve, [_pooled(part) for part in parts], tested.episode[physical.tested.rows], root=True)
            for curve, parts in errors.items()
            if physical
        ),
        each={curve: tuple(parts[-1].mean(0).sqrt().tolist()) for curve, parts in errors.items()},
        ratio=interval(torch.stack(last, 1), tested.episode),
        candidates=count,
        goals=chosen_for,
        preferences=tuple(found),
        notes=tuple(notes),
    )


class _Evaluation:
    """Guesses of what comes, by the model and by what stands beside it, of the situations in `tested`."""

    def __init__(
        self,
        model: WorldJEPA,
        fitted: Situations,
        tested: Situations,
        physical: PhysicalVariables | None,
        windows: SituationWindows,
        components: StateComponents,
        seed: int,
        progress: Progress | None,
    ) -> None:
        self.model, self.fitted, self.tested, self.physical = model, fitted, tested, physical
        self.windows, self.components, self.seed, self.progress = windows, components, seed, progress

    def errors(self, steps: Sequence[int]) -> tuple[dict[str, list[Tensor]], dict[str, list[Tensor]]]:
        """By curve, for each number of steps: `[N, 2]`, squared errors of states and squared deviations from their
        mean; and `[n, V]`, squared errors of physical variables."""
        right, wrong = self._predicted()
        states: dict[str, list[Tensor]] = {}
        variables: dict[str, list[Tensor]] = {}
        for done, k in enumerate(steps):
            true, mean = self.tested.later[:, k - 1], self.fitted.later[:, k - 1].mean(0)
            spread = (true - mean).square().sum(1)
            for curve, guess in self._states(k, right, wrong).items():
                pair = torch.stack([(guess - true).square().sum(1), spread], 1)
                states.setdefault(curve, []).append(pair.double())
            if self.physical is not None:
                known = self.physical.tested.values[:, 1 + k]
                for curve, guess in self._variables(self.physical, k, right, wrong).items():
                    variables.setdefault(curve, []).append((guess - known).square().double())
            if self.progress is not None:
                self.progress("fitting regressions", done + 1, len(steps))
        return states, variables

    def ways(self) -> dict[str, Costs]:
        """The ways to choose actions by predicting what they lead to."""
        ways: dict[str, Costs] = {
            MODEL: self._model_costs,
            LINEAR: self._linear_costs(self._linear(self.windows.ahead)),
        }
        if self.physical is not None and len(self.physical.tested.rows) == len(self.tested):
            ways[VARIABLES] = self._known_costs(self.physical)
        return ways

    def _predicted(self) -> tuple[Tensor, Tensor]:
        """What the model predicts, `[N, K, d']` as it is read: by the right actions, and by another episode's."""
        rng, every = np.random.default_rng([self.seed, 1]), np.arange(len(self.tested))
        other = of_other_episodes(self.tested.episode, every, 1, rng)[:, 0]
        found: list[Tensor] = []
        done = 0
        for seen, _, past, actions, _ in self.windows.read_all():
            theirs = self.tested.actions[other[done : done + len(seen)]].to(actions.device)
            rolled = self.model.rollout(seen, torch.stack([actions, theirs], 1), past=past)
            found.append(self.components.with_proprioception(rolled).cpu())
            done += len(seen)
            if self.progress is not None:
                self.progress("predicting", done, len(self.tested))
        right, wrong = torch.cat(found).unbind(1)
        return right, wrong

    def _states(self, k: int, right: Tensor, wrong: Tensor) -> dict[str, Tensor]:
        """Guesses of the states k steps ahead, `[N, d]`."""
        tested = self.tested
        d = tested.now.shape[1]
        guesses = {MODEL: right[:, k - 1, :d], OTHERS: wrong[:, k - 1, :d], COPY: tested.now}
        for curve, actions in ((BLIND, False), (LINEAR, True)):
            linear = self._linear(k, actions)
            guesses[curve] = tested.now + linear(
                _given(tested.before, tested.now, tested.actions[:, :k], actions)
            )
        return guesses

    def _linear(self, k: int, actions: bool = True) -> GroupedRidge:
        """From states now, their velocity and the actions to how the states will have changed."""
        fitted = self.fitted
        given = _given(fitted.before, fitted.now, fitted.actions[:, :k], actions)
        return GroupedRidge(given, fitted.later[:, k - 1] - fitted.now, fitted.groups)

    @cached_property
    def _read(self) -> GroupedRidge:
        """From states to the physical variables of the same time."""
        fitted, physical = self.fitted, self.physical
        assert physical is not None
        rows = physical.fitted.rows
        return GroupedRidge(fitted.read_now[rows], physical.fitted.values[:, 1], fitted.groups[rows])

    def _variables(
        self, physical: PhysicalVariables, k: int, right: Tensor, wrong: Tensor
    ) -> dict[str, Tensor]:
        """Guesses of the physical variables k steps ahead, `[n, V]`."""
        fitted, rows, tested, here = self.fitted, physical.fitted.rows, self.tested, physical.tested.rows
        now, gone = (
            physical.tested.values[:, 1],
            physical.fitted.values[:, 1 + k] - physical.fitted.values[:, 1],
        )
        pairs = _change(fitted.read_now[rows], fitted.read_later[rows, k - 1])
        change = GroupedRidge(pairs, gone, fitted.groups[rows])
        guesses = {READ: self._read(right[here, k - 1])}
        for curve, later in ((CHANGE, right), (CHANGE_OTHERS, wrong), (TRUE, tested.read_later)):
            guesses[curve] = now + change(_change(tested.read_now[here], later[here, k - 1]))
        guesses[COPY] = now
        for curve, actions in ((BLIND, False), (LINEAR, True)):
            linear = self._linear_known(physical, k, actions)
            guesses[curve] = now + linear(_known(physical.tested, tested.actions[here, :k], actions))
        return guesses

    def _linear_known(self, physical: PhysicalVariables, k: int, actions: bool = True) -> GroupedRidge:
        """From variables now, their velocity and the actions to how the variables will have changed."""
        fitted, rows = physical.fitted, physical.fitted.rows
        given = _known(fitted, self.fitted.actions[rows, :k], actions)
        return GroupedRidge(given, fitted.values[:, 1 + k] - fitted.values[:, 1], self.fitted.groups[rows])

    def _model_costs(self, rows: NDArray, plans: Tensor) -> Tensor:
        numbers = int(np.prod(self.model.state_layout.shape)) * plans.shape[1] * plans.shape[2]
        together, found = max(1, TOGETHER // numbers), []
        for start in range(0, len(rows), together):
            some = slice(start, start + together)
            seen, later, past, actions, _ = self.windows.read(rows[some])
            ends = self.model.rollout(seen, plans[some].to(actions.device), past=past)[:, :, -1:]
            goal = Goal(later[:, -1], proprio_dim=proprio_dim_of(self.model))
            found.append(goal(ends)[:, :, 0].cpu())
            if self.progress is not None:
                self.progress("choosing among actions", start + len(seen), len(rows))
        return torch.cat(found)

    def _linear_costs(self, linear: GroupedRidge) -> Costs:
        def costs(rows: NDArray, plans: Tensor) -> Tensor:
            tested = self.tested
            ends = _ends(linear, tested.before[rows], tested.now[rows], plans)
            return (ends - tested.later[rows, -1][:, None]).square().sum(-1)

        return costs

    def _known_costs(self, physical: PhysicalVariables) -> Costs:
        linear = self._linear_known(physical, self.windows.ahead)

        def costs(rows: NDArray, plans: Tensor) -> Tensor:
            values = physical.tested.values[rows]
            ends = _ends(linear, values[:, 0], values[:, 1], plans)
            return ((ends - values[:, -1][:, None]) / physical.std).square().sum(-1)

        return costs


def _given(before: Tensor, now: Tensor, actions: Tensor, with_actions: bool) -> Tensor:
    """What linear regression knows, `[N, f]`: the last values, their velocity and, where so, actions `[N, k, A']`."""
    known = [now, now - before]
    return torch.cat([*known, actions.flatten(1)] if with_actions else known, 1)


def _known(side: KnownSituations, actions: Tensor, with_actions: bool) -> Tensor:
    return _given(side.values[:, 0], side.values[:, 1], actions, with_actions)


def _ends(linear: GroupedRidge, before: Tensor, now: Tensor, plans: Tensor) -> Tensor:
    """What plans `[G, S, K, A']` lead to, `[G, S, d]`."""
    count = plans.shape[1]
    spread = [side.repeat_interleave(count, 0) for side in (before, now)]
    return now[:, None] + linear(_given(*spread, plans.flatten(0, 1), True)).unflatten(0, (-1, count))


def _change(now: Tensor, later: Tensor) -> Tensor:
    return torch.cat([now, later - now], 1)


def _pooled(errors: Tensor) -> Tensor:
    """`[n, V]` squared errors as `[n, 2]`: their means, and ones."""
    return torch.stack([errors.mean(1), torch.ones(len(errors), dtype=torch.double)], 1)


def _curve(name: str, parts: Sequence[Tensor], episode: NDArray, root: bool = False) -> ErrorCurve:
    values, low, high = zip(*(interval(part, episode, root) for part in parts), strict=True)
    return ErrorCurve(name, values, low, high)
