"""Evaluation of world models: success of plans, surprise at what cannot be, physical variables in the states."""

from openjepa.evals.planning.evaluate import evaluate, play_row, states, surprises
from openjepa.evals.planning.exploring import Explored, explore
from openjepa.evals.planning.film import Camera, keep
from openjepa.evals.planning.play import EpisodeOutcome
from openjepa.evals.planning.protocol import PlanningProtocol, fingerprint, protocol_for, quick, write
from openjepa.evals.planning.remote import RemoteProtocol, RemoteResult, remote, remote_protocol_for
from openjepa.evals.planning.result import PlanningResult, PlayedRow
from openjepa.evals.planning.state import StateTable, probe_state
from openjepa.evals.planning.surprise import SurpriseTable, surprise

__all__ = [
    "Camera",
    "EpisodeOutcome",
    "Explored",
    "PlanningProtocol",
    "PlanningResult",
    "PlayedRow",
    "RemoteProtocol",
    "RemoteResult",
    "StateTable",
    "SurpriseTable",
    "evaluate",
    "explore",
    "fingerprint",
    "keep",
    "play_row",
    "probe_state",
    "protocol_for",
    "quick",
    "remote",
    "remote_protocol_for",
    "states",
    "surprise",
    "surprises",
    "write",
]
