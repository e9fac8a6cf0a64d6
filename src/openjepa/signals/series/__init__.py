"""Series: tables, `.ts`, `.tsv`, numpy files, folders and arrays, of one or several channels, whole or in windows."""

from openjepa.signals.series.batch import SeriesBatch
from openjepa.signals.series.opening import open_series
from openjepa.signals.series.series_set import SeriesSet
from openjepa.signals.series.signal import SeriesSignal

__all__ = ["SeriesBatch", "SeriesSet", "SeriesSignal", "open_series"]
