"""Streamed embeddings equal direct ones; a file is whole or absent."""

import csv
import os
import subprocess
import sys

import numpy as np
import pytest

from openjepa.errors import UserError
from openjepa.evals import embed_to_file
from openjepa.signals.base import Labels


def test_npy_equals_direct_embedding(tmp_path, digit_sets, encoder):
    images = digit_sets[1]
    assert embed_to_file(encoder, images, tmp_path / "e.npy", batch_size=100) == (597, 12)
    written = np.load(tmp_path / "e.npy", allow_pickle=False)
    assert written.dtype == np.float32
    assert np.array_equal(
        written,
        np.concatenate(
            [encoder.embed(images.read(range(i, min(i + 100, 597)))).numpy() for i in range(0, 597, 100)]
        ),
    )
    assert sorted(os.listdir(tmp_path)) == ["e.npy", "e.samples.csv"]
    lines = (tmp_path / "e.samples.csv").read_text().splitlines()
    assert lines[:2] == ["index,sample,label", f"0,0,{images.labels.values[0]}"] and len(lines) == 598


def test_parquet_holds_index_label_and_embedding(tmp_path, digit_sets, encoder):
    parquet = pytest.importorskip("pyarrow.parquet")
    images = digit_sets[1]
    embed_to_file(encoder, images, tmp_path / "e.parquet", batch_size=100)
    table = parquet.read_table(tmp_path / "e.parquet")
    assert table.column_names == ["index", "sample", "label", "embedding"]
    assert table["index"].to_pylist() == list(range(597))
    assert table["label"].to_pylist() == images.labels.values.tolist()
    embedding = np.array(table["embedding"].to_pylist(), np.float32)
    assert np.allclose(embedding, encoder.embed(images.read(range(597))).numpy(), atol=1e-6)


def test_unlabelled_parquet_has_no_label_column(tmp_path, digits, make_images, encoder):
    parquet = pytest.importorskip("pyarrow.parquet")
    embed_to_file(encoder, make_images(digits[0][:5], None), tmp_path / "e.parquet")
    assert parquet.read_table(tmp_path / "e.parquet").column_names == ["index", "sample", "embedding"]


@pytest.mark.parametrize("name", ["e.npy", "e.parquet", "e.csv"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interruption_leaves_the_old_file_and_nothing_else(tmp_path, digit_sets, encoder, name, error):
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    (tmp_path / name).write_bytes(b"old")

    def interrupt(what, done, total):
        if done >= 300:
            raise error

    with pytest.raises(error):
        embed_to_file(encoder, digit_sets[1], tmp_path / name, batch_size=100, progress=interrupt)
    assert (tmp_path / name).read_bytes() == b"old"
    assert os.listdir(tmp_path) == [name]


def test_memory_is_bounded_by_the_batch(tmp_path):
    """160 MB of embeddings with an address space that could not hold them twice beside the libraries."""
    script = """
import resource, sys, torch, numpy as np
from openjepa.evals.embed import embed_to_file
class Images:
    shape, labels, classes = (1, 2, 2), None, None
    def __len__(self): return 40_000
    def read(self, rows): return torch.as_tensor(rows).view(-1, 1, 1, 1).expand(-1, 1, 2, 2)
class Model:
    def embed(self, batch): return batch[:, 0, 0, :1].float().expand(-1, 1000)
embed_to_file(Model(), type("Few", (Images,), {"__len__": lambda s: 500})(), sys.argv[1] + "/warm.npy")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
embed_to_file(Model(), Images(), sys.argv[1] + "/e.npy")
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""
    grown = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert float(grown.stdout) < 40
    assert np.load(tmp_path / "e.npy", mmap_mode="r")[39_999, 999] == 39_999


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("e.txt", "name a file that ends in .npy or .parquet or .csv"),
        ("none/e.npy", "cannot write .*No such file"),
    ],
)
def test_places_that_cannot_be_written(tmp_path, digit_sets, encoder, name, message):
    with pytest.raises(UserError, match=message):
        embed_to_file(encoder, digit_sets[1], tmp_path / name)
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_one_sentence(tmp_path, digit_sets, encoder, monkeypatch):
    from openjepa.common import files

    with open("/dev/full", "wb") as full:
        monkeypatch.setattr(files, "open", lambda path, mode: full, raising=False)
        with pytest.raises(UserError, match=r"cannot write .*No space left on device"):
            embed_to_file(encoder, digit_sets[1], tmp_path / "e.npy")


def test_parquet_without_pyarrow_names_the_extra(tmp_path, digit_sets, encoder, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UserError, match=r"pip install 'openjepa\[parquet\]'"):
        embed_to_file(encoder, digit_sets[1], tmp_path / "e.parquet")


def test_nan_embeddings_are_refused(tmp_path, digit_sets, encoder):
    encoder.embed = lambda batch: batch.flatten(1).float() / (batch.flatten(1).float() != 3)
    bad = next(i for i in range(597) if (digit_sets[1].read([i]) == 0).any())
    with pytest.raises(UserError, match=f"mine gives a NaN or infinite embedding for sample {bad} "):
        encoder.embed = lambda batch: (1 / batch.float()).flatten(1)
        embed_to_file(encoder, digit_sets[1], tmp_path / "e.npy", name="mine")
    assert os.listdir(tmp_path) == []


def test_an_image_without_a_label_has_none_in_the_table(tmp_path, digits, make_images, encoder):
    parquet = pytest.importorskip("pyarrow.parquet")
    labels = np.array([3, -1, 5])
    embed_to_file(encoder, make_images(digits[0][:3], labels), tmp_path / "e.parquet")
    assert parquet.read_table(tmp_path / "e.parquet")["label"].to_pylist() == [3, None, 5]


def test_rows_say_names_of_classes_and_groups_and_where_a_window_lies(tmp_path, digits, make_images, encoder):
    images = make_images(digits[0][:4], None)
    images.labels = Labels(
        np.array([1, 0, -1, 1]), ("cat", "dog, small"), np.array([5, 7, 7, -1]), None, {5: "ann", 7: "bo"}
    )
    images.second = lambda i: 0.5 * i
    embed_to_file(encoder, images, tmp_path / "e.csv", batch_size=3)
    rows = list(csv.reader((tmp_path / "e.csv").read_text().splitlines()))
    assert rows[0] == ["index", "sample", "second", "label", "group", *(f"e{i}" for i in range(12))]
    assert [row[:5] for row in rows[1:]] == [
        ["0", "0", "0", "dog, small", "ann"],
        ["1", "1", "0.5", "cat", "bo"],
        ["2", "2", "1", "", "bo"],
        ["3", "3", "1.5", "dog, small", ""],
    ]
    vectors = np.array([row[5:] for row in rows[1:]], np.float32)
    assert np.array_equal(vectors, encoder.embed(images.read(range(4))).numpy())


def test_numbers_are_columns_and_a_first_part_without_labels_is_no_obstacle(
    tmp_path, digits, make_images, encoder
):
    parquet = pytest.importorskip("pyarrow.parquet")
    images = make_images(digits[0][:4], None)
    images.labels = Labels(np.array([[1.5, 2], [np.nan, 3], [0, 0], [1, 1]]), ("age", "weight"))
    embed_to_file(encoder, images, tmp_path / "e.csv")
    lines = (tmp_path / "e.csv").read_text().splitlines()
    assert lines[0].startswith("index,sample,label age,label weight,e0") and lines[2].startswith("1,1,,3,")
    images.labels = Labels(np.array([-1, -1, 0, 0]), ("cat",))
    embed_to_file(encoder, images, tmp_path / "e.parquet", batch_size=2)
    assert parquet.read_table(tmp_path / "e.parquet")["label"].to_pylist() == [None, None, "cat", "cat"]
