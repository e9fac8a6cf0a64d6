"""Self-contained pages that open offline: whether a run learned and what it sees; how several runs differ."""

from openjepa.report.compare import write_comparison as write_comparison
from openjepa.report.page import write_report as write_report
