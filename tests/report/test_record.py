"""A run directory is read as far as it goes."""

import pytest

from openjepa.errors import UserError
from openjepa.report.record import read_record

CONFIG = '{"recipe": "i-jepa"}'
DEEP = "[" * 5000


def test_a_run_that_was_killed_is_read_up_to_its_last_whole_line(tmp_path):
    (tmp_path / "config.json").write_text(CONFIG)
    lines = '{"step": 0, "kind": "train", "loss": 2.0}\n{"step": 1, "kind": "train", "loss": null}\n{"step": 2, "ki'
    (tmp_path / "metrics.jsonl").write_text(lines)
    record = read_record(tmp_path)
    assert len(record.kind("train")) == 2
    assert record.series("train", "loss") == ([0], [2.0])  # null stands for a number that is not finite
    assert record.last("train")["step"] == 1
    assert record.last("health") == {} and record.probe is None and record.about == {}


def test_a_folder_that_is_no_run_is_named(tmp_path):
    with pytest.raises(UserError, match=r"not a run directory.*no config\.json"):
        read_record(tmp_path)


@pytest.mark.parametrize("text", ["{", "[1, 2]", DEEP])
def test_a_damaged_file_is_named(tmp_path, text):
    (tmp_path / "config.json").write_text(CONFIG)
    (tmp_path / "probe.json").write_text(text)
    with pytest.raises(UserError, match=r"probe\.json"):
        read_record(tmp_path)


@pytest.mark.parametrize("text", ["{}", DEEP, '{"recipe": 3}', '{"recipe": "i-jepa", "train": 3}'])
def test_a_config_of_something_else_is_named(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(UserError, match=r"config\.json"):
        read_record(tmp_path)


def test_a_damaged_line_costs_itself(tmp_path):
    (tmp_path / "config.json").write_text(CONFIG)
    sound = b'{"step": 1, "kind": "train", "loss": 2.0}'
    (tmp_path / "metrics.jsonl").write_bytes(
        b"\n".join([DEEP.encode(), b"\xff\xfe", sound, b"3", DEEP.encode()])
    )
    assert read_record(tmp_path).series("train", "loss") == ([1], [2.0])
