"""What a world model is worth: success of its plans, surprise at what cannot be, physical state in its latents."""

from openjepa.evals.planning.evaluate import evaluate, play_row, states, surprises
from openjepa.evals.planning.exploring import Explored, explore
from openjepa.evals.planning.film import Camera, keep
from openjepa.evals.planning.play import Outcome
from openjepa.evals.planning.protocol import Protocol, fingerprint, protocol_for, write
from openjepa.evals.planning.remote import RemoteProtocol, RemoteResult, remote, remote_protocol_for
from openjepa.evals.planning.result import PlanningResult, Row
from openjepa.evals.planning.state import StateTable, probe_state
from openjepa.evals.planning.surprise import SurpriseTable, surprise

__all__ = [
    "Camera",
    "Explored",
    "Outcome",
    "PlanningResult",
    "Protocol",
    "RemoteProtocol",
    "RemoteResult",
    "Row",
    "StateTable",
    "SurpriseTable",
    "evaluate",
    "explore",
    "fingerprint",
    "keep",
    "play_row",
    "probe_state",
    "protocol_for",
    "remote",
    "remote_protocol_for",
    "states",
    "surprise",
    "surprises",
    "write",
]
