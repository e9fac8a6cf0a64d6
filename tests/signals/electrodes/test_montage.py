"""Places of electrodes by name."""

import numpy as np
import pytest

from openjepa.signals.electrodes import canonical, electrodes, place

MEASURED = {  # degrees from the vertex, and around it from the nose to the right, of the spherical 10-20 system
    "Cz": (0, 0),
    "Fz": (46, 0),
    "Pz": (46, 180),
    "Fp1": (92, -18),
    "F8": (92, 54),
    "T7": (92, -90),
    "C4": (46, 90),
    "F3": (60, -39),
    "P4": (60, 141),
    "O2": (92, 162),
}


@pytest.mark.parametrize("name", MEASURED)
def test_the_ten_twenty_system(name: str):
    down, around = np.radians(MEASURED[name])
    there = [np.sin(down) * np.sin(around), np.sin(down) * np.cos(around), np.cos(down)]
    assert np.linalg.norm(np.subtract(place(name), there)) < 0.02


def test_all_lie_on_the_head_and_apart():
    where = np.array([at for name, at in electrodes().items() if name not in ("I1", "I2")])  # O9 and O10
    assert len(where) > 300 and np.allclose(np.linalg.norm(where, axis=1), 1, atol=1e-5)
    apart = np.linalg.norm(where[:, None] - where, axis=-1) + np.eye(len(where))
    assert apart.min() > 0.02


def test_left_and_right_mirror_one_another():
    for name, (x, y, z) in electrodes().items():
        stem = name.rstrip("h")
        digits = stem.lstrip("ACFINOPTpz")
        if digits.isdigit() and int(digits) % 2:
            other = stem.removesuffix(digits) + str(int(digits) + 1) + name[len(stem) :]
            assert place(other) == pytest.approx((-x, y, z), abs=1e-5), name


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("Fc5.", "FC5"),
        ("EEG FP1-REF", "Fp1"),
        ("T3", "T7"),
        ("t6", "P8"),
        ("EEG Fz-LE", "Fz"),
        ("C3-A2", "C3"),
    ],
)
def test_names_as_recorders_write_them(given: str, name: str):
    assert canonical(given) == name and place(given) == place(name)


def test_a_channel_between_two_electrodes():
    middle = np.add(place("F7"), place("T7"))
    assert place("EEG F7-T3") == pytest.approx(middle / np.linalg.norm(middle), abs=1e-5)
    assert canonical("F7-T3") == "F7-T7"


@pytest.mark.parametrize("name", ["ECG", "EOG-L", "Status", "", "-", "Fp1-ECG", "STI 014"])
def test_others_are_no_electrodes(name: str):
    assert place(name) is None
