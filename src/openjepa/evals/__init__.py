"""What frozen features are worth: linear, nearest-neighbour and attentive probes, beside classical features."""

from openjepa.evals.embed import Embeddings, embed, embed_to_file
from openjepa.evals.predict import Predictions, predict
from openjepa.evals.protocol import Comparison, probe
from openjepa.evals.runs import probe_runs
from openjepa.evals.table import ComputeCost, ProbeTable, Score, combine

__all__ = [
    "Comparison",
    "ComputeCost",
    "Embeddings",
    "Predictions",
    "ProbeTable",
    "Score",
    "combine",
    "embed",
    "embed_to_file",
    "predict",
    "probe",
    "probe_runs",
]
