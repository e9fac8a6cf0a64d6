"""Pickled checkpoints: a process that can open nothing takes their tensors out, and runs nothing that is in them."""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.hub import test_vjepa21 as v21
from tests.parity.test_hf_ijepa import meta_checkpoint

import openjepa
from openjepa.cli import main
from openjepa.errors import UserError
from openjepa.hub import pickled, unpickling
from openjepa.hub.ijepa import convert
from openjepa.hub.pickled import tensors_of

if sys.platform == "win32":
    pytest.skip("resource limits", allow_module_level=True)


def released(path: Path, zipped: bool = True, **more: Any) -> Path:
    """A small checkpoint as Meta's training writes it."""
    saved: dict[str, Any] = {
        "epoch": 300,
        "loss": 0.1,
        "opt": {"state": {0: {"exp_avg": torch.zeros(9)}}},
        **more,
    }
    for name, tensor in meta_checkpoint().items():
        part, _, rest = name.partition(".")
        saved.setdefault(part, {})[rest] = tensor
    torch.save(saved, path, _use_new_zipfile_serialization=zipped)
    return path


def test_tensors_come_out_equal_of_the_older_format_too(tmp_path: Path) -> None:
    found, expected = tensors_of(released(tmp_path / "a.pth.tar", zipped=False)), meta_checkpoint()
    assert found.keys() == expected.keys() and all(
        torch.equal(found[name], expected[name]) for name in expected
    )


def test_the_command_makes_a_model_with_its_licence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "vit"
    main(["convert", str(released(tmp_path / "a.pth.tar")), "-o", str(folder), "--json"])
    said = capsys.readouterr()
    assert json.loads(said.out)["recipe"] == "i-jepa" and "non-commercial" in said.err
    expected = convert(meta_checkpoint()).build().state_dict()
    assert all(
        torch.equal(value, expected[name]) for name, value in openjepa.load(folder).state_dict().items()
    )
    assert "license: cc-by-nc-4.0" in (folder / "README.md").read_text()


def test_v_jepa_2_1_is_told_by_its_kernel_for_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pickled.vjepa21, "convert", partial(pickled.vjepa21.convert, **v21.SIZES))
    saved: dict[str, Any] = {"epoch": 3}
    for name, tensor in v21.released().items():
        part, _, rest = name.partition(".")
        saved.setdefault(part, {})[rest] = tensor
    torch.save(saved, tmp_path / "vjepa2_1.pt")
    with pytest.warns(openjepa.OpenJEPAWarning, match="mask token is the first"):
        model, _ = pickled.convert(tmp_path / "vjepa2_1.pt")
    assert model.config.recipe == "v-jepa-2-1"


class Payload:
    """Makes a folder when it is unpickled without care."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_is_refused_and_never_run(tmp_path: Path, zipped: bool) -> None:
    path = released(tmp_path / "a.pth.tar", zipped, surprise=Payload(tmp_path / "witness"))
    with pytest.raises(UserError, match=r"a\.pth\.tar holds more than tensors, or is damaged: .*"):
        tensors_of(path)
    assert not (tmp_path / "witness").exists()


DOORS = """
import runpy, socket, subprocess, sys
unpickling = runpy.run_path(sys.argv[1])
unpickling["close_doors"]()
for name, door in {
    "read": lambda: open("/etc/hostname"),
    "write": lambda: open(sys.argv[2], "w"),
    "network": lambda: socket.socket(),
    "process": lambda: subprocess.run(["true"]),
}.items():
    try:
        door()
    except OSError as error:
        print(name, "closed")
print("writes", flush=True)
"""


def test_the_process_can_open_nothing(tmp_path: Path) -> None:
    """Even if what it reads took it over; what it was given stays open."""
    command = [sys.executable, "-c", DOORS, unpickling.__file__, str(tmp_path / "w")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stdout.split("\n")[:5] == [
        "read closed",
        "write closed",
        "network closed",
        "process closed",
        "writes",
    ]
    assert not (tmp_path / "w").exists()


def test_what_is_no_checkpoint_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "text.pt").write_text("not a pickle")
    torch.save({"head.weight": torch.zeros(3)}, tmp_path / "head.pt")
    for name, sentence in [
        ("text.pt", "is damaged"),
        ("head.pt", "1 tensors, and none embeds patches"),
        ("none.pt", "cannot be read"),
    ]:
        with pytest.raises(UserError, match=sentence):
            pickled.convert(tmp_path / name)
