"""Recordings as windows: what is cut, from where, with which label and whose it is; and what is refused."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.signals.electrodes.edf_files import Channel, File, write

from openjepa.common.rng import Rng
from openjepa.errors import OpenJEPAWarning, UserError
from openjepa.signals.electrodes import ElectrodeSignal, Event, Piece, Recording, open_recordings, place
from openjepa.signals.parts import labelled

PLAIN = ElectrodeSignal(rate=100, seconds=1, band=None, patch=50, overlap=0)
"""Windows of 100 samples, as they come."""


def ramp(count: int, channels: int = 2) -> np.ndarray:
    """Every sample is its own number, and each channel 10,000 more than the one before."""
    return np.arange(count, dtype=np.float32) + 10_000 * np.arange(channels)[:, None]


def recording(*pieces: tuple[float, np.ndarray], **options) -> Recording:
    count = len(pieces[0][1])
    names = ["C3", "C4", "Cz"][:count]
    return Recording("r", names, [100.0] * count, [Piece(s, v) for s, v in pieces], **options)


def test_tiles_lie_side_by_side_in_the_middle():
    found = open_recordings(recording((0, ramp(350))), PLAIN)
    assert len(found) == 3 and found.shape == (2, 100) and found.channels == ("C3", "C4")
    batch = found.read([0, 1, 2])
    assert batch.values[:, 0, 0].tolist() == [25, 125, 225] and batch.values[1, 1, 99] == 10_224
    assert torch.equal(batch.places[0], torch.tensor([place("C3"), place("C4")]))
    assert bool(batch.valid.all()) and found.labels is None


def test_random_cuts_depend_on_seed_step_and_place_alone():
    found = open_recordings(recording((0, ramp(2000))), PLAIN)
    rows = [3, 7, 3, 12]
    whole = found.read(rows, Rng(5, 9)).values
    assert torch.equal(whole, found.read(rows, Rng(5, 9)).values)
    parts = [found.read(rows[i : i + 2], Rng(5, 9, start=i, total=4)).values for i in (0, 2)]
    assert torch.equal(whole, torch.cat(parts))
    assert not torch.equal(whole, found.read(rows, Rng(5, 10)).values)
    assert whole[0, 0, 0] != whole[2, 0, 0]  # one window twice in a batch is cut twice
    starts = torch.stack([found.read([7], Rng(0, step)).values[0, 0, 0] for step in range(60)])
    assert 650 <= starts.min() < 680 and 720 < starts.max() <= 750


def test_no_window_straddles_a_gap(tmp_path: Path):
    values = np.arange(1000.0) - 500
    path = write(
        tmp_path / "a.edf",
        File(
            [Channel("C3", values), Channel("C4", -values)],
            [0, 1, 2, 3, 50, 51, 52, 53, 54, 55],
            continuous=False,
        ),
    )
    found = open_recordings(path, PLAIN.model_copy(update={"seconds": 1.5}))
    assert len(found) == 2 + 4
    for step in range(40):
        batch = found.read(range(6), Rng(0, step)).values
        assert torch.allclose(batch.diff(dim=-1)[:, 0], torch.ones(()), atol=0.1)
        assert not ((batch[:, 0] < -100.5) & (batch[:, 0].amax(-1, keepdim=True) > -99.5)).any()


def test_channels_of_several_rates_agree_in_time(tmp_path: Path):
    def wave(rate: int) -> np.ndarray:
        return 100 * np.sin(2 * np.pi * 3 * np.arange(10 * rate) / rate)

    channels = [Channel(name, wave(rate), rate) for name, rate in (("C3", 250), ("C4", 100), ("Cz", 64))]
    found = open_recordings(
        write(tmp_path / "a.edf", File(channels)), PLAIN.model_copy(update={"seconds": 4})
    )
    values = found.read([0]).values[0]
    assert (values - values[1]).abs().max() < 2.0 and values.abs().max() > 95


def test_a_tone_has_the_same_size_at_every_rate_and_band():
    signal = ElectrodeSignal(rate=128, seconds=4, overlap=0)
    for rate in (100.0, 128.0, 500.0, 1000.0):
        tone = 50 * np.sin(2 * np.pi * 10 * np.arange(int(20 * rate)) / rate) + 300
        one = Recording("r", ["C3"], [rate], [Piece(0, tone[None])])
        values = open_recordings(one, signal).read([1]).values
        assert values.std() == pytest.approx(50 / np.sqrt(2), rel=0.03) and abs(float(values.mean())) < 1


def test_the_band_takes_out_what_is_outside():
    time = np.arange(6000) / 100
    mixed = (
        20 * np.sin(2 * np.pi * 10 * time)
        + 200 * np.sin(2 * np.pi * 0.05 * time)
        + 100 * np.sin(2 * np.pi * 48 * time)
    )
    signal = PLAIN.model_copy(update={"band": (0.5, 30.0), "seconds": 4.0})
    values = (
        open_recordings(Recording("r", ["C3"], [100.0], [Piece(0, mixed[None])]), signal).read([5]).values
    )
    assert values.std() == pytest.approx(20 / np.sqrt(2), rel=0.05)


def test_labels_of_folders_and_people_of_headers(tmp_path: Path):
    for part, kind, name, patient in (
        ("train", "rest", "a", "P1"),
        ("train", "task", "b", "P1"),
        ("train", "rest", "sub-07_run-1", "X X X X"),
        ("test", "task", "d", "P9"),
    ):
        folder = tmp_path / part / kind
        folder.mkdir(parents=True, exist_ok=True)
        write(folder / f"{name}.edf", File([Channel("C3", np.arange(500.0))], patient=patient))
    found = open_recordings(tmp_path, PLAIN)
    assert found.classes == ["rest", "task"] and np.bincount(found.labels.values).tolist() == [10, 5]
    assert found.subjects == ["07", "P1"] and np.unique(found.groups, return_counts=True)[1].tolist() in (
        [5, 10],
        [10, 5],
    )
    held = open_recordings(str(tmp_path), PLAIN, split="test")
    assert held.subjects == ["P9"] and len(held) == 5


@pytest.mark.parametrize(
    ("patient", "subjects"),
    [
        ("X M X X", ["a", "b"]),
        ("X F 02-MAY-1951 X", ["a", "b"]),
        ("X X X", ["a", "b"]),
        ("P7 M X X", ["P7 M X X"]),
        ("X M X Jane_Doe", ["X M X Jane_Doe"]),
        ("Jane Doe", ["Jane Doe"]),
    ],
)
def test_a_header_without_a_code_and_a_name_names_nobody(tmp_path: Path, patient: str, subjects: list[str]):
    for name in ("a", "b"):
        write(tmp_path / f"{name}.edf", File([Channel("C3", np.arange(500.0))], patient=patient))
    found = open_recordings(tmp_path, PLAIN)
    assert len(found.subjects) == len(subjects)
    assert subjects == ["a", "b"] or found.subjects == subjects


def test_electrodes_that_are_no_voltages_are_told(tmp_path: Path):
    channels = [Channel("C3", np.arange(500.0)), Channel("C4", np.arange(500.0), unit="")]
    channels.append(Channel("Temp", np.arange(500.0), unit="C"))
    with pytest.warns(OpenJEPAWarning, match="1 electrodes are left out, .* no voltages: C4 in ''") as said:
        found = open_recordings(write(tmp_path / "a.edf", File(channels)), PLAIN)
    assert found.channels == ("C3",) and len(said) == 1
    refused(write(tmp_path / "b.edf", File(channels[1:])), "C4 in ''.*: write uV, mV or V into its header")


def test_a_rate_beyond_all_amplifiers_is_refused():
    many = Recording("r", ["C3"], [9e6], [Piece(0, np.arange(2.0e6)[None])])
    refused(many, "9e.06 samples a second are too many")


def test_annotations_label_the_tiles_under_them():
    events = [Event(1.0, 3.0, "move"), Event(2.4, 0.3, "blink"), Event(7.0, 0.0, "click")]
    found = open_recordings(recording((0, ramp(1000)), events=events), PLAIN)
    named = [None if label < 0 else found.classes[label] for label in found.labels.values]
    assert named == [None, "move", "blink", "move"] + [None] * 6
    for step in range(20):
        starts = found.read([1, 3], Rng(0, step)).values[:, 0, 0]
        assert (starts >= 100).all() and (starts <= 300).all()  # it stays under its annotation
    with pytest.warns(OpenJEPAWarning, match="7 of 10 windows have no label"):
        assert len(labelled(found)) == 3


def test_windows_of_events_begin_where_annotations_do():
    signal = PLAIN.model_copy(update={"windows": "events", "offset": 0.5})
    events = [Event(1.0, 0.0, "a"), Event(10.0, 2.5, "b"), Event(19.9, 0.0, "a")]
    with pytest.warns(OpenJEPAWarning, match="1 of 3 stretches .* hold no event"):
        pieces = (0, ramp(1000)), (9.5, ramp(400)), (50, ramp(400))
        found = open_recordings(recording(*pieces, events=events), signal)
    assert [found.classes[i] for i in found.labels.values] == ["a", "b", "b"]
    batch = found.read(range(3)).values[:, 0, 0]
    assert batch.tolist() == [150, 100, 200]


def test_arrays_with_labels_and_groups():
    x = np.random.default_rng(0).normal(0, 10, (6, 2, 120)).astype(np.float32)
    found = open_recordings((x, [0, 1, 0, 1, 0, 1]), PLAIN, channels=["C3", "C4"], groups=[3, 3, 3, 5, 5, 5])
    assert found.classes == ["0", "1"]
    three, five = found.groups[0], found.groups[5]
    assert three != five and found.groups.tolist() == [three] * 3 + [five] * 3
    again = open_recordings((x[3:], [1, 0, 1]), PLAIN, channels=["C3", "C4"], groups=[5, 5, 3])
    assert again.groups.tolist() == [five, five, three]  # a person has one number in every set
    alone = open_recordings((x, [0, 1, 0, 1, 0, 1]), PLAIN, channels=["C3", "C4"])
    assert alone.groups is None and alone.labels.groups is None
    assert torch.equal(found.read([2]).values[0], torch.from_numpy(x[2, :, 10:110]))
    tensor = open_recordings(torch.from_numpy(x), PLAIN, channels=["C3", "C4"])
    assert torch.equal(tensor.read([2]).values, found.read([2]).values)


def test_npz_files(tmp_path: Path):
    x = np.random.default_rng(0).normal(0, 10, (4, 2, 200))
    np.savez(
        tmp_path / "a.npz",
        x=x,
        channels=["C3", "C4"],
        rate=200,
        y=["l", "r", "l", "r"],
        groups=["p", "p", "q", "q"],
    )
    found = open_recordings(tmp_path / "a.npz", PLAIN)
    assert (
        len(found) == 4
        and found.shape == (2, 100)
        and found.classes == ["l", "r"]
        and found.subjects == ["p", "q"]
    )


def test_recordings_of_several_montages_are_padded():
    both = [
        Recording("a", ["C3", "Cz"], [100.0] * 2, [Piece(0, ramp(200))]),
        Recording("b", ["Cz", "Oz"], [100.0] * 2, [Piece(0, ramp(200))]),
    ]
    found = open_recordings(both, PLAIN)
    assert found.channels == ("C3", "Cz", "Oz")
    batch = found.read([0, 2])
    assert batch.valid.tolist() == [[True, True, False], [False, True, True]]
    assert batch.values[1, 1, 0] == 0 and batch.values[1, 2, 0] == 10_000 and not batch.values[0, 2].any()


def test_what_is_no_number_is_a_gap():
    values = ramp(1000)
    values[1, 310:320] = np.nan
    with pytest.warns(OpenJEPAWarning, match=r"0\.1 s hold values that are no numbers"):
        found = open_recordings(recording((0, values)), PLAIN)
    assert len(found) == 3 + 6
    for step in range(20):
        assert found.read(range(9), Rng(0, step)).values.isfinite().all()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda v: v[:2].__setitem__(0, np.nan), "C3 hold no number"),
        (lambda v: v[:2].__setitem__(0, 7.0), "C3 are flat"),
        (lambda v: v.__imul__(1e4), "other units"),
    ],
)
def test_bad_channels_are_named(change, said: str):
    values = ramp(500)
    change(values)
    with pytest.warns(OpenJEPAWarning, match=said):
        open_recordings(recording((0, values)), PLAIN)


def refused(data, said: str, signal: ElectrodeSignal = PLAIN, **options):
    with pytest.raises(UserError, match=said) as caught:
        open_recordings(data, signal, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore::openjepa.errors.OpenJEPAWarning")
def test_what_cannot_be_used_is_one_sentence(tmp_path: Path):
    refused(recording((0, ramp(80))), r"longest stretch .* 0\.80 s, and a window has 1\.00 s")
    refused(recording((0, np.zeros((2, 500)))), "every channel is flat")
    refused(recording((0, np.full((2, 500), np.nan))), "no value is a number")
    refused(
        Recording("r", ["ECG", "EOG"], [100.0] * 2, [Piece(0, ramp(500))]), "none of its channels .ECG, EOG."
    )
    refused(Recording("r", ["C3", "EEG C3-REF"], [100.0] * 2, [Piece(0, ramp(500))]), "more than once")
    refused(Recording("r", ["C3"], [0.0], [Piece(0, ramp(500, 1))]), "no sampling rate")
    slow = Recording("r", ["C3"], [50.0], [Piece(0, ramp(500, 1))])
    refused(
        slow,
        r"50 samples a second show nothing above 25 Hz.* 40 Hz",
        ElectrodeSignal(rate=100, seconds=2, overlap=0),
    )
    refused(
        recording((0, ramp(500))),
        "no recording has an annotation",
        PLAIN.model_copy(update={"windows": "events"}),
    )
    refused(np.zeros((4, 2, 100)), "names no channels")
    refused(np.zeros((4, 2, 100)), "names 1 channels", channels=["C3"])
    refused(np.zeros((4, 2, 100, 3)), "no recording", channels=["C3", "C4"])
    refused((ramp(500)[None], [1, 2]), "labels have shape", channels=["C3", "C4"])
    refused(tmp_path / "none", "cannot be read")
    refused(tmp_path, "no readable recording")
    (tmp_path / "a.txt").write_text("x")
    refused(tmp_path / "a.txt", "ends in .edf")
    (tmp_path / "a.edf").write_text("x")
    refused(tmp_path, "a.edf: 1 bytes are no EDF file")
    np.savez(tmp_path / "b.npz", y=[1])
    refused(tmp_path / "b.npz", "no array named x")
    np.savez(tmp_path / "c.npz", x=np.array([object()]), channels=["C3"])
    refused(tmp_path / "c.npz", "cannot be read")
    refused(object(), "is no recording")
    write(tmp_path / "d.edf", File([Channel("C3", np.arange(500.0))]))
    refused(tmp_path / "d.edf", "regular expression", PLAIN.model_copy(update={"subject": "("}))


def test_a_damaged_file_in_a_folder_is_left_out_and_named(tmp_path: Path):
    write(tmp_path / "a.edf", File([Channel("C3", np.arange(500.0))]))
    (tmp_path / "b.edf").write_bytes(b"0       " + b" " * 100)
    with pytest.warns(OpenJEPAWarning, match=r"1 file is left out beside 1 recordings: b\.edf"):
        found = open_recordings(tmp_path, PLAIN)
    assert found.describe()["skipped"][0][0] == "b.edf" and found.describe()["windows"] == 5


@pytest.mark.parametrize(
    "options",
    [{"band": (40, 0.5)}, {"rate": 50, "band": (0.5, 40)}, {"seconds": 0.1}, {"channels": ("C3",)}],
)
def test_a_signal_that_cannot_be(options):
    with pytest.raises(UserError):
        ElectrodeSignal.parse(options)


def test_users_arrays():
    signal = PLAIN.model_copy(update={"channels": ("C3", "C4"), "places": (place("C3"), place("C4"))})
    batch = signal.batch(ramp(100))
    assert batch.values.shape == (1, 2, 100) and bool(batch.valid.all())
    other = signal.batch(np.ones((3, 1, 100)), channels=["Oz"])
    assert other.places[2, 0].tolist() == pytest.approx(place("Oz"))
    for raw, names, said in (
        (np.ones((3, 1, 100)), None, "are not"),
        (np.ones((3, 1, 100)), ["ECG"], "no electrode"),
        (np.full((3, 2, 100), np.nan), None, "no numbers"),
    ):
        with pytest.raises(UserError, match=said):
            signal.batch(raw, names)
    with pytest.raises(UserError, match="shorter than a token"):
        signal.tokenise(signal.batch(np.ones((1, 2, 40))))


def test_tokens_hold_their_second_and_what_a_convolution_needs_of_the_next():
    signal = ElectrodeSignal(rate=128, seconds=2, band=None, scale=10, clip=None)
    tokens = signal.tokenise(signal.batch(ramp(280), channels=["C3", "C4"]))
    assert tokens.values.shape == (1, 4, 152)
    assert tokens.values[0, 1, 0] * 10 == 128 and tokens.values[0, 0, 151] * 10 == 151
    assert tokens.values[0, 2, 0] * 10 == 10_000


def test_fif_needs_mne(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "mne", None)
    (tmp_path / "a.fif").write_bytes(b"x")
    refused(tmp_path / "a.fif", r"pip install 'openjepa\[eeg\]'")


def test_objects_and_files_of_mne(tmp_path: Path):
    mne = pytest.importorskip("mne")
    info = mne.create_info(["Fp1", "Cz", "Oz", "ECG"], 100.0, ["eeg"] * 3 + ["ecg"])
    values = np.concatenate([ramp(1000, 3), ramp(1000, 1)])
    raw = mne.io.RawArray(values * 1e-6, info, verbose="error")
    raw.set_annotations(mne.Annotations([2.0, 5.0], [1.0, 2.0], ["BAD cable", "task"]))
    found = open_recordings(raw, PLAIN)
    assert found.channels == ("Fp1", "Cz", "Oz") and len(found) == 2 + 7 and found.classes == ["task"]
    for step in range(10):
        first = found.read(range(9), Rng(0, step)).values[:, 0]
        assert ((first.amax(-1) < 200) | (first.amin(-1) > 299)).all()
    raw.info["bads"] = ["Cz"]
    raw.save(tmp_path / "a_raw.fif", verbose="error")
    assert open_recordings(tmp_path, PLAIN).channels == ("Fp1", "Oz")
    epochs = mne.EpochsArray(
        ramp(300, 3).reshape(3, 3, 100).transpose(1, 0, 2) * 1e-6,
        mne.pick_info(info, [0, 1, 2]),
        verbose="error",
    )
    assert len(open_recordings(epochs, PLAIN)) == 3


@pytest.mark.parametrize("dated", [True, False])
@pytest.mark.filterwarnings("ignore::openjepa.OpenJEPAWarning")
def test_annotations_of_a_cropped_object_of_mne_stay_where_they_were(tmp_path: Path, dated: bool):
    mne = pytest.importorskip("mne")
    raw = mne.io.RawArray(ramp(3000, 2) * 1e-6, mne.create_info(["C3", "C4"], 100.0, "eeg"), verbose="error")
    if dated:
        raw.set_meas_date(1_000_000)
    raw.set_annotations(mne.Annotations([10.0, 20.0], [5.0, 3.0], ["task", "BAD"]))
    raw.crop(4).save(tmp_path / "cropped_raw.fif", verbose="error")
    for data in (raw, tmp_path / "cropped_raw.fif"):
        found = open_recordings(data, PLAIN)
        values = found.read(range(len(found))).values[:, 0]
        inside = values[torch.from_numpy(found.labels.values >= 0)]
        assert inside.min() >= 950 and inside.max() <= 1550
        assert not ((values > 2000.5) & (values < 2299)).any()


def test_electrodes_of_mne_without_a_measured_place_have_that_of_their_name():
    mne = pytest.importorskip("mne")
    raw = mne.io.RawArray(
        ramp(1000, 3) * 1e-6, mne.create_info(["E55", "C4", "Cz"], 100.0, "eeg"), verbose="error"
    )
    raw.info["chs"][0]["loc"][:3] = (0.0, 0.095, 0.04)
    assert open_recordings(raw, PLAIN).channels == ("E55", "C4", "Cz")


def real(*parts: str) -> Path:
    root = os.environ.get("OPENJEPA_TEST_DATA")
    if not root or not (path := Path(root, *parts)).exists():
        pytest.skip(f"OPENJEPA_TEST_DATA names no folder with {'/'.join(parts)}")
    return path


@pytest.mark.data
def test_a_real_recording():
    found = open_recordings(real("eeg", "S001R03.edf"), ElectrodeSignal(seconds=4, windows="events"))
    assert found.subjects == ["S001"] and found.classes == ["T0", "T1", "T2"] and found.shape == (64, 536)
    assert {"FC5", "Iz", "T9"} <= set(found.channels) and 5 < found.spread < 100
