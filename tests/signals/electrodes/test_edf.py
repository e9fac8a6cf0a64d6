"""EDF, EDF+ and BDF files, with the faults that such files have."""

import os
from pathlib import Path

import numpy as np
import pytest
from tests.signals.electrodes.edf_files import Channel, File, write

from openjepa.errors import OpenJEPAWarning, UserError
from openjepa.signals.readers.edf import read_edf

SECONDS = np.arange(500) / 100


def test_values_channels_and_annotations(tmp_path: Path):
    a, b = 100 * np.sin(SECONDS), np.linspace(-900, 900, 500)
    notes = [(1.5, 2.0, "eyes closed"), (4.0, 0.0, "click")]
    file = read_edf(
        write(tmp_path / "a.edf", File([Channel("C3", a), Channel("C4", b)], range(5), notes, "P7 M"))
    )
    assert [c.name for c in file.channels] == ["C3", "C4"] and {c.rate for c in file.channels} == {100.0}
    assert np.abs(file.runs[0].values[0] - a).max() < 0.02 and np.abs(file.runs[0].values[1] - b).max() < 0.02
    assert file.annotations == notes and file.patient == "P7 M" and len(file.runs) == 1


@pytest.mark.parametrize(("unit", "factor"), [("mV", 1e3), ("V", 1e6), ("nV", 1e-3), ("µV", 1.0)])
def test_every_voltage_becomes_microvolts(tmp_path: Path, unit: str, factor: float):
    channel = Channel("C3", np.full(500, 2.0), unit=unit, physical=(-4, 4))
    file = read_edf(write(tmp_path / "a.edf", File([channel])))
    assert file.channels[0].unit == "µV" and file.runs[0].values[0] == pytest.approx(2 * factor, rel=1e-3)


def test_bdf_has_24_bits(tmp_path: Path):
    channel = Channel("C3", np.linspace(-200_000, 200_000, 500), physical=(-262144, 262143))
    file = read_edf(write(tmp_path / "a.bdf", File([channel], range(5), wide=True)))
    assert np.abs(file.runs[0].values[0] - channel.values).max() < 0.05


def test_channels_keep_their_own_rates(tmp_path: Path):
    fast, slow = np.sin(np.arange(1000) / 200), np.sin(np.arange(250) / 50)
    file = read_edf(write(tmp_path / "a.edf", File([Channel("C3", fast, 200), Channel("C4", slow, 50)])))
    assert [c.rate for c in file.channels] == [200.0, 50.0]
    assert [len(x) for x in file.runs[0].values] == [1000, 250]


def test_a_gap_ends_a_run(tmp_path: Path):
    channel = Channel("C3", np.arange(500.0))
    path = write(
        tmp_path / "a.edf", File([channel], [0, 1, 7.5, 8.5, 9.5], [(8, 1, "late")], continuous=False)
    )
    file = read_edf(path)
    assert [(run.start, len(run.values[0])) for run in file.runs] == [(0.0, 200), (7.5, 300)]
    assert file.runs[1].values[0][0] == pytest.approx(200, abs=0.1) and file.annotations == [
        (8.0, 1.0, "late")
    ]


def test_time_stamps_count_from_the_first_record(tmp_path: Path):
    path = write(
        tmp_path / "a.edf",
        File([Channel("C3", np.arange(500.0))], [0.25 + k for k in range(5)], [(2.25, 1, "a")]),
    )
    assert read_edf(path).annotations == [(2.0, 1.0, "a")]


@pytest.mark.parametrize("declared", [4, 6])
def test_another_number_of_records_than_declared_is_said_and_all_are_read(tmp_path: Path, declared: int):
    path = write(tmp_path / "a.edf", File([Channel("C3", np.arange(500.0))], declared=declared))
    with pytest.warns(OpenJEPAWarning, match=f"declares {declared} records, and it holds 5"):
        assert len(read_edf(path).runs[0].values[0]) == 500


def test_a_file_cut_off_within_a_record_keeps_the_whole_ones(tmp_path: Path):
    path = write(tmp_path / "a.edf", File([Channel("C3", np.arange(500.0))]))
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.warns(OpenJEPAWarning, match="holds 4 and 150 bytes"):
        assert len(read_edf(path).runs[0].values[0]) == 400


def test_a_recording_of_unknown_length_is_no_fault(tmp_path: Path):
    path = write(tmp_path / "a.edf", File([Channel("C3", np.arange(500.0))], declared=-1))
    assert len(read_edf(path).runs[0].values[0]) == 500


def test_one_physical_value_as_least_and_largest_is_named(tmp_path: Path):
    flat = Channel("C4", np.zeros(500), physical=(5.0, 5.0))
    file = read_edf(write(tmp_path / "a.edf", File([Channel("C3", np.arange(500.0)), flat])))
    assert file.channels[0].why_not == "" and "one physical value, 5" in file.channels[1].why_not
    assert np.isfinite(file.runs[0].values[1]).all()


def test_a_limit_that_is_turned_over_turns_the_values(tmp_path: Path):
    file = read_edf(
        write(tmp_path / "a.edf", File([Channel("C3", np.full(500, 300.0), physical=(1000, -1000))]))
    )
    assert file.runs[0].values[0] == pytest.approx(300, abs=0.1)


def test_converted_line_endings_are_noticed(tmp_path: Path):
    path = write(tmp_path / "a.edf", File([Channel("C3", np.arange(500.0) % 30)], range(5)))
    data = path.read_bytes()
    path.write_bytes(data[:1000] + data[1000:].replace(b"\x00\x00", b"\x0d\x00\x0a", 40))
    with pytest.warns(OpenJEPAWarning), pytest.raises(UserError, match="line endings"):
        read_edf(path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda data: data[:100], "no EDF file"),
        (lambda data: b"PK" + data[2:], "version of 0"),
        (lambda data: data[:400], "cut off or damaged"),
        (lambda data: data[:600], "no whole record"),
        (lambda data: data[:236] + b"many    " + data[244:], "'many' for records"),
        (lambda data: data[:244] + b"0       " + data[252:], "no sampling rate"),
        (lambda data: data[:184] + b"inf     " + data[192:], "for header bytes"),
    ],
)
def test_a_damaged_file_is_one_sentence(tmp_path: Path, change, said: str):
    path = write(tmp_path / "a.edf", File([Channel("C3", np.arange(500.0))]))
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(UserError, match=said):
        read_edf(path)


@pytest.mark.data
def test_a_real_file():
    root = os.environ.get("OPENJEPA_TEST_DATA")
    if not root or not (path := Path(root, "eeg", "S001R03.edf")).exists():
        pytest.skip("OPENJEPA_TEST_DATA names no folder with eeg/S001R03.edf")
    file = read_edf(path)
    assert len(file.channels) == 64 and {c.rate for c in file.channels} == {160.0}
    assert [len(x) for x in file.runs[0].values] == [20_000] * 64
    assert {note[2] for note in file.annotations} == {"T0", "T1", "T2"} and len(file.annotations) == 30
    assert 20 < np.std(file.runs[0].values[0]) < 100  # microvolts


@pytest.mark.filterwarnings("ignore::openjepa.errors.OpenJEPAWarning")
def test_any_damage_is_read_or_is_one_sentence(tmp_path: Path):
    channels = [Channel("C3", 100 * np.sin(SECONDS)), Channel("C4", np.cos(np.arange(1000)), 200)]
    whole = write(
        tmp_path / "a.edf", File(channels, [0, 1, 2, 7, 8], [(1, 1, "x")], continuous=False)
    ).read_bytes()
    random, counts = np.random.default_rng(0), [0, 0]
    for _ in range(300):
        data = bytearray(whole)
        for at in random.integers(0, 1100, random.integers(1, 4)):
            data[at] = (
                random.choice(list(b" -.019+,en\x00\xff")) if random.random() < 0.7 else random.integers(256)
            )
        data = data[: random.integers(len(data))] if random.random() < 0.1 else data
        (tmp_path / "b.edf").write_bytes(bytes(data))
        try:
            read_edf(tmp_path / "b.edf")
            counts[0] += 1
        except UserError as error:
            counts[1] += 1
            assert "\n" not in str(error)
    assert min(counts) > 20
