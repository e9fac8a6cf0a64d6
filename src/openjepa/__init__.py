"""OpenJEPA: train, examine and use joint-embedding predictive architectures.

model = openjepa.train("i-jepa", preset="tiny", data="fashion-mnist")
features = model.embed(images)            # [B, C, H, W] to [B, D]
model = openjepa.load("runs/mine")        # or hub:owner/name
openjepa.report("runs/mine")              # the path of its page
"""

import os
from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

# Idle OpenMP threads that spin slow a busy machine down up to sevenfold; only effective before torch loads.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# What PyTorch has not written for Apple's GPUs is computed on the CPU; read when torch loads, too.
os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")

if TYPE_CHECKING:
    from openjepa.check import check_jepa
    from openjepa.errors import OpenJEPAWarning, UserError
    from openjepa.estimator import JEPATransformer
    from openjepa.evals import embed, predict
    from openjepa.evals import probe_runs as probe
    from openjepa.jepa import JEPA
    from openjepa.report import neighbours
    from openjepa.training import load, train

    __version__: str

__all__ = [
    "JEPA",
    "JEPATransformer",
    "OpenJEPAWarning",
    "UserError",
    "__version__",
    "check_jepa",
    "embed",
    "load",
    "neighbours",
    "predict",
    "probe",
    "report",
    "train",
]

# Where each lies, and after a colon what it is called there.
_HOMES = {
    "JEPA": "openjepa.jepa",
    "JEPATransformer": "openjepa.estimator",
    "OpenJEPAWarning": "openjepa.errors",
    "UserError": "openjepa.errors",
    "check_jepa": "openjepa.check",
    "embed": "openjepa.evals",
    "predict": "openjepa.evals",
    "probe": "openjepa.evals:probe_runs",
    "load": "openjepa.training",
    "neighbours": "openjepa.report",
    "train": "openjepa.training",
}


def __getattr__(name: str) -> Any:
    """Import torch only when something that needs it is asked for."""
    if name == "__version__":
        return version("openjepa")
    if name == "report":  # the room itself, which is called as a function
        return import_module("openjepa.report")
    if name not in _HOMES:
        raise AttributeError(f"module 'openjepa' has no attribute {name!r}")
    home, _, there = _HOMES[name].partition(":")
    return getattr(import_module(home), there or name)


def __dir__() -> list[str]:
    return sorted(__all__)
