"""Damaged files and metadata of the wrong type: an episode is left out, or there is one sentence; never a traceback."""

import json
import random
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from openjepa.errors import UserError
from openjepa.worlds.minari import METADATA
from openjepa.worlds.reading import open_episodes

from . import stored

pytest.importorskip("h5py")
pytest.importorskip("pyarrow")

WRONG = (None, True, -1, 10**12, 1e300, "", "text", [], [[]], {}, {"a": {"b": [1]}}, ["x", 1, None])
FILES = {
    "ours": "data/main_data.hdf5",
    "robomimic": "",
    "flat": "",
    "lerobot": "data/chunk-000/episode_000001.parquet",
}


def used(path: Path) -> str | None:
    """Everything is read; what the refusal says, if there is one."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            opened = open_episodes(path)
            for one in opened:
                assert len(one.frames) == len(one.actions) + 1
            _ = (
                opened.actions,
                opened.about,
                opened.variables,
                open_episodes(path, in_memory=False).fingerprint,
            )
    except UserError as error:
        return str(error)
    return None


def damages(whole: bytes, count: int) -> Iterator[bytes]:
    """Cut or with some bytes changed, at seeded places."""
    rng = random.Random(0)
    for i in range(count):
        data = bytearray(whole)
        if i % 3 == 0:
            yield bytes(data[: rng.randrange(len(data))])
            continue
        for place in rng.sample(range(len(data)), rng.choice((1, 1, 3))):
            data[place] ^= rng.randrange(1, 256)
        yield bytes(data)


@pytest.mark.parametrize("layout", FILES)
def test_a_damaged_file_is_read_as_far_as_it_goes_or_refused(layout: str, tmp_path: Path) -> None:
    path = stored.WRITERS[layout](tmp_path / "set")
    file = path / FILES[layout]
    whole, said = file.read_bytes(), []
    for data in damages(whole, 20):
        file.write_bytes(data)
        said.append(used(path))
    assert any(said) or layout == "lerobot"  # of which only one file of three is damaged
    assert all(text is None or "\n" not in text for text in said)
    file.write_bytes(whole)
    assert used(path) is None


def places(data: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every key at every depth."""
    for key, value in data.items() if isinstance(data, dict) else ():
        yield (*path, key)
        yield from places(value, (*path, key))


def put(data: Any, path: tuple[Any, ...], value: Any) -> str:
    """The JSON with another value there."""
    changed = json.loads(json.dumps(data))
    node = changed
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    return json.dumps(changed)


@pytest.mark.parametrize(
    ("layout", "file"), [("ours", METADATA), ("minari", METADATA), ("lerobot", "meta/info.json")]
)
def test_metadata_of_a_wrong_type_is_one_sentence(layout: str, file: str, tmp_path: Path) -> None:
    path = stored.WRITERS[layout](tmp_path / "set", stored.actions_of((3, 2)))
    metadata = path / file
    data = json.loads(metadata.read_text())
    keys = [key for key in places(data) if key not in (("observation_space",), ("dataset_id",), ("author",))]
    wrong = 0
    for i, key in enumerate(keys):
        for value in (*WRONG[i % 2 :: 2], "deep"):
            text = put(data, key, value).replace('"deep"', "[" * 3000 + "]" * 3000)
            metadata.write_text(text)
            said = used(path)
            wrong += said is not None
            assert said is None or "\n" not in said
            assert value != "deep" or "nested deeper" in str(said)
    assert wrong > len(keys)


def test_a_space_of_a_wrong_type_is_one_sentence(tmp_path: Path) -> None:
    path = stored.minari(tmp_path / "set", stored.actions_of((3, 2)))
    data = json.loads((path / METADATA).read_text())
    box, choice = json.loads(data["action_space"]), {"type": "Discrete", "n": 3, "start": 0}
    spaces: list[Any] = [*WRONG, {"type": "Box"}, {"type": "Discrete"}, choice]
    spaces += [known | {key: value} for known in (box, choice) for key in known for value in WRONG]
    said = []
    for text in ("{", *map(json.dumps, spaces)):
        (path / METADATA).write_text(json.dumps(data | {"action_space": text}))
        said.append(used(path))
    assert all(text is None or "\n" not in text for text in said) and sum(map(bool, said)) > len(said) // 2
