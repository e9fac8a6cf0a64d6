"""Remote control: success against transmissions sent (see `agent.channel`).

Every schedule is played by two receivers on the same problems: one predicts the states between transmissions, the
other takes the last one for the present, so that its policy repeats the last command. Both have the same actor, which
is trained on the logged episodes (see `agent.semantic`). With `every` step there is nothing in between: that row is
what sending always is worth.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

from pydantic import Field

from openjepa.agent.channel import Between, Drift, Every, Schedule
from openjepa.common.renamed import current_protocol
from openjepa.common.text import aligned
from openjepa.errors import UserError
from openjepa.evals.features import Progress
from openjepa.evals.planning.cloning import open_windows
from openjepa.evals.planning.evaluate import NAMES, informed, play_row
from openjepa.evals.planning.linked import Controlled, SemanticActor, teach
from openjepa.evals.planning.play import Player
from openjepa.evals.planning.protocol import WorldEvaluation, for_runs
from openjepa.evals.planning.result import PlayedRow, begun_at_goal, percent


class RemoteProtocol(WorldEvaluation):
    """Remote control, in one world."""

    steps_at_goal: int = Field(50, ge=1, le=1_000_000)
    """Environment steps in a row that must be spent at the goal: of the cart-pole, a second."""
    schedules: tuple[Schedule, ...] = Field(
        (*(Every(steps=k) for k in (1, 2, 4, 8, 12, 16)), *(Drift(threshold=x) for x in (0.25, 0.5, 1.0))),
        min_length=1,
    )
    between: tuple[Between, ...] = Field(("predict", "last"), min_length=1)
    """Receivers' beliefs between transmissions: the world model's prediction, or the last state."""
    loss: float = Field(0.0, ge=0, lt=1)
    """Probability that a transmission is lost."""
    actor: SemanticActor = SemanticActor()
    baselines: tuple[Literal["nothing", "random", "expert"], ...] = ("nothing", "random", "expert")

    @property
    def ways(self) -> list[tuple[Between, Every | Drift]]:
        """All ways that are played: each receiver with each schedule."""
        return list(product(self.between, self.schedules))


def remote_protocol_for(
    runs: Sequence[str], env: str | None = None, changes: Mapping[str, str] | None = None
) -> RemoteProtocol:
    """The protocol for some runs, as `protocol_for` makes that of planning, with the same mistakes."""
    return for_runs(RemoteProtocol, runs, env, changes)


@dataclass(frozen=True)
class Transmissions:
    """Episodes of one schedule and receiver.

    Attributes:
        between: what the receiver does between transmissions.
        schedule: as in the protocol.
        row: the episodes.
        sent, lost: transmissions of each episode; those lost were sent as well.
        block: environment steps in a step of the model, at which at most one is sent.
    """

    between: Between
    schedule: Every | Drift
    row: PlayedRow
    sent: tuple[int, ...]
    lost: tuple[int, ...]
    block: int

    @classmethod
    def joined(cls, parts: Sequence["Transmissions"]) -> "Transmissions":
        """One from those of an evaluation's parts, as `PlayedRow.joined`."""
        sent, lost = (tuple(n for part in parts for n in getattr(part, name)) for name in ("sent", "lost"))
        row = PlayedRow.joined([part.row for part in parts])
        return cls(parts[0].between, parts[0].schedule, row, sent, lost, parts[0].block)

    @property
    def share(self) -> float:
        """Share of the model's steps with a transmission, 0..1."""
        steps = sum(-(-outcome.steps // self.block) for outcome in self.row.outcomes)
        return sum(self.sent) / max(steps, 1)

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            **self.row.to_dict(),
            "between": self.between,
            "schedule": self.schedule.model_dump(mode="json"),
            "share": self.share,
            "sent": list(self.sent),
            "lost": list(self.lost),
            "block": self.block,
        }


@dataclass(frozen=True)
class RemoteResult:
    """All rows of one protocol: schedules by receiver, then the baselines, which need no channel."""

    protocol: RemoteProtocol
    transmissions: tuple[Transmissions, ...]
    baselines: tuple[PlayedRow, ...]

    def of(self, between: Between) -> list[Transmissions]:
        """The rows of one receiver, the most transmissions first."""
        return sorted((s for s in self.transmissions if s.between == between), key=lambda s: -s.share)

    def same_outcomes(self, other: "RemoteResult") -> bool:
        """Whether every episode went the same way, with the same transmissions; time does not count."""
        mine, others = (
            [(s.row.outcomes, s.sent, s.lost) for s in r.transmissions]
            + [row.outcomes for row in r.baselines]
            for r in (self, other)
        )
        return mine == others

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; `RemoteProtocol.read` takes such a file too."""
        return {
            "protocol": self.protocol.model_dump(mode="json"),
            "rows": [way.to_dict() for way in self.transmissions],
            "baselines": [row.to_dict() for row in self.baselines],
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "RemoteResult":
        """The inverse of `to_dict`. Raises UserError when it is none."""
        try:
            rows = [
                (PlayedRow.from_dict(row), tuple(row["sent"]), tuple(row["lost"]), row["block"])
                for row in data["rows"]
            ]
            baselines = tuple(PlayedRow.from_dict(row) for row in data["baselines"])
        except (KeyError, TypeError, AttributeError):
            raise UserError(
                "this is no result of an evaluation of remote control: it has no rows of transmissions"
            ) from None
        protocol = RemoteProtocol.parse(current_protocol(data["protocol"]))
        transmissions = (Transmissions(*way, *row) for way, row in zip(protocol.ways, rows, strict=True))
        return cls(protocol, tuple(transmissions), baselines)

    @classmethod
    def joined(cls, protocol: RemoteProtocol, parts: Sequence["RemoteResult"]) -> "RemoteResult":
        """The result of a protocol, from those of its parts (see `WorldEvaluation.parts`)."""
        transmissions = map(Transmissions.joined, zip(*(part.transmissions for part in parts), strict=True))
        baselines = map(PlayedRow.joined, zip(*(part.baselines for part in parts), strict=True))
        return cls(protocol, tuple(transmissions), tuple(baselines))

    def __str__(self) -> str:
        """Aligned text for people."""
        table = [["receiver", "schedule", "sent in %", "an episode", "lost", "success in %", "steps"]]
        for between in self.protocol.between:
            for way in self.of(between):
                row, episodes = way.row, len(way.sent)
                table.append(
                    [
                        NAMES_BETWEEN[between],
                        said(way.schedule),
                        f"{100 * way.share:.1f}",
                        f"{sum(way.sent) / episodes:.1f}",
                        f"{sum(way.lost) / episodes:.1f}",
                        percent(row.rate, row.interval),
                        f"{row.mean('steps'):.0f}",
                    ]
                )
        for row in self.baselines:
            table.append(
                [row.method, *["–"] * 4, percent(row.rate, row.interval), f"{row.mean('steps'):.0f}"]
            )
        protocol, first = self.protocol, self.transmissions[0].row
        return "\n".join(
            [
                *aligned(table),
                "",
                f"{len(first.played)} episodes on {protocol.env}, seed {protocol.seed}; the goal is to be kept for "
                f"{protocol.steps_at_goal} steps; {100 * protocol.loss:g} % of transmissions are lost."
                f"{begun_at_goal(first)}",
                "95 % intervals: Wilson over episodes. Sent: share of the model's steps; steps: mean over episodes.",
            ]
        )


NAMES_BETWEEN: dict[Between, str] = {"predict": "predicts", "last": "keeps the last"}


def said(schedule: Every | Drift) -> str:
    """A schedule in words."""
    if isinstance(schedule, Drift):
        return f"drift over {schedule.threshold:g}"
    return "always" if schedule.steps == 1 else f"every {schedule.steps} steps"


def remote(protocol: RemoteProtocol, progress: Progress | None = None) -> RemoteResult:
    """Play all episodes; a function of the protocol alone, but for the seconds.

    Args:
        progress: called as (what, done, total).

    Raises:
        UserError: see `WorldEvaluation.world`, `WorldEvaluation.load` and `encoded`.
    """
    world = protocol.world()
    models = protocol.load(world)
    opened = {model.config.data: open_windows(model, protocol.data) for model in models}
    actors = [
        teach(model, opened[model.config.data], protocol.actor, protocol.seed, progress) for model in models
    ]
    transmissions = []
    for between, schedule in protocol.ways:
        players = [
            Controlled(model, actor, schedule, between, protocol.loss, protocol.seed)
            for model, actor in zip(models, actors, strict=True)
        ]
        row = play_row(protocol, f"{NAMES_BETWEEN[between]}, {said(schedule)}", players, progress)
        sent, lost = (
            tuple(n for player in players for n in getattr(player, name)) for name in ("sent", "lost")
        )
        transmissions.append(Transmissions(between, schedule, row, sent, lost, models[0].block))
    baselines = []
    for name in protocol.baselines:
        others: Iterable[Player] = [informed(name, protocol) for _ in models]
        baselines.append(play_row(protocol, NAMES[name], others, progress))
    return RemoteResult(protocol, tuple(transmissions), tuple(baselines))
