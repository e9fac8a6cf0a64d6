import os
import socket
from pathlib import Path

import pytest

from openjepa.common.reach import FOLLOW_LINKS, inside, parse_json, read_json, regular
from openjepa.errors import UserError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root" / "sub").mkdir(parents=True)
    (tmp_path / "root" / "sub" / "a.txt").write_text("a")
    (tmp_path / "secret.txt").write_text("secret")
    return tmp_path / "root"


@pytest.mark.parametrize("name", ["sub/a.txt", "sub/../sub/a.txt", "./sub/a.txt"])
def test_a_file_in_the_folder_is_found(root: Path, name: str) -> None:
    assert inside(root, name).read_text() == "a"


@pytest.mark.parametrize("name", ["../secret.txt", "sub/../../secret.txt", "/etc/passwd", "..", "a\0b"])
def test_a_path_that_leads_out_is_refused(root: Path, name: str) -> None:
    with pytest.raises(UserError, match="leads out of the folder"):
        inside(root, name)


def test_a_link_may_lead_out_only_when_that_is_asked_for(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "link.txt").symlink_to("../secret.txt")
    (root / "folder").symlink_to("..")
    (root / "within.txt").symlink_to("sub/a.txt")
    assert inside(root, "within.txt").read_text() == "a"
    for name in ("link.txt", "folder/secret.txt"):
        with pytest.raises(UserError, match=FOLLOW_LINKS):
            inside(root, name)
    monkeypatch.setenv(FOLLOW_LINKS, "1")
    assert inside(root, "link.txt").read_text() == inside(root, "folder/secret.txt").read_text() == "secret"
    with pytest.raises(UserError, match="leads out"):
        inside(root, "../secret.txt")


def test_the_folder_itself_may_be_a_link(root: Path) -> None:
    (root.parent / "other").symlink_to("root")
    assert inside(root.parent / "other", "sub/a.txt").read_text() == "a"


def test_only_ordinary_files_are_opened(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(root / "pipe")
    (root / "loop").symlink_to("loop")
    monkeypatch.chdir(root)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        for name in ("pipe", "socket", "sub", "loop", "absent"):
            with pytest.raises(UserError):
                inside(root, name)
    with pytest.raises(UserError, match="device"):
        regular("/dev/zero")
    with pytest.raises(UserError, match="at most 3 are read"):
        (root / "big").write_bytes(b"1234")
        inside(root, "big", limit=3)


def test_json_is_bounded(root: Path) -> None:
    assert parse_json("[" * 64 + "]" * 64, "x") is not None
    for text in ("[" * 65 + "]" * 65, "[" * 100_000, '{"a":' * 90_000 + "1" + "}" * 90_000):
        with pytest.raises(UserError, match="nested deeper"):
            parse_json(text, "x")
    for text in ("{", "", "1" * 5000, '{"a": tru'):
        with pytest.raises(UserError, match="x is truncated or not JSON"):
            parse_json(text, "x")
    (root / "bad.json").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="not JSON"):
        read_json(root / "bad.json")
