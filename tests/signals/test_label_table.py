"""Labels of a table: each row is of one sample, nothing is guessed, what does not match is told."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from openjepa.errors import OpenJEPAWarning, UserError
from openjepa.signals.base import Labels
from openjepa.signals.electrodes import ElectrodeSignal, open_recordings
from openjepa.signals.images import open_images
from openjepa.signals.label_table import LabelTable, with_labels
from openjepa.signals.parts import SplitPart, keys_of, labelled, part
from openjepa.signals.video import ClipCut, open_video

from ..toy_signal import BagSet, bags


def write(path: Path, *rows: Sequence[object]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(",".join(map(str, row)) + "\n" for row in rows))
    return path


def images_in(folder: Path, names: Sequence[str]) -> Path:
    for i, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8), 20 + i, np.uint8)).save(folder / name)
    return folder


def put(samples: object, table: Path, **columns: str) -> Labels:
    """The labels that a table gives; nothing may be said."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", OpenJEPAWarning)
        (found,) = with_labels(LabelTable.of(table, **columns), samples)  # ty: ignore
    return found.labels


@pytest.mark.parametrize(
    "ids",
    [
        ["a/1.png", "a/2.png", "b/3.png"],
        ["1.png", "2.png", "3.png"],
        ["1", "2", "3"],
        ["a/1", "a/2", "b/3"],
        ["photos/a/1.png", "photos/a/2.png", "photos/b/3.png"],
        ["/elsewhere/photos/a/1.png", "D:\\photos\\a\\2.png", "./b/3.png"],
    ],
)
def test_rows_are_matched_by_path_name_or_stem(tmp_path, ids):
    photos = images_in(tmp_path / "photos", ["a/1.png", "a/2.png", "b/3.png"])
    rows = list(zip(ids, ("cat", "dog", "cat"), strict=True))[::-1]  # whatever their order
    labels = put(open_images(photos), write(tmp_path / "t.csv", ("file", "label"), *rows))
    assert labels.names == ("cat", "dog") and labels.values.tolist() == [0, 1, 0]


def test_what_may_be_several_samples_is_refused(tmp_path):
    photos = open_images(images_in(tmp_path / "photos", ["a/1.png", "b/1.png", "b/2.png"]))
    table = write(tmp_path / "t.csv", ("id", "label"), ("1.png", "cat"), ("2", "dog"))
    with pytest.raises(UserError, match=r"'1.png' may be a/1.png or b/1.png: write folders"):
        with_labels(LabelTable.of(table), photos)
    table = write(tmp_path / "t.csv", ("id", "label"), ("b/2.png", "cat"), ("2", "dog"))
    with pytest.raises(UserError, match=r"'b/2.png' and '2' are both of .*b/2.png: keep one row a sample"):
        with_labels(LabelTable.of(table), photos)


def test_an_extension_decides_between_two_files(tmp_path):
    photos = open_images(images_in(tmp_path / "photos", ["1.png", "1.jpg"]))
    table = write(tmp_path / "t.csv", ("id", "label"), ("1.png", "cat"), ("1.jpg", "dog"))
    assert dict(zip(keys_of(photos), put(photos, table).values.tolist(), strict=True)) == {
        "1.jpg": 1,
        "1.png": 0,
    }
    table = write(tmp_path / "t.csv", ("id", "label"), ("1", "cat"))
    with pytest.raises(UserError, match="may be"):
        with_labels(LabelTable.of(table), photos)


def test_splits_are_told_apart_by_their_folders(tmp_path):
    root = images_in(tmp_path / "photos", ["train/1.png", "train/2.png", "test/1.png"])
    sets = [open_images(root, split=split) for split in ("train", "test")]
    assert [keys_of(samples) for samples in sets] == [["train/1.png", "train/2.png"], ["test/1.png"]]
    rows = [("train/1.png", "x"), ("test/1.png", "y"), ("train/2.png", "y")]
    table = write(tmp_path / "t.csv", ("id", "label"), *rows)
    train, test = with_labels(LabelTable.of(table), *sets)
    assert train.labels.values.tolist() == [0, 1] and test.labels.values.tolist() == [1]
    with pytest.raises(UserError, match=r"'1.png' may be train/1.png or test/1.png"):
        with_labels(LabelTable.of(write(tmp_path / "u.csv", ("id", "label"), ("1.png", "x"))), *sets)


def test_what_does_not_match_is_counted_and_named(tmp_path):
    photos = open_images(images_in(tmp_path / "photos", [f"{i}.png" for i in range(6)]))
    rows = [("0", "x"), ("1", "y"), ("2", ""), ("gone", "x"), ("lost.png", "y")]
    table = write(tmp_path / "t.csv", ("id", "label"), *rows)
    said = (
        r"2 of 5 rows match none of the images \(gone, lost.png\); 3 of 6 images have no row "
        r"\(3.png, 4.png, 5.png\); 1 rows have no 'label' \(2\)"
    )
    with pytest.warns(OpenJEPAWarning, match=said):
        (found,) = with_labels(LabelTable.of(table), photos)
    assert found.labels.values.tolist() == [0, 1, -1, -1, -1, -1]
    with pytest.warns(OpenJEPAWarning, match="4 of 6 images have no label and are left out here"):
        assert keys_of(labelled(found)) == ["0.png", "1.png"]


def test_numbers_are_variables_and_missing_ones_nan(tmp_path):
    photos = open_images(images_in(tmp_path / "photos", ["0.png", "1.png", "2.png", "3.png"]))
    rows = [("0", 1.5), ("1", -2), ("2", "NaN"), ("3", "1e3")]
    with pytest.warns(OpenJEPAWarning, match="1 rows have no 'age'"):
        (found,) = with_labels(LabelTable.of(write(tmp_path / "t.csv", ("id", "age"), *rows)), photos)
    assert found.labels.names == ("age",)
    np.testing.assert_array_equal(found.labels.values, [1.5, -2, np.nan, 1000])


@pytest.mark.parametrize(
    ("cells", "kind", "names"),
    [
        ([0, 1, 1, 0], None, ("0", "1")),
        ([1, 2, 2, 1], None, ("1", "2")),
        (["1.0", "2", "2.0", "1"], None, ("1", "2")),
        ([3, 1, 2, 0], None, ("age",)),  # each once
        ([10, 20, 10, 20], "classes", ("10", "20")),
        ([0, 1, 1, 0], "numbers", ("age",)),
        (["yes", "no", "no", "1"], None, ("1", "no", "yes")),
    ],
)
def test_codes_are_classes_and_other_numbers_are_not(tmp_path, cells, kind, names):
    photos = open_images(images_in(tmp_path / "photos", ["0.png", "1.png", "2.png", "3.png"]))
    table = write(tmp_path / "t.csv", ("id", "age"), *enumerate(cells))
    assert put(photos, table, **({"kind": kind} if kind else {})).names == names


def test_codes_that_are_taken_for_numbers_are_told(tmp_path):
    photos = open_images(images_in(tmp_path / "photos", ["0.png", "1.png", "2.png", "3.png"]))
    table = write(tmp_path / "t.csv", ("id", "code"), *enumerate([10, 20, 10, 20]))
    with pytest.warns(OpenJEPAWarning, match=r"'code' \(10, 20\) is taken as numbers; .* say --as classes"):
        with_labels(LabelTable.of(table), photos)


def test_groups_are_the_tables_where_it_has_some(tmp_path):
    photos = open_images(images_in(tmp_path / "photos", ["0.png", "1.png", "2.png", "3.png"]))
    rows = [(i, "x" if i % 2 else "y", f"p{i // 2}", 7) for i in range(4)]
    table = write(tmp_path / "t.csv", ("id", "label", "patient", "site"), *rows)
    labels = put(photos, table, group="patient")
    assert labels.groups is not None and labels.groups.tolist() == [0, 0, 1, 1]
    assert labels.group_names == {0: "p0", 1: "p1"}
    assert put(photos, table).groups is None
    rows[1] = (1, "x", "", 7)
    write(tmp_path / "t.csv", ("id", "label", "patient", "site"), *rows)
    with pytest.raises(UserError, match="'1' has no 'patient': say of whom"):
        put(photos, table, group="patient")


def test_arrays_are_matched_by_number(tmp_path):
    images = open_images(np.arange(4 * 64, dtype=np.uint8).reshape(4, 8, 8))
    table = write(tmp_path / "t.csv", ("row", "label"), (2, "a"), (0, "b"), (1, "a"), (3, "b"))
    assert put(images, table).values.tolist() == [1, 0, 0, 1]
    assert keys_of(images.subset([3, 1])) == ["3", "1"]


def test_columns_in_memory_do_as_well():
    images = open_images(np.arange(4 * 64, dtype=np.uint8).reshape(4, 8, 8))
    columns = {"id": [0, 1, 2, 3], "weight": np.array([0.5, 1.5, np.nan, 3])}
    with pytest.warns(OpenJEPAWarning, match="1 rows have no 'weight'"):
        (found,) = with_labels(LabelTable.of(columns), images)
    np.testing.assert_array_equal(found.labels.values, [0.5, 1.5, np.nan, 3])
    with pytest.raises(UserError, match=r"columns of \[1, 2\] rows"):
        LabelTable.of({"id": [0, 1], "label": [1]})
    with pytest.raises(UserError, match="say of which table"):
        LabelTable.of(None, label="age")


def test_shards_are_matched_by_key(tmp_path):
    import tarfile

    images_in(tmp_path, ["01.png", "02.png"])
    with tarfile.open(tmp_path / "train-000.tar", "w") as tar:
        for name in ("01.png", "02.png"):
            tar.add(tmp_path / name, name)
    images = open_images(tmp_path / "train-000.tar")
    assert keys_of(images) == ["train-000.tar/01.png", "train-000.tar/02.png"]
    table = write(tmp_path / "t.csv", ("key", "label"), ("02", "a"), ("01", "b"))
    assert put(images, table).values.tolist() == [1, 0]


def test_folders_of_frames_are_clips(tmp_path):
    root = images_in(
        tmp_path / "films", [f"{film}/{i}.png" for film in ("walk/a", "run/b") for i in range(4)]
    )
    clips = open_video(root, ClipCut(2), size=(8, 8))
    assert sorted(keys_of(clips)) == ["run/b", "walk/a"]
    table = write(tmp_path / "t.csv", ("clip", "speed"), ("a", 0.5), ("b", 2.5))
    assert sorted(put(clips, table).values.tolist()) == [0.5, 2.5]
    assert keys_of(clips.subset([1])) == [keys_of(clips)[1]]


def test_a_row_is_of_all_windows_of_its_recording(tmp_path):
    random = np.random.default_rng(0)
    for name in ("S001R03", "S002R03"):
        (tmp_path / "eeg").mkdir(exist_ok=True)
        np.savez(tmp_path / "eeg" / f"{name}.npz", x=random.normal(0, 10, (2, 640)), channels=["C3", "C4"])
    windows = open_recordings(tmp_path / "eeg", ElectrodeSignal(seconds=2, band=None, overlap=0))
    assert keys_of(windows) == ["S001R03.npz"] * 2 + ["S002R03.npz"] * 2
    assert [windows.second(i) for i in range(4)] == [0.5, 2.5, 0.5, 2.5]
    assert windows.group_names[int(windows.groups[0])] == "S001"
    labels = put(windows, write(tmp_path / "t.csv", ("id", "label"), ("S001R03", "ill"), ("S002R03", "well")))
    assert labels.values.tolist() == [0, 0, 1, 1] and labels.groups is not None  # their own: people
    assert len(set(labels.groups.tolist())) == 2
    (found,) = with_labels(LabelTable.of(tmp_path / "t.csv"), windows)
    assert found.subset([3]).labels.values.tolist() == [1]
    assert found.describe()["fingerprint"] != windows.describe()["fingerprint"]


def test_sets_of_other_peoples_signals_take_labels(tmp_path):
    samples = BagSet(bags(4))
    table = write(tmp_path / "t.csv", ("id", "label"), *enumerate("abab"))
    (found,) = with_labels(LabelTable.of(table), samples)
    assert found.labels.values.tolist() == [0, 1, 0, 1] and len(found) == 4 and found.noun == "bags"
    some = part(found, np.array([3, 0]))
    assert some.labels.values.tolist() == [1, 0] and keys_of(some) == ["3", "0"]
    assert len(some.read([0, 1])) == 2
    assert isinstance(part(samples, np.array([1])), SplitPart)
    assert found.describe()["fingerprint"] != samples.describe()["fingerprint"]


def test_a_damaged_image_is_replaced_by_one_of_its_new_class(tmp_path, monkeypatch):
    from openjepa.signals.images import image_set

    monkeypatch.setattr(image_set, "IN_MEMORY_BYTES", 0)
    root = images_in(tmp_path / "photos", [f"{c}/{i}.png" for c in "ab" for i in range(3)])
    photos = open_images(root)
    names = keys_of(photos)
    kinds = ["x", "y", "x", "y", "x", "y"]
    table = write(tmp_path / "t.csv", ("id", "label"), *zip(names, kinds, strict=True))
    (found,) = with_labels(LabelTable.of(table), photos)
    numbers = write(tmp_path / "n.csv", ("id", "age"), *zip(names, (1.5, 9, 8, 7, 2, 6), strict=True))
    (aged,) = with_labels(LabelTable.of(numbers), photos)
    before = photos.read([2, 4])
    (root / names[0]).write_bytes(b"damaged")
    assert (found.read([0])[0] == before[0]).all()  # the next x
    assert (aged.read([0])[0] == before[1]).all()  # the nearest number
    with pytest.warns(OpenJEPAWarning, match="a/0.png"):
        found.tell()


MISTAKES = [
    ("id,label\n", "is empty"),
    ("", "is empty"),
    ("id,label\n0,x\n0,y\n", "has '0' twice in 'id'"),
    ("id,label\n0,x\n,y\n", "row 3 has no 'id'"),
    ("id,label\n0,x\n1\n", "row 3 has 1 cells, and 2 columns are named"),
    ("id,id\n0,x\n", "two columns called 'id'"),
    ("id,a,b\n0,x,y\n", "which column holds the labels\\? Name one of 'a', 'b' with --label"),
    ("id,label\n8,x\n9,y\n", "none of its 2 ids \\(8, 9\\) is one of the images \\(0.png, 1.png\\)"),
    ("id,label\n0,\n1,nan\n", "no row has a 'label'"),
    ("id,label\n0,1.5\n1,inf\n", "'label' of '1' is infinite"),
]


@pytest.mark.parametrize(("text", "said"), MISTAKES)
def test_a_bad_table_is_one_sentence(tmp_path, text, said):
    photos = open_images(images_in(tmp_path / "photos", ["0.png", "1.png"]))
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(UserError, match=said):
        with_labels(LabelTable.of(tmp_path / "t.csv"), photos)


def test_other_mistakes_are_sentences_too(tmp_path):
    photos = open_images(images_in(tmp_path / "photos", ["0.png", "1.png"]))
    table = write(tmp_path / "t.csv", ("id", "age", "sex"), (0, 3, "m"), (1, "old", "f"))
    for columns, said in (
        ({"label": "weight"}, "no column 'weight': name one of 'id', 'age', 'sex' with --label"),
        ({"label": "age", "kind": "numbers"}, "'old' in 'age' is no number"),
        ({"label": "age", "group": "site"}, "no column 'site'"),
    ):
        with pytest.raises(UserError, match=said):
            with_labels(LabelTable.of(table, **columns), photos)
    (tmp_path / "t.xlsx").write_bytes(b"PK")
    (tmp_path / "t.parquet").write_bytes(b"PAR1")
    (tmp_path / "latin.csv").write_bytes("id,label\n0,\xe4\n".encode("latin-1"))
    for name, said in (
        ("t.xlsx", "is no table"),
        ("gone.csv", "No such file"),
        ("latin.csv", "not text in UTF-8"),
    ):
        with pytest.raises(UserError, match=said):
            with_labels(LabelTable.of(tmp_path / name), photos)
    pytest.importorskip("pyarrow")
    with pytest.raises(UserError, match="no readable Parquet file"):
        with_labels(LabelTable.of(tmp_path / "t.parquet"), photos)


def test_tables_of_other_programs_are_read(tmp_path):
    photos = open_images(images_in(tmp_path / "photos", ["0.png", "1.png"]))
    (tmp_path / "t.csv").write_text('\ufeffid;"age, years"\n0;3,5\n1;10\n')
    assert put(photos, tmp_path / "t.csv").values.tolist() == [3.5, 10]
    (tmp_path / "t.tsv").write_text("id\tlabel\n0\tcat, small\n1\tdog\n\n")
    assert put(photos, tmp_path / "t.tsv").names == ("cat, small", "dog")
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    columns = {"id": [1, 0], "age": pyarrow.array([2.5, None]), "vector": [[1.0], [2.0]]}
    parquet.write_table(pyarrow.table(columns), tmp_path / "t.parquet")
    with pytest.warns(OpenJEPAWarning, match="1 rows have no 'age'"):
        (found,) = with_labels(LabelTable.of(tmp_path / "t.parquet", label="age"), photos)
    np.testing.assert_array_equal(found.labels.values, [np.nan, 2.5])


def test_rows_of_other_folders_of_the_table_are_let_be(tmp_path):
    """Of a table of all classes, the folder of one of them is opened."""
    root = images_in(tmp_path / "photos", ["a/1.png", "b/1.png", "b/2.png"])
    table = write(tmp_path / "t.csv", ("id", "label"), ("a/1.png", "x"), ("b/1.png", "y"), ("b/2.png", "x"))
    with pytest.warns(OpenJEPAWarning, match=r"1 of 3 rows match none of the images \(a/1.png\)"):
        (found,) = with_labels(LabelTable.of(table), open_images(root / "b"))
    assert found.labels.values.tolist() == [1, 0]
