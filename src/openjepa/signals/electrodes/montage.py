"""Places of electrodes on the head, by their names in the 10-5 system (Oostenveld & Praamstra 2001).

The head is a sphere of radius 1: x to the right ear, y to the nose, z up. A tenth of the way from nasion over the
vertex to inion is 23 degrees, so that the ring through Fpz, T7, Oz and T8 lies 92 degrees from the vertex; the
electrodes between the ring and the midline divide the circle through both evenly. Real heads differ from it by a
centimetre, and so does any other table; measured places, where a recording has them, are used instead.
"""

import math
import re
from functools import cache

import numpy as np
from numpy.typing import NDArray

Place = tuple[float, float, float]

STEP = 23.0
"""Degrees from the vertex of a tenth of the way from nasion to inion."""
ROWS = (
    ("AFp", "AFp", 27, 80.5),
    ("AF", "AF", 36, 69),
    ("AFF", "AFF", 45, 57.5),
    ("F", "F", 54, 46),
    ("FFT", "FFC", 63, 34.5),
    ("FT", "FC", 72, 23),
    ("FTT", "FCC", 81, 11.5),
    ("T", "C", 90, 0),
    ("TTP", "CCP", 99, -11.5),
    ("TP", "CP", 108, -23),
    ("TPP", "CPP", 117, -34.5),
    ("P", "P", 126, -46),
    ("PPO", "PPO", 135, -57.5),
    ("PO", "PO", 144, -69),
    ("POO", "POO", 153, -80.5),
)
"""From ear to ear: the name at the ring and inside it, degrees around the ring from Fpz, and on the midline from Cz."""
OLD = {"t3": "T7", "t4": "T8", "t5": "P7", "t6": "P8", "a1": "T9", "a2": "T10", "m1": "TP9", "m2": "TP10"}
"""Names of before the 10-10 system; ear lobes and mastoids lie near electrodes of the lower ring."""
REFERENCES = {"", "ref", "le", "re", "ar", "avg", "av", "car", "a1", "a2", "m1", "m2", "a1a2", "m1m2", "a2a1"}
"""What a channel was measured against, where that is not another place on the scalp."""


def place(name: str) -> Place | None:
    """Where a channel of that name lies, on the unit sphere; `None` where the name is no electrode's.

    A channel between two electrodes, such as `Fp1-F7`, lies half-way between them.
    """
    first, second = _parts(name)
    a = _table().get(first)
    if a is None or second in REFERENCES:
        return a
    b = _table().get(second)
    if b is None:
        return None
    middle = np.add(a, b)
    length = float(np.linalg.norm(middle))
    return _place(middle / length) if length > 1e-6 else None


def canonical(name: str) -> str:
    """The channel's name as the 10-5 system writes it (`EEG FP1-REF` and `Fp1.` are `Fp1`); others stay as they are."""
    first, second = _parts(name)
    if first not in _table() or (second not in REFERENCES and second not in _table()):
        return name.strip()
    return _names()[first] if second in REFERENCES else f"{_names()[first]}-{_names()[second]}"


def _parts(name: str) -> tuple[str, str]:
    """An electrode and what it was measured against, in small letters and without what recorders add."""
    text = re.sub(r"^(eeg|chan|ch)[\s:_]+", "", name.strip().lower()).rstrip(". ")
    first, _, second = text.partition("-")
    return first.strip(" ."), re.sub(r"[\s+/().]", "", second)


@cache
def _names() -> dict[str, str]:
    names = {name.lower(): name for name in electrodes()}
    return names | {old: new if old in ("t3", "t4", "t5", "t6") else old.upper() for old, new in OLD.items()}


@cache
def _table() -> dict[str, Place]:
    known = {name.lower(): where for name, where in electrodes().items()}
    return known | {old: known[new.lower()] for old, new in OLD.items()}


@cache
def electrodes() -> dict[str, Place]:
    """Every electrode of the 10-5 system and its place."""
    found: dict[str, NDArray[np.float64]] = {}
    midline = [*((f"{inner}z", turn) for _, inner, _, turn in ROWS), ("Nz", 5 * STEP), ("Fpz", 4 * STEP)]
    for name, turn in (*midline, ("Oz", -4 * STEP), ("OIz", -4.5 * STEP), ("Iz", -5 * STEP)):
        found[name] = _point(abs(turn), 0.0 if turn >= 0 else 180.0)
    for name, around in (("Fp", 18), ("O", 162), *((outer, around) for outer, _, around, _ in ROWS)):
        left, right = ("1", "2") if name in ("Fp", "O") else ("7", "8")
        for side, sign in ((left, -1), (right, 1)):
            found[name + side] = _point(4 * STEP, sign * around)
        for side, sign in (("9", -1), ("10", 1)):
            found[name + side] = _point(5 * STEP, sign * around)
            found[name + side + "h"] = _point(4.5 * STEP, sign * around)
    found["I1"], found["I2"] = _point(5 * STEP, -162), _point(5 * STEP, 162)
    for outer, inner, _, _ in ROWS:
        ends = found[outer + "7"], found[inner + "z"], found[outer + "8"]
        for eighths, number in ((1, 5), (2, 3), (3, 1)):
            found[f"{inner}{number}"] = _between(*ends, eighths / 8)
            found[f"{inner}{number + 1}"] = _between(*ends, 1 - eighths / 8)
        for sixteenths, number in ((1, 7), (3, 5), (5, 3), (7, 1)):
            row = outer if number == 7 else inner
            found[f"{row}{number}h"] = _between(*ends, sixteenths / 16)
            found[f"{row}{number + 1}h"] = _between(*ends, 1 - sixteenths / 16)
    for name in ("Fp", "O"):
        ends = found[name + "1"], found[name + "z"], found[name + "2"]
        found[name + "1h"], found[name + "2h"] = _between(*ends, 0.25), _between(*ends, 0.75)
    return {name: _place(where) for name, where in found.items()}


def _point(down: float, around: float) -> NDArray[np.float64]:
    """So many degrees from the vertex, in a direction that is turned from the nose to the right."""
    a, b = math.radians(down), math.radians(around)
    return np.array([math.sin(a) * math.sin(b), math.sin(a) * math.cos(b), math.cos(a)])


def _between(
    left: NDArray[np.float64], middle: NDArray[np.float64], right: NDArray[np.float64], share: float
) -> NDArray[np.float64]:
    """A point on the circle through three points of the sphere, that share of the arc from left to right."""
    normal = np.cross(middle - left, right - left)
    normal /= np.linalg.norm(normal)
    centre = normal * (normal @ left)
    a, b, c = left - centre, middle - centre, right - centre
    across = np.cross(normal, a)
    turns = [math.atan2(float(v @ across), float(v @ a)) % (2 * math.pi) for v in (b, c)]
    total = turns[1] if turns[0] <= turns[1] else turns[1] - 2 * math.pi
    angle = share * total
    return centre + math.cos(angle) * a + math.sin(angle) * across


def _place(where: NDArray[np.float64]) -> Place:
    x, y, z = (round(float(v), 6) for v in where)
    return x, y, z
