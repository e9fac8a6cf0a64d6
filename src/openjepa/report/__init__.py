"""Self-contained pages that open offline: whether a run learned and what it sees, how runs differ, what is alike.

The room is called from Python like a function: `openjepa.report("runs/mine")` writes the run's page.
"""

import sys
from functools import wraps
from pathlib import Path
from types import ModuleType
from typing import Any

from openjepa.report.alike import neighbours as neighbours
from openjepa.report.compare import write_comparison as write_comparison
from openjepa.report.page import write_report as write_report


class _Room(ModuleType):
    @wraps(write_report)
    def __call__(self, *arguments: Any, **options: Any) -> Path:
        return write_report(*arguments, **options)


sys.modules[__name__].__class__ = _Room
