"""Clips from films, frames, shards and arrays."""

import io
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.signals.video.films import HEIGHT, WIDTH, film, numbers, picture, sound, write
from torch.utils.data import DataLoader, Dataset

from openjepa import OpenJEPAWarning
from openjepa.common.rng import Rng
from openjepa.errors import UserError
from openjepa.signals.video import ClipCut, clips, open_video
from openjepa.signals.video.decode import broken, decode, decode_at, inspect

SIZE = (HEIGHT, WIDTH)


@pytest.fixture(params=["held", "decoded"])
def where(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the set fits into memory."""
    if request.param == "decoded":
        monkeypatch.setattr(clips, "IN_MEMORY_BYTES", 0)
    return request.param == "held"


def test_clips_are_frames_of_a_film_at_a_stride(tmp_path: Path, where: bool):
    write(tmp_path, {"a/1.mp4": film(30), "b/2.mp4": film(9)})
    found = open_video(tmp_path, ClipCut(4, stride=2), size=SIZE)
    assert (found.in_memory, found.shape, found.labels.names, found.labels.values.tolist()) == (
        where,
        (4, 3, HEIGHT, WIDTH),
        ("a", "b"),
        [0, 1],
    )
    assert numbers(found.read([0])[0]) == [11, 13, 15, 17]  # 24 clips; the middle one
    assert numbers(found.at(0.0).read([0])[0]) == [0, 2, 4, 6]
    assert numbers(found.at(1.0).read([1])[0]) == [2, 4, 6, 8]
    assert [numbers(clips[0])[0] for clips in found.cuts([0, 1])] == [0, 11, 23]


def test_random_cuts_are_a_function_of_seed_step_and_place_in_the_batch(tmp_path: Path, where: bool):
    write(tmp_path, {f"{i}.mp4": film(30) for i in range(4)})
    found = open_video(tmp_path, ClipCut(4, stride=2), size=SIZE)
    whole = found.read([0, 1, 2, 3], Rng(seed=1, step=5))
    parts = [found.read(rows, Rng(1, 5, start=rows[0], total=4)) for rows in ([0, 1], [2, 3])]
    assert torch.equal(whole, torch.cat(parts))
    assert not torch.equal(whole, found.read([0, 1, 2, 3], Rng(1, 6)))
    starts = {numbers(clip)[0] for step in range(40) for clip in found.read([0, 1, 2, 3], Rng(1, step))}
    assert starts == set(range(24))  # every clip that the film has, the last included


def test_held_and_decoded_films_give_the_same_clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    uneven = np.cumsum([1, 1, 4, 1, 2] * 8).tolist()
    write(tmp_path, {"1.mp4": film(30), "2.mp4": film(40, stamps=uneven), "3.mp4": film(30, turned=-90)})
    sets = []
    for room in (2**30, 0):
        monkeypatch.setattr(clips, "IN_MEMORY_BYTES", room)
        sets += [open_video(tmp_path, cut, size=SIZE) for cut in (ClipCut(5, stride=3), ClipCut(5, fps=10))]
    for held, decoded in zip(sets[:2], sets[2:], strict=True):
        assert torch.equal(held.read([0, 1, 2]), decoded.read([0, 1, 2]))
        for step in range(3):
            assert torch.equal(held.read([0, 1, 2], Rng(0, step)), decoded.read([0, 1, 2], Rng(0, step)))


def test_frames_of_a_variable_rate_are_those_shown_at_their_time(tmp_path: Path, where: bool):
    stamps = [*range(10), *range(10, 60, 5), *range(60, 70)]  # the ten in the middle last five times as long
    write(tmp_path, {"1.mp4": film(30, stamps=stamps)})
    clip = open_video(tmp_path, ClipCut(14, fps=5), size=SIZE).at(0.0).read([0])[0]
    shown = [max(i for i, stamp in enumerate(stamps) if stamp <= 5 * k) for k in range(14)]
    assert numbers(clip) == shown


def test_seconds_do_not_depend_on_the_rate_of_a_film(tmp_path: Path, where: bool):
    write(tmp_path, {"1.mp4": film(20, rate=10), "2.mp4": film(40, rate=20)})
    slow, fast = open_video(tmp_path, ClipCut(4, fps=5), size=SIZE).at(0.0).read([0, 1])
    assert (numbers(slow), numbers(fast)) == ([0, 2, 4, 6], [0, 4, 8, 12])


def test_short_films_show_their_last_frame_on(tmp_path: Path, where: bool):
    write(tmp_path, {"1.mp4": film(1), "2.mp4": film(3)})
    found = open_video(tmp_path, ClipCut(4, stride=2), size=SIZE)
    for rng in (None, Rng(0, 0)):
        one, three = found.read([0, 1], rng)
        assert (numbers(one), numbers(three)) == ([0, 0, 0, 0], [0, 2, 2, 2])


@pytest.mark.parametrize(("turned", "bright"), [(-90, "right"), (90, "left"), (180, "bottom")])
def test_films_of_a_turned_phone_are_upright(tmp_path: Path, where: bool, turned: int, bright: str):
    """The upper half is bright; a file that says -90 is to be turned with the clock."""
    write(tmp_path, {"1.mp4": film(4, turned=turned)})
    upright = SIZE if turned == 180 else SIZE[::-1]
    frame = open_video(tmp_path, ClipCut(1), size=upright).read([0])[0, 0, 0].float()
    height, width = frame.shape
    halves = {"right": frame[:, width // 2 :], "left": frame[:, : width // 2], "bottom": frame[height // 2 :]}
    assert max(halves, key=lambda side: halves[side].mean()) == bright


def test_pixels_that_are_not_square_are_made_so(tmp_path: Path):
    write(tmp_path, {"1.mp4": film(2, aspect=(2, 1))})
    assert (inspect(tmp_path / "1.mp4").height, inspect(tmp_path / "1.mp4").width) == (HEIGHT, 2 * WIDTH)


@pytest.mark.filterwarnings("ignore::openjepa.OpenJEPAWarning")
@pytest.mark.parametrize(
    ("container", "codec"),
    [("matroska", "libx264"), ("avi", "mpeg4"), ("mpegts", "libx264"), ("webm", "vp9")],
)
def test_containers(tmp_path: Path, where: bool, container: str, codec: str):
    name = {"vp9": "libvpx-vp9"}.get(codec, codec)
    write(tmp_path, {f"1.{container[:3]}": b"", "a.mkv": film(30, container=container, codec=name)})
    with pytest.warns(
        OpenJEPAWarning, match=r"1 file is left out beside 1 clips: 1\.\w+ \(not a film|not a readable"
    ):
        found = open_video(tmp_path, ClipCut(4, stride=2), size=SIZE)
    assert numbers(found.at(0.0).read([0])[0]) == [0, 2, 4, 6]


def test_an_animated_picture_is_a_film(tmp_path: Path, where: bool):
    first, *rest = (Image.fromarray(picture(i)) for i in range(30))
    first.save(tmp_path / "1.gif", save_all=True, append_images=rest, duration=40)
    found = open_video(tmp_path, ClipCut(4, stride=2), size=SIZE)
    assert numbers(found.at(0.0).read([0])[0]) == [0, 2, 4, 6]


def test_frames_after_a_jump_are_those_of_decoding_from_the_start():
    data = film(200, rate=25)
    whole, times = decode(io.BytesIO(data), SIZE, 3, 1000)
    header = inspect(io.BytesIO(data))
    for start in (0.0, 2.04, 3.32, 6.6):
        at = start + 0.12 * np.arange(5)
        shown = decode_at(io.BytesIO(data), at, SIZE, 3, header)
        assert torch.equal(shown, whole[(at * 25).round().astype(int)])
    assert times[-1] == pytest.approx(199 / 25)


def damaged() -> dict[str, bytes]:
    whole = film(120)
    middle = bytearray(whole)
    place = (whole.index(b"mdat") + 3 * whole.index(b"moov")) // 4
    middle[place : place + 400] = bytes(400)
    return {
        "cut.mkv": film(40, container="matroska")[:-3000],
        "cut.mp4": whole[: len(whole) // 2],
        "middle.mp4": bytes(middle),
        "sound.mp4": sound(),
        "empty.mp4": b"",
        "text.mp4": b"no film",
        "signature.mp4": b"\x89PNG\r\n\x1a\n",
        "playlist.mp4": b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:9,\nfile:///etc/hostname\n#EXT-X-ENDLIST\n",
        "list.mp4": b"ffconcat version 1.0\nfile /etc/hostname\n",
    }


def test_damaged_films_are_left_out_counted_and_named(tmp_path: Path):
    write(tmp_path, {**damaged(), "notes.txt": b"hello", "whole.mp4": film(20)})
    with pytest.warns(OpenJEPAWarning, match="10 files are left out beside 1 clips") as said:
        found = open_video(tmp_path, ClipCut(4), size=SIZE)
    assert len(said) == 1 and len(found) == 1
    reasons = {skipped.name: skipped.reason for skipped in found.skipped}
    assert reasons.keys() == {*damaged(), "notes.txt"}
    assert reasons["notes.txt"] == "not a film"
    assert reasons["middle.mp4"].startswith("cut off or damaged after")
    assert reasons["sound.mp4"] == "it has sound alone"
    assert reasons["signature.mp4"] == reasons["text.mp4"] == "not a readable film"


@pytest.mark.filterwarnings("ignore::openjepa.OpenJEPAWarning")
@pytest.mark.parametrize(
    ("container", "codec"),
    [("matroska", "libx264"), ("webm", "libvpx"), ("flv", "flv"), ("avi", "mpeg4"), ("mp4", "libx264")],
)
@pytest.mark.parametrize("share", [0.6, 0.3])
def test_a_film_that_is_cut_off_is_left_out(
    tmp_path: Path, where: bool, container: str, codec: str, share: float
):
    """Also where the header does not say how many frames there are."""
    whole = film(200, container=container, codec=codec)
    suffix = {"matroska": "mkv"}.get(container, container)
    write(tmp_path, {f"whole.{suffix}": whole, f"cut.{suffix}": whole[: int(share * len(whole))]})
    found = open_video(tmp_path, ClipCut(4, stride=40), size=SIZE)
    found.read(range(len(found)))
    found.tell()
    assert [skipped.name for skipped in found.skipped] == [f"cut.{suffix}"]


@pytest.mark.filterwarnings("ignore::openjepa.OpenJEPAWarning")
def test_a_gif_that_is_cut_off_is_left_out(tmp_path: Path, where: bool):
    frames = [Image.fromarray(picture(i)) for i in range(30)]
    for name in ("whole.gif", "cut.gif"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], duration=40)
    data = (tmp_path / "cut.gif").read_bytes()
    (tmp_path / "cut.gif").write_bytes(data[: len(data) // 2])
    (tmp_path / "whole.gif").write_bytes(data + bytes(3))  # as some programs end it
    found = open_video(tmp_path, ClipCut(4), size=SIZE)
    assert len(found) == 1 and [skipped.name for skipped in found.skipped] == ["cut.gif"]


def test_damage_that_decoding_finds_is_replaced_by_a_film_of_its_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(clips, "IN_MEMORY_BYTES", 0)
    write(tmp_path, {"a/1.mp4": damaged()["middle.mp4"], "a/2.mp4": film(120), "b/1.mp4": film(1)})
    found = open_video(tmp_path, ClipCut(4, stride=30), size=SIZE)
    broken_one, good = found.read([0, 1])
    assert torch.equal(broken_one, good)
    with pytest.warns(OpenJEPAWarning, match="1 file is left out"):
        found.tell()
    found.tell()  # once
    assert [skipped.name for skipped in found.skipped] == ["a/1.mp4"]


def test_all_damaged_is_one_sentence(tmp_path: Path):
    write(tmp_path, {"1.mp4": b"", "2.mp4": b"x"})
    with pytest.raises(UserError, match="none of its 2 films is readable"):
        open_video(tmp_path, ClipCut(4), size=SIZE)


def test_a_film_that_goes_on_beyond_its_header_is_refused():
    with pytest.raises(ValueError, match="more than the 5 frames"):
        decode(io.BytesIO(film(30)), SIZE, 3, 5)


def test_frames_of_several_sizes_are_brought_to_one(tmp_path: Path, where: bool):
    """A stream may change its size; so may the pictures of a folder."""
    for i in range(6):
        path = tmp_path / "walk" / "one" / f"frame{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        side = 1 + i % 2
        Image.fromarray(picture(i, side * HEIGHT, side * WIDTH)).save(path)
    found = open_video(tmp_path, ClipCut(6), size=SIZE)
    assert numbers(found.read([0])[0]) == [0, 1, 2, 3, 4, 5]


def test_a_stream_that_changes_its_size(tmp_path: Path, where: bool):
    joined = film(10, container="mpegts", codec="mpeg2video") + film(
        10, container="mpegts", codec="mpeg2video", sides=(2 * HEIGHT, 2 * WIDTH)
    )
    write(tmp_path, {"1.ts": joined})
    found = open_video(tmp_path, ClipCut(10, stride=1), size=SIZE)
    assert found.read([0]).shape == (1, 10, 3, HEIGHT, WIDTH)


def test_folders_of_frames_are_films_in_the_order_of_their_numbers(tmp_path: Path, where: bool):
    for split, label, name in (("train", "a", "x"), ("train", "b", "y"), ("test", "b", "z")):
        folder = tmp_path / split / label / name
        folder.mkdir(parents=True)
        for i in range(12):
            Image.fromarray(picture(i)).save(folder / f"frame{i}.png")
    found = open_video(tmp_path, ClipCut(4, stride=3), size=SIZE)
    assert (found.labels.names, found.labels.values.tolist(), found.splits) == (
        ("a", "b"),
        [0, 1],
        ("train", "test"),
    )
    assert numbers(found.at(1.0).read([1])[0]) == [2, 5, 8, 11]
    assert open_video(tmp_path, ClipCut(4), split="test", size=SIZE).labels.values.tolist() == [1]
    with pytest.raises(
        UserError, match=r"has no time stamps to cut 5 frames a second by: set signal\.stride"
    ):
        open_video(tmp_path, ClipCut(4, fps=5), size=SIZE)


def test_a_damaged_frame_names_its_film_and_itself(tmp_path: Path):
    for film_name in ("x", "y"):
        (tmp_path / film_name).mkdir()
        for i in range(3):
            Image.fromarray(picture(i)).save(tmp_path / film_name / f"{i}.png")
    cut_off = tmp_path / "y" / "2.png"
    cut_off.write_bytes(cut_off.read_bytes()[:60])
    with pytest.warns(OpenJEPAWarning, match=r"1 file is left out beside 1 clips: y \(2\.png"):
        open_video(tmp_path, ClipCut(2), size=SIZE)


def test_shards_are_labelled_by_their_folders_and_grouped_by_their_names(tmp_path: Path, where: bool):
    path = tmp_path / "films.tar"
    with tarfile.open(path, "w") as tar:
        for name in ("walk/01-01.mp4", "walk/02-01.mp4", "run/02-02.mp4"):
            data = film(10)
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    found = open_video(path, ClipCut(2), size=SIZE, group="{group}-{clip}")
    assert (found.labels.names, found.labels.values.tolist()) == (("run", "walk"), [1, 1, 0])
    assert found.labels.groups.tolist() == [0, 1, 1]
    part = found.subset([2, 0])
    assert (part.labels.values.tolist(), part.labels.groups.tolist()) == ([0, 1], [1, 0])
    with pytest.raises(UserError, match=r"is not like signal\.group"):
        open_video(path, ClipCut(2), size=SIZE, group="{group}_{clip}")
    with pytest.raises(UserError, match=r"must hold \{group\} once"):
        open_video(path, ClipCut(2), size=SIZE, group="x")


def arrays() -> np.ndarray:
    return np.stack([np.stack([picture(i + k) for i in range(8)]) for k in range(3)])


def test_arrays_and_tensors(tmp_path: Path, where: bool):
    data, cut = arrays(), ClipCut(4, stride=2)
    expected = open_video((data, [0, 1, 0]), cut, size=SIZE)
    assert expected.labels.values.tolist() == [0, 1, 0]
    assert numbers(expected.read([1])[0]) == [1, 3, 5, 7]
    np.save(tmp_path / "clips.npy", data)
    np.savez(tmp_path / "clips.npz", x_train=data, y_train=["a", "b", "a"], x_test=data[:1], y_test=["a"])
    others = [
        open_video(torch.from_numpy(data).movedim(4, 2), cut, size=SIZE),
        open_video(data.astype(np.float32) / 255, cut, size=SIZE),
        open_video(list(data), cut, size=SIZE),
        open_video(tmp_path / "clips.npy", cut, size=SIZE),
        open_video(tmp_path / "clips.npz", cut, size=SIZE),
    ]
    for other in others:
        assert torch.equal(other.read([0, 1, 2]), expected.read([0, 1, 2]))
    assert others[-1].labels.names == ("a", "b") and others[-1].splits == ("train", "test")
    grey = open_video(data[..., 0], cut, size=SIZE)
    assert grey.shape == (4, 1, HEIGHT, WIDTH)
    assert torch.equal(grey.read([0])[:, :, 0], expected.read([0])[:, :, 0])


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (np.zeros((2, 3)), "clip 0 has shape"),
        (np.full((1, 2, 8, 8), 300.0), "values from 300"),
        ((np.zeros((2, 3, 8, 8), np.uint8), [1]), "labels of shape"),
        (np.zeros((0, 2, 8, 8)), "holds no clips"),
        ("nowhere", "does not exist"),
        (7, "cannot be read from a int"),
    ],
)
def test_mistakes_are_one_sentence(data, sentence: str):
    with pytest.raises(UserError, match=sentence):
        open_video(data, ClipCut(2), size=(8, 8)).read([0])


class _Reader(Dataset):
    def __init__(self, samples):
        self.samples = samples

    def __getitem__(self, step):
        return self.samples.read([0, 1], Rng(0, step))


def test_workers_read_what_this_process_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(clips, "IN_MEMORY_BYTES", 0)
    write(tmp_path, {"1.mp4": film(30), "2.mp4": film(30)})
    found = open_video(tmp_path, ClipCut(4, stride=2), size=SIZE)
    loader = DataLoader(
        _Reader(found), batch_size=None, sampler=range(4), num_workers=2, multiprocessing_context="fork"
    )
    for step, batch in enumerate(loader):
        assert torch.equal(batch, found.read([0, 1], Rng(0, step)))
    assert torch.equal(pickle.loads(pickle.dumps(found)).read([0]), found.read([0]))


def test_a_set_describes_itself(tmp_path: Path):
    write(tmp_path, {"1.mp4": film(30), "2.mp4": film(30)})
    told = open_video(tmp_path, ClipCut(4), size=SIZE).describe()
    assert (told["clips"], told["shape"], told["skipped"]) == (2, [4, 3, HEIGHT, WIDTH], [])
    assert (
        told["fingerprint"] != open_video(tmp_path, ClipCut(4, stride=2), size=SIZE).describe()["fingerprint"]
    )


def test_broken_names_what_damaged_films_raise():
    for data in damaged().values():
        with pytest.raises(broken()):
            decode(io.BytesIO(data), SIZE, 3, 1000)
            if len(decode(io.BytesIO(data), SIZE, 3, 1000)[0]) < 40:
                raise ValueError("cut off")  # a container without an index ends early
