"""Recordings from files, folders, shards and arrays: what agrees, what is known, what is refused or left out."""

import io
import tarfile

import numpy as np
import pytest
import torch

from openjepa.common.rng import Rng
from openjepa.errors import OpenJEPAWarning, UserError
from openjepa.signals.audio import AudioSignal, Waves, open_sounds
from openjepa.signals.audio import opening as audio_opening
from openjepa.signals.base import hold_out
from openjepa.signals.label_table import LabelTable, with_labels

from .recordings import folder, soundfile, tone, write

SIGNAL = AudioSignal(seconds=0.32, bands=32, patch=8)


def alike(found: torch.Tensor, expected: torch.Tensor, most: float = 0.02, within: float = 14.0) -> bool:
    """Whether log-mels differ by at most `most` wherever either is at most `within` (60 dB) below the loudest."""
    heard = torch.maximum(found, expected) > expected.max() - within
    return bool((found - expected)[heard].abs().max() < most) and bool(heard.any(0).all())


def mels(data, signal: AudioSignal = SIGNAL) -> torch.Tensor:
    """Of the first clip, in bands up to 4 kHz."""
    batch = signal.model_copy(update={"high": 4000.0}).open(data).read([0])
    return batch.mels[0]


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
def test_files_of_16_24_and_32_bits_and_of_floats_agree(tmp_path, subtype: str):
    sound = tone()
    expected = mels([sound])
    assert alike(mels(write(tmp_path / "a.wav", sound, subtype=subtype)), expected)


@pytest.mark.parametrize("suffix", [".flac", ".ogg", ".mp3", ".aiff"])
def test_files_of_other_formats_agree(tmp_path, suffix: str):
    sound = tone()
    exact = suffix in (".flac", ".aiff")
    found = mels(write(tmp_path / f"a{suffix}", sound))
    assert alike(found, mels([sound]), 0.02 if exact else 0.7, 14.0 if exact else 8.0)


@pytest.mark.parametrize("rate", [8000, 11_025, 22_050, 44_100, 48_000])
def test_a_tone_has_the_same_features_at_any_rate(tmp_path, rate: int):
    expected = mels(write(tmp_path / "a.wav", tone(1.0, 16_000)))
    found = mels(write(tmp_path / "b.wav", tone(1.0, rate), rate))
    assert alike(found, expected) and alike(mels(Waves([tone(1.0, rate)], rate)), expected)


def test_stereo_is_the_mean_of_its_channels(tmp_path):
    left, right = tone(hertz=500), tone(hertz=1500, loud=0.2)
    both = mels(write(tmp_path / "a.wav", np.stack([left, right], 1)))
    assert alike(both, mels([(left + right) / 2]))
    assert alike(both, mels(Waves([np.stack([left, right], 1)], 16_000)))


def test_whole_numbers_are_scaled():
    sound = tone()
    for kind in (np.int16, np.int32):
        whole = (sound * np.iinfo(kind).max).astype(kind)
        assert alike(mels([whole]), mels([sound]))


def test_folders_tell_classes_and_names_tell_groups_and_folds(tmp_path):
    folder(tmp_path)
    samples = open_sounds(tmp_path, SIGNAL.model_copy(update={"names": "{fold}-{group}-{take}"}))
    labels = samples.labels
    assert (
        len(samples) == 8 and labels.names == ("high", "low") and labels.values.tolist() == [0] * 4 + [1] * 4
    )
    assert labels.folds.tolist() == [1, 1, 2, 2] * 2  # by name: 1-high0-0, 1-high1-2, 2-high0-1, 2-high1-3
    assert len(set(labels.groups)) == 4 and labels.groups[0] == labels.groups[2] != labels.groups[1]


def test_names_can_tell_the_class(tmp_path):
    for digit in (3, 10):
        for speaker in ("ann", "bob"):
            write(tmp_path / f"{digit}_{speaker}_0.wav", tone(0.4, hertz=200.0 * digit))
    labels = open_sounds(tmp_path, SIGNAL.model_copy(update={"names": "{label}_{group}_{take}"})).labels
    assert labels.names == ("3", "10") and sorted(labels.values.tolist()) == [0, 0, 1, 1]
    assert len(set(labels.groups)) == 2


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ("{take}", "must name one or more"),
        ("{label}/{group}", "does not fit 8 of 8"),
        ("{a}-{fold}-{c}", "folds are numbers"),
    ],
)
def test_patterns_that_cannot_serve_are_refused(tmp_path, names: str, said: str):
    folder(tmp_path)
    with pytest.raises(UserError, match=said):
        open_sounds(tmp_path, SIGNAL.model_copy(update={"names": names}))


def test_shards_of_recordings(tmp_path):
    folder(tmp_path / "files", 2)
    with tarfile.open(tmp_path / "sounds.tar", "w") as tar:
        for path in sorted((tmp_path / "files").rglob("*.wav")):
            tar.add(path, path.relative_to(tmp_path / "files"))
    packed, plain = open_sounds(tmp_path / "sounds.tar", SIGNAL), open_sounds(tmp_path / "files", SIGNAL)
    assert packed.labels.names == plain.labels.names == ("high", "low")
    assert torch.equal(packed.read(range(4)).mels, plain.read(range(4)).mels)


def test_short_clips_are_padded_and_long_ones_cut_by_seed_and_step():
    sounds = [tone(0.1), tone(2.0)]
    samples = SIGNAL.open(sounds)
    batch = samples.read([0, 1])
    assert batch.valid.sum(1).tolist() == [10, 32]
    wide = SIGNAL.open([np.concatenate([tone(1.0, hertz=h) for h in (300, 900, 2700)])])
    draws = [wide.read([0], Rng(0, step)).mels for step in (1, 2)]
    assert torch.equal(draws[0], wide.read([0], Rng(0, 1)).mels) and not torch.equal(*draws)
    ends = torch.stack([clip.mels[0].mean(1) for clip in wide.cuts([0])]).argmax(1)
    assert ends[0] < ends[1] < ends[2]  # the beginning, the middle, the end
    whole = samples.read([1, 0, 1], Rng(3, 4)).mels
    part = samples.read([0, 1], Rng(3, 4, start=1, total=3)).mels
    assert torch.equal(whole[1:], part)


def test_clips_are_the_same_whether_recordings_are_held_in_memory(tmp_path, monkeypatch):
    for i, rate in enumerate((16_000, 44_100)):
        write(
            tmp_path / f"{i}.wav", np.random.default_rng(i).normal(0, 0.1, rate * 2).astype(np.float32), rate
        )
    held = open_sounds(tmp_path, SIGNAL)
    monkeypatch.setattr(audio_opening, "IN_MEMORY_BYTES", 0)
    decoded = open_sounds(tmp_path, SIGNAL)
    assert held.in_memory and not decoded.in_memory and held.spec == decoded.spec
    for step in range(3):
        here, there = held.read([0, 1], Rng(0, step)), decoded.read([0, 1], Rng(0, step))
        assert there.mels is None and torch.equal(here.valid, there.valid)
        assert torch.allclose(SIGNAL.spectrograms(there), here.mels, atol=1e-3)
    edges = [(s.at(0.0).read([0]), s.at(1.0).read([0])) for s in (held, decoded)]
    for here, there in zip(*edges, strict=True):
        assert torch.allclose(SIGNAL.spectrograms(there), here.mels, atol=1e-3)


def test_tiles_of_one_recording_are_a_group():
    samples = SIGNAL.model_copy(update={"clips": "tiles"}).open([tone(1.0), tone(0.2), tone(0.7)])
    assert samples.recordings.tolist() == [0, 0, 0, 1, 2, 2]
    assert samples.labels.groups.tolist() == [0, 0, 0, 1, 2, 2] and (samples.labels.values == -1).all()
    assert samples.read(range(6)).valid.all(1).tolist() == [True, True, True, False, True, True]


def test_damaged_files_are_left_out_and_named(tmp_path):
    folder(tmp_path)
    (tmp_path / "low" / "text.wav").write_text("this is no sound")
    whole = (tmp_path / "low" / "1-low0-0.wav").read_bytes()
    (tmp_path / "low" / "cut.wav").write_bytes(whole[: len(whole) // 2])
    write(tmp_path / "low" / "empty.wav", np.zeros(0, np.float32))
    bad = tone(0.5)
    bad[100] = np.nan
    write(tmp_path / "low" / "nan.wav", bad, subtype="FLOAT")
    (tmp_path / "low" / "notes.txt").write_text("recorded in May")
    flac = write(tmp_path / "low" / "whole.flac", np.random.default_rng(0).normal(0, 0.1, 16_000))
    (tmp_path / "low" / "short.flac").write_bytes(flac.read_bytes()[:9000])
    ogg = write(tmp_path / "low" / "entire.ogg", np.random.default_rng(0).normal(0, 0.1, 40_000))
    (tmp_path / "low" / "short.ogg").write_bytes(ogg.read_bytes()[:9000])
    with pytest.warns(OpenJEPAWarning, match="7 files are left out beside 10 recordings"):
        samples = open_sounds(tmp_path, SIGNAL)
    reasons = {one.name.split("/")[1]: one.reason for one in samples.skipped}
    cut = {"cut.wav", "short.flac", "short.ogg"}
    assert set(reasons) == {"text.wav", "empty.wav", "nan.wav", "notes.txt", *cut}
    assert "cut off within a page" in reasons["short.ogg"]
    assert "cut off after 0.25 of 0.50 s" in reasons["cut.wav"] and reasons["empty.wav"] == "it is empty"
    assert "no numbers" in reasons["nan.wav"] and reasons["notes.txt"] == "no file of sound"


def test_recordings_shorter_than_half_a_token_are_told_before_training():
    token = SIGNAL.patch * SIGNAL.hop
    with pytest.raises(UserError, match=f"shorter than half a token of {token:g} s"):
        SIGNAL.open([tone(0.3 * token)] * 3, adapt=True)
    with pytest.warns(OpenJEPAWarning, match="1 of 2 clips are shorter than half a token"):
        SIGNAL.open([tone(), tone(0.3 * token)], adapt=True)
    assert SIGNAL.batch(tone(0.3 * token)).mels.isfinite().all()  # a trained model still embeds it


def test_too_few_clips_say_how_to_have_more():
    with pytest.raises(UserError, match=r"has 3 clips: give at least 16, .* with --signal.clips tiles"):
        hold_out(SIGNAL.open([tone()] * 3))


def test_a_silent_clip_is_told_and_gives_finite_features(tmp_path):
    write(tmp_path / "a.wav", tone())
    write(tmp_path / "b.wav", np.zeros(8000, np.float32))
    with pytest.warns(OpenJEPAWarning, match="1 of 2 recordings are silent"):
        samples = open_sounds(tmp_path, SIGNAL)
    signal = SIGNAL.fitted(samples)
    assert signal.tokenise(samples.read([0, 1])).values.isfinite().all()
    for level in ("keep", "clip", "frame"):
        tokens = signal.model_copy(update={"level": level}).tokenise(samples.read([1]))
        assert tokens.values.isfinite().all()
    for value in (0.0, 0.5):  # a constant is not heard either, and says nothing
        with pytest.raises(UserError, match="nothing is to be heard"):
            SIGNAL.open([np.full(8000, value, np.float32)])


def test_a_quiet_tone_and_a_short_click_are_heard(recwarn):
    click = np.zeros(8000, np.float32)
    click[4000] = 0.5
    SIGNAL.open([tone(), 1e-3 * tone(), click])
    assert not [each for each in recwarn if "silent" in str(each.message)]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (lambda path: path / "absent", "does not exist"),
        (lambda path: path / "a.txt", "is no sound"),
        (lambda path: path / "text", "none of its 1 recordings is readable"),
        (lambda path: path / "nothing", "no files of sound"),
        (lambda path: 7, "a int is no sound"),
        (lambda path: [], "it holds no recordings"),
        (lambda path: [np.full(800, np.nan, np.float32)], "recording 0: it holds values that are no numbers"),
        (lambda path: [np.full(800, 3e4, np.float32)], "its values reach 30,000"),
        (lambda path: [np.zeros((2, 3, 4), np.float32)], "no sound"),
        (lambda path: [np.zeros(80, np.uint8)], "of type uint8"),
        (lambda path: Waves([tone()], 0), "the rate 0"),
        (lambda path: Waves([tone()], "fast"), "the rate 'fast'"),
        (lambda path: Waves([tone()], 16_000, labels=[1, 2]), "labels of shape"),
    ],
)
def test_what_is_no_sound_gets_one_sentence(tmp_path, data, said: str):
    (tmp_path / "a.txt").write_text("x")
    (tmp_path / "nothing").mkdir()
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "a.wav").write_text("x")
    with pytest.raises(UserError, match=said) as caught:
        SIGNAL.open(data(tmp_path))
    assert "\n" not in str(caught.value)


def test_a_set_opened_for_another_signal_is_refused():
    samples = SIGNAL.open([tone()] * 3)
    with pytest.raises(UserError, match="opened for another signal"):
        SIGNAL.model_copy(update={"bands": 40}).open(samples)
    assert SIGNAL.open(samples) is samples


def test_recordings_of_a_lower_rate_than_was_trained_on_are_told():
    wide = SIGNAL.fitted(SIGNAL.open([tone()] * 3))
    assert wide.high == 8000
    with pytest.warns(OpenJEPAWarning, match="nothing above 4000 Hz"):
        wide.check(wide.open(Waves([tone(rate=8000)], 8000)))
    assert SIGNAL.fitted(SIGNAL.open(Waves([tone(rate=8000)], 8000))).high == 4000


def test_numpy_files(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.stack([tone(), tone(hertz=300)]), y=np.array(["high", "low"]))
    samples = SIGNAL.open(str(tmp_path / "a.npz"))
    assert samples.labels.names == ("high", "low") and samples.labels.values.tolist() == [0, 1]


def test_a_header_that_cannot_be_true(tmp_path):
    buffer = io.BytesIO()
    soundfile.write(buffer, tone(0.1), 16_000, format="WAV")
    raw = bytearray(buffer.getvalue())
    raw[24:28] = (3).to_bytes(4, "little")  # samples a second
    (tmp_path / "a.wav").write_bytes(raw)
    with pytest.raises(UserError, match="3 samples a second"):
        SIGNAL.open(tmp_path / "a.wav")


def test_labels_in_a_table_find_their_recordings(tmp_path):
    for name in ("a", "b", "c"):
        write(tmp_path / "sounds" / f"{name}.wav", tone(0.4))
    table = {"file": ["b.wav", "a.wav", "c.wav"], "label": ["dog", "cat", "dog"], "group": ["x", "y", "x"]}
    samples = SIGNAL.model_copy(update={"clips": "tiles", "seconds": 0.16}).open(tmp_path / "sounds")
    (found,) = with_labels(LabelTable.of(table), samples)
    names = np.array(found.labels.names)[found.labels.values]
    assert [(found.key(i), names[i]) for i in (0, 2, 4)] == [
        ("a.wav", "cat"),
        ("b.wav", "dog"),
        ("c.wav", "dog"),
    ]
    assert len(found) == 6 and len(set(found.labels.groups)) == 2
    assert torch.equal(found.subset([3]).read([0]).mels, samples.read([3]).mels)


def test_a_trained_model_looks_at_recordings_of_other_names(tmp_path):
    folder(tmp_path)
    signal = SIGNAL.model_copy(update={"names": "{label}_{group}"})
    with pytest.raises(UserError, match="does not fit 8 of 8"):
        signal.open(tmp_path, adapt=True)
    with pytest.warns(OpenJEPAWarning, match="labels are those of folders"):
        labels = signal.open(tmp_path).labels
    assert labels.names == ("high", "low") and labels.groups is None


@pytest.mark.parametrize("rate", [8, 8_000_000])
def test_a_rate_in_other_units_is_one_sentence(rate: int):
    with pytest.raises(UserError, match=r"8e?[0+6]* samples a second are no rate of sound: give it in Hz"):
        SIGNAL.open(Waves([tone()], rate))


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3", "aiff", "au", "w64", "caf"])
def test_a_file_that_is_cut_off_is_left_out_and_a_whole_one_is_read(tmp_path, suffix: str):
    write(tmp_path / f"whole.{suffix}", np.tile(tone(), 4))
    data = (tmp_path / f"whole.{suffix}").read_bytes()
    (tmp_path / f"cut.{suffix}").write_bytes(data[: int(0.6 * len(data))])
    with pytest.warns(OpenJEPAWarning, match=rf"1 file is left out .*cut\.{suffix}"):
        found = open_sounds(tmp_path, SIGNAL)
    assert len(found) == 1
