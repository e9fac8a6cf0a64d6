"""One self-contained page that says whether a run learned, shows what it sees, and opens offline."""

from openjepa.report.page import write_report as write_report
