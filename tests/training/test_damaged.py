"""Whatever happens to one file of a run, the commands go on or end with one sentence."""

import json
import os
import random
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from openjepa import cli
from openjepa.report import curves
from openjepa.training import Stopped, train

from . import small
from .test_start import folder_of
from .test_stopping import Interrupting

Random = random.Random
FOREIGN = [
    '{"a": 1}',
    "[1]",
    "null",
    '{"step": 1, "kind": "health"}',
    '{"step": "x", "kind": "train", "loss": 1}',
]
WRONG = [None, -5, 3.5, "x", [], {}, [[1]], {"a": 1}, True, 10**40]


def half(data: bytes, chance: Random) -> bytes:
    return data[: len(data) // 2]


def noise(data: bytes, chance: Random) -> bytes:
    at = chance.randrange(len(data))
    return data[:at] + chance.randbytes(9) + data[at + 9 :]


def replaced(data: bytes, chance: Random) -> bytes:
    """Well-formed JSON in which one value, at any depth, is another; of lines, one of them."""
    lines = data.splitlines() if data.count(b"\n{") > 1 else [data]
    which = chance.randrange(len(lines))
    tree = json.loads(lines[which])
    places = [
        (node, key) for node in nodes(tree) for key in (node if isinstance(node, dict) else range(len(node)))
    ]
    node, key = chance.choice(places)
    node[key] = chance.choice(WRONG)
    lines[which] = json.dumps(tree).encode()
    return b"\n".join(lines) + b"\n"


def nodes(tree: Any) -> list[Any]:
    if not isinstance(tree, dict | list):
        return []
    children = tree.values() if isinstance(tree, dict) else tree
    return [tree, *(node for child in children for node in nodes(child))] if tree else []


def foreign(data: bytes, chance: Random) -> bytes:
    lines = data.splitlines(keepends=True)
    lines.insert(chance.randrange(len(lines) + 1), chance.choice(FOREIGN).encode() + b"\n")
    return b"".join(lines)


DAMAGES: dict[str, Callable[[bytes, Random], bytes | None]] = {
    "removed": lambda data, chance: None,
    "emptied": lambda data, chance: b"",
    "half": half,
    "noise": noise,
    "zeros": lambda data, chance: bytes(len(data)),
    "an empty object": lambda data, chance: b"{}\n",
    "a list": lambda data, chance: b"[1, 2]\n",
    "deep": lambda data, chance: b"[" * 100_000,
}
TEXT: dict[str, Callable[[bytes, Random], bytes | None]] = {
    **{f"another value {i}": replaced for i in range(8)},
    "no text": lambda data, chance: b"\xff\xfe" + data,
}
LINES = {f"a foreign line {i}": foreign for i in range(4)}
NEWEST = "checkpoints/step-000002"  # of the interrupted one
FILES = {
    "config.json": DAMAGES | TEXT,
    "run.json": DAMAGES | TEXT,
    "metrics.jsonl": DAMAGES | TEXT | LINES,
    "probe.json": DAMAGES | TEXT,
    "model/config.json": DAMAGES | TEXT,
    "model/model.safetensors": DAMAGES,
    f"{NEWEST}/state.json": DAMAGES | TEXT,
    f"{NEWEST}/state.safetensors": DAMAGES,
    f"{NEWEST}/model.safetensors": DAMAGES,
}
ALL = [(file, what) for file, known in FILES.items() for what in known]
COUNT = int(os.environ.get("OPENJEPA_DAMAGES", "40"))
CASES = ALL if len(ALL) <= COUNT else random.Random(0).sample(ALL, COUNT)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that has ended and was probed, and one that was interrupted after the second of four steps."""
    root = tmp_path_factory.mktemp("runs")
    photos = folder_of(root / "photos", channels=1)
    for part in ("train", "test"):
        for label in ("a", "b"):
            (root / "labelled" / part / label).mkdir(parents=True)
            for file in sorted(photos.iterdir())[label == "b" :: 2]:
                shutil.copy(file, root / "labelled" / part / label)
    options = small.options(train__steps=4, train__keep=2)
    call = {"data": root / "labelled", "options": options}
    train("i-jepa", **call, out=root / "ended")  # ty: ignore
    cli.main(["probe", str(root / "ended"), "--kinds", "knn", "--json"])
    with pytest.raises(Stopped):
        train("i-jepa", **call, out=root / "interrupted", progress=Interrupting(2))  # ty: ignore
    return root


@pytest.mark.parametrize(("file", "what"), CASES)
def test_one_damaged_file(
    file: str,
    what: str,
    runs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(curves, "draw", lambda *_, **__: "")  # the numbers are read, not drawn
    for name in ("ended", "interrupted"):
        if not (runs / name / file).exists():
            continue
        run = Path(shutil.copytree(runs / name, tmp_path / name))
        chance = random.Random(zlib.crc32(f"{file} {what}".encode()))
        damaged = FILES[file][what]((run / file).read_bytes(), chance)
        if damaged is None:
            (run / file).unlink()
        else:
            (run / file).write_bytes(damaged)
        for command in (
            ["report"],
            ["health"],
            ["embed", "-o", str(tmp_path / "features.npy")],
            ["train", "--resume"],
        ):
            capsys.readouterr()
            try:
                cli.main([*command, str(run)])
            except SystemExit as end:
                sentence = capsys.readouterr().err
                assert end.code == 2, (command, sentence)
                last = sentence.strip().splitlines()[-1]
                assert last.startswith("openjepa: ") and (str(run) in last or file in last), (
                    command,
                    sentence,
                )
