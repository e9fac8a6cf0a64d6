"""Recordings from MNE: its Raw and Epochs objects, and FIF files through it (the extra `eeg`)."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from openjepa.errors import UserError
from openjepa.signals.electrodes.montage import Place, place
from openjepa.signals.electrodes.recording import Event, Piece, Recording

CENTRE = (0.0, 0.0, 0.045)
"""Metres from the point between the ears to the middle of the head, where too few electrodes say more."""
LEAST_FITTED = 10
"""Electrodes that a sphere is fitted to."""
GAPS = ("bad", "edge")
"""How annotations begin that mark what is not to be used, in small letters."""


def is_mne(data: Any) -> bool:
    """Whether it is an object of MNE's."""
    return type(data).__module__.split(".")[0] == "mne"


def read_fif(path: Path) -> list[Recording]:
    """A FIF file of continuous data or, where its name ends in `epo.fif`, of epochs.

    Raises:
        UserError: MNE is not installed, or cannot read it.
    """
    try:
        import mne
    except ImportError:
        raise UserError(f"{path}: FIF files need MNE: pip install 'openjepa[eeg]'") from None
    read = mne.read_epochs if path.name.removesuffix(".gz").endswith("epo.fif") else mne.io.read_raw_fif
    try:
        found = read(path, preload=True, verbose="error")
    except Exception as error:  # MNE's readers raise what they meet
        raise UserError(f"{path}: MNE cannot read it: {type(error).__name__}: {str(error)[:200]}") from None
    return from_mne(found, str(path))


def from_mne(data: Any, name: str = "") -> list[Recording]:
    """The EEG channels of a Raw, as one recording with its annotations, or of Epochs, each one of its own.

    Spans annotated as BAD or EDGE are gaps. Bad channels are left out, as MNE leaves them out.

    Raises:
        UserError: neither of these, or no EEG channel.
    """
    if not hasattr(data, "info") or not hasattr(data, "get_data") or not hasattr(data, "ch_names"):
        raise UserError(f"{type(data).__name__} is neither MNE's Raw nor Epochs: give one of these")
    picked = [
        i
        for i, kind in enumerate(data.get_channel_types())
        if kind == "eeg" and data.ch_names[i] not in data.info["bads"]
    ]
    if not picked:
        raise UserError(
            f"{name or type(data).__name__}: none of its channels is of type eeg: set their types in MNE"
        )
    names = [data.ch_names[i] for i in picked]
    places = _places(data, picked)
    rate = float(data.info["sfreq"])
    subject = str((data.info.get("subject_info") or {}).get("his_id") or "")
    common: dict[str, Any] = {
        "channels": names,
        "rates": [rate] * len(names),
        "places": places,
        "subject": subject,
    }
    values = np.asarray(data.get_data(picks=picked), np.float64) * 1e6
    if values.ndim == 3:
        kinds = {number: text for text, number in data.event_id.items()}
        return [
            Recording(
                f"{name or 'epochs'}[{i}]", pieces=[Piece(0.0, epoch)], label=kinds.get(int(code)), **common
            )
            for i, (epoch, code) in enumerate(zip(values, data.events[:, 2], strict=True))
        ]
    events, sound = [], np.ones(values.shape[1], bool)
    notes = data.annotations
    for start, duration, text in zip(notes.onset, notes.duration, notes.description, strict=True):
        since = float(start) - float(data.first_time)
        if str(text).lower().startswith(GAPS):
            first = max(0, math.floor(since * rate))
            sound[first : max(first + 1, math.ceil((since + duration) * rate))] = False
        else:
            events.append(Event(since, float(duration), str(text)))
    edges = np.flatnonzero(np.diff(np.concatenate([[False], sound, [False]]).astype(np.int8))).tolist()
    pieces = [Piece(a / rate, values[:, a:b]) for a, b in zip(edges[::2], edges[1::2], strict=True)]
    return [Recording(name or type(data).__name__, pieces=pieces, events=events, **common)]


def _places(data: Any, picked: list[int]) -> list[Place | None] | None:
    """Places on a head of radius 1: measured ones, by name of electrodes without; `None` where none is measured."""
    where = np.array([data.info["chs"][i]["loc"][:3] for i in picked], np.float64)
    known = np.isfinite(where).all(1) & (np.abs(where).sum(1) > 0)
    if not known.any():
        return None
    where = where[known]
    centre = np.array(CENTRE)
    if len(where) >= LEAST_FITTED:
        solution = np.linalg.lstsq(np.c_[2 * where, np.ones(len(where))], (where**2).sum(1), rcond=None)[0]
        near = np.linalg.norm(solution[:3] - centre) < 0.04  # electrodes on a small patch fit no sphere
        centre = solution[:3] if near else centre
    away = where - centre
    away /= np.linalg.norm(away, axis=1, keepdims=True)
    measured = iter([(float(x), float(y), float(z)) for x, y, z in away])
    return [
        next(measured) if there else place(data.ch_names[i]) for i, there in zip(picked, known, strict=True)
    ]
