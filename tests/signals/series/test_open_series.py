"""Series out of files and arrays: what is read, what belongs to which split, what is refused."""

import gc
import warnings
from pathlib import Path

import numpy as np
import pytest

from openjepa.common.rng import Rng
from openjepa.errors import OpenJEPAWarning, UserError
from openjepa.recipes import configure
from openjepa.signals.base import hold_out
from openjepa.signals.series import SeriesSignal, open_series

from .files import waves, write_csv, write_ts

CUT = SeriesSignal(length=64, patch=8, tokens="channel")


def test_ts_files_give_channels_classes_gaps_and_unequal_lengths(tmp_path: Path) -> None:
    x, _ = waves(6, channels=2, steps=30)
    series = [one[:, : 20 + i] for i, one in enumerate(x)]
    series[2] = series[2].copy()
    series[2][0, 5:8] = np.nan
    write_ts(tmp_path / "W_TRAIN.ts", series, ["up", "down"] * 3, dimensions=2)
    write_ts(tmp_path / "W_TEST.ts", series[:2], ["up", "down"], dimensions=2)
    found = open_series(tmp_path / "W_TRAIN.ts", CUT, adapt=True)
    assert found.shape == (2, 25) and found.labels.names == ("down", "up") and found.labels.values[0] == 1
    assert (
        len(open_series(tmp_path, CUT, split="test"))
        == 2
        == len(open_series(tmp_path / "W_TRAIN.ts", CUT, split="test"))
    )
    batch = found.read([2, 5])
    assert batch.valid.sum(-1).tolist() == [[19, 22], [25, 25]]
    line = np.interp(np.arange(22), np.r_[0:5, 8:22], series[2][0][np.r_[0:5, 8:22]])
    assert np.allclose(batch.values[0, 0, :22], line, atol=1e-4)
    assert np.allclose(batch.values[0, 0, 22:], line[-1], atol=1e-4)


def test_tsv_files_begin_with_the_class(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("1\t0.5\t1\t2\n-1.0\t3\t4\tNaN\n")
    found = open_series(tmp_path / "a.tsv", SeriesSignal(length=2, patch=1, tokens="channel"))
    assert found.labels.names == ("-1", "1") and found.labels.values.tolist() == [1, 0]


def test_a_single_series_is_split_in_time_and_cut_into_windows(tmp_path: Path) -> None:
    table = np.arange(1000)[:, None] + np.array([0.0, 10_000.0])
    path = write_csv(tmp_path / "a.csv", table, ["load", "oil"])
    cut = SeriesSignal(length=40, patch=8, tokens="channel", parts=(0.5, 0.25, 0.25))
    train, test = (open_series(path, cut, split=split) for split in ("train", "test"))
    assert train.channels == ("load", "oil") and len(train) == 12 and train.labels is None
    starts = train.read(range(12)).values[:, 0, 0]
    assert (starts.diff() == 40).all() and train.read(range(12)).values[:, 0].max() < 500
    assert test.read(range(len(test))).values[:, 0].min() >= 750
    assert (train.read([3]).values[0, 1] - train.read([3]).values[0, 0] == 10_000).all()
    drawn = train.read(range(12), Rng(0, 0)).values[:, 0]
    assert (drawn.diff(dim=1) == 1).all() and drawn.max() < 500 and not (drawn[:, 0] == starts).all()
    halves = [train.read(range(i, i + 6), Rng(0, 0, start=i, total=12)).values[:, 0] for i in (0, 6)]
    assert np.array_equal(drawn, np.concatenate(halves))
    assert "500 of 1,000" in train.describe()["steps"]


def test_what_comes_follows_the_windows_of_its_part_alone(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", np.arange(1000.0)[:, None], ["load"])
    cut = SeriesSignal(length=40, patch=8, parts=(0.5, 0.25, 0.25), season=24)
    train, test = (open_series(path, cut, split=split).leaving(10) for split in ("train", "test"))
    assert len(train) == 500 - 50 + 1 and len(test) == 250 - 10 + 1  # the first looks back into validation
    values, coming = test.read(range(len(test))).values[:, 0], test.coming(10)[..., 0]
    assert coming.min() == 750 and coming.max() == 999 and train.coming(10).max() == 499
    assert (coming[:, 0] == values[:, -1].numpy() + 1).all() and (np.diff(coming, axis=1) == 1).all()
    assert (test.latest()[:, 0, 0] == values[:, -1].numpy()).all()
    assert (coming - test.lagged(10)[..., 0] == 24).all()
    with pytest.raises(UserError, match="are not followed by 11 steps"):
        train.coming(11)
    with pytest.raises(UserError, match="a nearer horizon"):
        train.leaving(470)


def test_each_channel_is_a_sample_where_channels_are_apart(tmp_path: Path) -> None:
    table = np.arange(300)[:, None] + np.array([0.0, 1000.0, 5000.0])
    path = write_csv(tmp_path / "a.csv", table, ["a", "b", "c"])
    cut = SeriesSignal(length=50, patch=10)
    signal = cut.fitted(cut.open(path, adapt=True))
    found = signal.open(path)
    assert found.shape == (1, 50) and len(found) == 12
    batch = found.read(range(12))
    assert batch.channel[:, 0].tolist() == [0, 1, 2] * 4
    standardised = signal.standardised(batch)
    assert np.allclose(standardised[0], standardised[1], atol=1e-4) and abs(float(standardised.mean())) < 0.1
    assert np.allclose(found.leaving(5).coming(5)[0], found.leaving(5).coming(5)[1], atol=1e-4)


def test_statistics_are_those_of_the_training_part(tmp_path: Path) -> None:
    table = np.r_[np.random.default_rng(0).normal(3, 2, 700), np.full(300, 1e6)][:, None]
    path = write_csv(tmp_path / "a.csv", table, ["x"])
    signal = SeriesSignal(length=50, patch=10)
    fitted = signal.fitted(signal.open(path, adapt=True))
    assert fitted.mean[0] == pytest.approx(3, abs=0.3) and fitted.std[0] == pytest.approx(2, rel=0.1)


def test_tables_may_hold_many_series_and_classes(tmp_path: Path) -> None:
    rows = ["who;what;x;y"]
    for name, what in (("b", "run"), ("a", "walk"), ("c", "run")):
        rows += [f"{name};{what};{i},5;{-i}" for i in range(10)]
    (tmp_path / "a.csv").write_text("\n".join(rows))
    cut = SeriesSignal(length=10, patch=2, tokens="channel", by="who", label="what", group="who")
    found = open_series(tmp_path / "a.csv", cut)
    assert len(found) == 3 and found.channels == ("x", "y") and found.labels.names == ("run", "walk")
    assert found.labels.values.tolist() == [0, 1, 0] and len(set(found.labels.groups.tolist())) == 3
    assert found.read([0]).values[0, :, 3].tolist() == [3.5, -3.0]
    steps = ["x,state", *(f"{i},{'low' if i < 50 else 'high'}" for i in range(100))]
    (tmp_path / "b.csv").write_text("\n".join(steps))
    cut = SeriesSignal(length=20, patch=5, label="state", parts=None)
    found = open_series(tmp_path / "b.csv", cut)
    assert [found.labels.names[v] for v in found.labels.values] == ["low", "low", "high", "high", "high"]


def test_parquet_tables_and_lists(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"series": [[1.0, 2, 3], [4.0, 5]], "kind": ["a", "b"]}), tmp_path / "l.parquet")
    found = open_series(
        tmp_path / "l.parquet", SeriesSignal(length=3, patch=1, tokens="channel", label="kind")
    )
    assert found.labels.names == ("a", "b") and found.read([1]).valid[0, 0].tolist() == [True, True, False]
    pq.write_table(pa.table({"time": [0, 1, 2, 3], "x": [1.0, None, 3, 4]}), tmp_path / "t.parquet")
    found = open_series(tmp_path / "t.parquet", SeriesSignal(length=4, patch=1, parts=None))
    assert found.channels == ("x",) and found.read([0]).values[0, 0].tolist() == [1, 2, 3, 4]


def test_numpy_files_and_arrays(tmp_path: Path) -> None:
    x, y = waves(20, channels=3)
    np.savez(tmp_path / "a.npz", x=x, y=y, groups=y * 7, lengths=np.full(20, 50), channels=["u", "v", "w"])
    found = open_series(tmp_path / "a.npz", CUT)
    assert found.channels == ("u", "v", "w") and found.labels.values.tolist() == y.tolist()
    assert len(np.unique(found.labels.groups)) == 2 and found.read([0]).valid.sum() == 150
    np.savez(tmp_path / "b.npz", x_train=x, y_train=y, x_test=x[:4], y_test=y[:4])
    assert len(open_series(tmp_path / "b.npz", CUT, split="test")) == 4
    np.save(tmp_path / "c.npy", x[:, 0])
    assert open_series(tmp_path / "c.npy", CUT).shape == (1, 64)
    variables = open_series((x, y / 3), CUT).labels.values
    assert variables.dtype.kind == "f"


def test_a_folder_of_files_is_labelled_by_its_folders_and_damaged_ones_are_named(tmp_path: Path) -> None:
    x, y = waves(8, channels=2)
    for i, (one, label) in enumerate(zip(x, y, strict=True)):
        folder = tmp_path / ("slow", "fast")[label]
        folder.mkdir(exist_ok=True)
        write_csv(folder / f"{i}.csv", one.T, ["a", "b"])
    (tmp_path / "slow" / "bad.csv").write_text("a,b\n1,2\n3\n")
    with pytest.warns(OpenJEPAWarning, match=r"bad.csv \(row 3 has 1 cells"):
        found = open_series(tmp_path, CUT)
    assert len(found) == 8 and found.labels.names == ("fast", "slow") and found.key(0) == "fast/1.csv"


def refused(match: str, data: object, **options: object) -> None:
    signal = SeriesSignal.parse({"length": 64, "patch": 8, "tokens": "channel"} | options)
    with pytest.raises(UserError, match=match) as caught:
        signal.fitted(signal.open(data, adapt=True))
    assert "\n" not in str(caught.value)


def test_bad_series_get_one_sentence(tmp_path: Path) -> None:
    x, y = waves(20, steps=6)
    refused("the longest series has 6 steps, fewer than a patch of 8", x)
    refused("its series never change", np.ones((20, 1, 64)))
    refused("holds no number at all", np.full((20, 1, 64), np.nan))
    refused("is no set of series", np.array([["a"]]))
    refused("labels have shape", (x, y[:3]))
    refused("holds no column|no column of numbers", _text(tmp_path / "a.csv", "a,b\nx,y\nz,w\n"))
    refused("no column 'kind'", write_csv(tmp_path / "b.csv", x[0].T, ["u"]), label="kind")
    refused("it is cut off", _text(tmp_path / "a.ts", "@problemName x\n@timeStamps false\n"))
    refused("'one' where a number", _text(tmp_path / "b.ts", "@data\n1,one,3\n"))
    refused(
        "line 3 has 1 channels, and its header says 2",
        _text(tmp_path / "c.ts", "@dimensions 2\n@data\n1,2,3\n"),
    )
    refused("carry time stamps", _text(tmp_path / "d.ts", "@timeStamps true\n@data\n(0,1)\n"))
    (tmp_path / "e.npz").write_bytes(b"PK\x03\x04 cut")
    refused("not a readable numpy file", tmp_path / "e.npz")
    refused("is no file of series", _text(tmp_path / "f.doc", "x"))
    refused("is empty", _text(tmp_path / "g.csv", ""))
    refused("first line holds numbers", _text(tmp_path / "h.csv", "0.5,1.5\n2.5,3\n"))
    refused("cannot be read", tmp_path / "none.csv")


def _text(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_a_cut_off_archive_is_not_left_open(tmp_path: Path) -> None:
    (tmp_path / "cut.npz").write_bytes(b"PK\x03\x04 cut")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        refused("not a readable numpy file", tmp_path / "cut.npz")
        gc.collect()
    assert not [one for one in said if one.category is ResourceWarning]


def test_a_channel_that_never_changes_is_said_and_too_few_windows_say_how_to_have_more() -> None:
    x, _ = waves(1)
    with pytest.warns(OpenJEPAWarning, match="channel 1 never changes: leave it out"):
        samples = open_series(np.concatenate([x, np.full_like(x, 3.0)], 1), CUT)
    with pytest.raises(UserError, match=r"a smaller --signal.length, or a --signal.stride"):
        hold_out(samples)


def test_a_series_among_others_that_never_changes_is_said() -> None:
    x, _ = waves(20)
    x[3] = 5
    with pytest.warns(OpenJEPAWarning, match=r"1 of 20 series never change: array\[3\]"):
        open_series(x, CUT)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("steps", [200, 3000, 17420])
def test_one_table_has_enough_windows_for_the_preset_that_takes_minutes(steps: int, channels: int):
    signal = configure("ts-jepa", "tiny").signal
    values = np.random.default_rng(0).normal(size=(1, channels, steps)).astype(np.float32).cumsum(-1)
    found = signal.open(values, adapt=True)
    fitted = signal.fitted(found)
    assert len(found) >= 48 and fitted.length % fitted.patch == 0 and fitted.length >= 2 * fitted.patch
    assert len(signal.open(values, adapt=True)) == len(found)
    later = fitted.open(values, "test")
    assert later.shape[-1] == fitted.length
    last = int(0.7 * steps)
    assert all(int(high) + fitted.length <= last for high in found._windows.high)


def test_series_that_are_long_enough_keep_the_length_that_was_asked_for():
    values = np.random.default_rng(0).normal(size=(40, 1, 700)).astype(np.float32)
    assert open_series(values, SeriesSignal(length=320), adapt=True).shape == (1, 320)
    assert len(open_series(values, SeriesSignal(length=320), adapt=True)) == 80
    assert open_series(values[:3], SeriesSignal(length=1000), adapt=True).shape == (
        1,
        700,
    )  # each is a sample


def test_series_shorter_than_a_patch_are_counted(tmp_path: Path):
    for name, steps in (("a", 400), ("b", 2)):
        rows = "\n".join(f"{i % 7}.5" for i in range(steps))
        (tmp_path / f"{name}.csv").write_text(f"x\n{rows}\n")
    with pytest.warns(OpenJEPAWarning, match="1 of 2 series are shorter than a patch of 32 steps"):
        open_series(tmp_path, SeriesSignal(), adapt=True)


def test_channels_that_are_samples_of_their_own_count_as_many():
    values = np.random.default_rng(0).normal(size=(1, 7, 966)).astype(np.float32)
    signal = SeriesSignal(length=104, patch=8, tokens="apart")
    assert signal.open(values, adapt=True).shape == (1, 104)
