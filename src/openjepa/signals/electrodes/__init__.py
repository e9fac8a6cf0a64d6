"""Electrodes on a head (EEG): EDF, EDF+, BDF and FIF files, arrays and MNE's objects, as windows of one length."""

from openjepa.signals.electrodes.batch import Recordings
from openjepa.signals.electrodes.montage import canonical, electrodes, place
from openjepa.signals.electrodes.opening import open_recordings
from openjepa.signals.electrodes.recording import Event, Piece, Recording
from openjepa.signals.electrodes.recording_set import RecordingSet
from openjepa.signals.electrodes.signal import ElectrodeSignal

__all__ = [
    "ElectrodeSignal",
    "Event",
    "Piece",
    "Recording",
    "RecordingSet",
    "Recordings",
    "canonical",
    "electrodes",
    "open_recordings",
    "place",
]
