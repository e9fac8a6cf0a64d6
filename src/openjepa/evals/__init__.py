"""What frozen features are worth: linear, nearest-neighbour and attentive probes, beside classical features."""

from openjepa.evals.embed import embed_to_file
from openjepa.evals.protocol import Comparison, probe
from openjepa.evals.runs import probe_runs
from openjepa.evals.table import ComputeCost, ProbeTable, Score, combine

__all__ = [
    "Comparison",
    "ComputeCost",
    "ProbeTable",
    "Score",
    "combine",
    "embed_to_file",
    "probe",
    "probe_runs",
]
