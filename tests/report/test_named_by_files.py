"""A file may name a world; it cannot have a module imported."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from openjepa import cli
from openjepa.errors import UserError
from openjepa.evals.planning import PlanningProtocol, protocol_for
from openjepa.worlds.opening import open_saved

pytest.importorskip("gymnasium")
pytest.importorskip("h5py")

ENV = "gym:not_to_be_imported:Foreign-v0"


@pytest.fixture(autouse=True)
def marker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that exists once the module has been imported."""
    done = tmp_path / "imported"
    (tmp_path / "not_to_be_imported.py").write_text(f"open({str(done)!r}, 'w').close()\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "not_to_be_imported", raising=False)
    monkeypatch.setattr("openjepa.worlds.opening._NAMED", set())
    return done


@pytest.fixture
def run(world_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(world_run, tmp_path / "run"))


def change(path: Path, edit: Callable[[dict], None]) -> None:
    data = json.loads(path.read_text())
    edit(data)
    path.write_text(json.dumps(data))


def foreign(run: Path) -> None:
    about = {"world": ENV, "options": {"size": 16}}
    change(run / "run.json", lambda data: data["data"].update(about=about))
    change(run / "plan.json", lambda data: data["protocol"].update(env=ENV, options={"size": 16}))


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    error = capsys.readouterr().err
    assert ended.value.code == 2 and error.count("\n") == 1
    return error


def test_no_route_from_a_file_imports(run: Path, marker: Path, capsys: pytest.CaptureFixture[str]) -> None:
    foreign(run)
    for command in (["plan", str(run)], ["remote", str(run)], ["plan", "--protocol", str(run / "plan.json")]):
        assert f"--env '{ENV}'" in refused(capsys, *command, "--json")
    cli.main(["report", str(run), "--json"])
    assert (run / "report.html").is_file()
    with pytest.raises(UserError, match="--env"):
        protocol_for([str(run)])
    assert not marker.exists()


def test_an_episode_folder_imports_nothing(
    run: Path, marker: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    episodes = shutil.copytree(json.loads((run / "config.json").read_text())["data"], run.parent / "episodes")
    about = {"world": ENV, "options": {"size": 16}}
    change(episodes / "data" / "metadata.json", lambda data: data["openjepa"].update(about))
    cli.main(
        ["train", "--config", str(run), "--data", str(episodes), "--out", str(run.parent / "again"), "--json"]
    )
    capsys.readouterr()
    assert "--env" in refused(capsys, "plan", str(run.parent / "again"), "--json")
    assert not marker.exists()


def test_the_command_line_may_name_the_module(
    run: Path, marker: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    foreign(run)
    assert "knows no such id" in refused(capsys, "plan", "--protocol", str(run / "plan.json"), "--env", ENV)
    assert marker.exists()


def test_a_protocol_is_confirmed_by_its_own_world_only(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(run / "plan.json")
    assert "not 'maze'" in refused(capsys, "plan", "--protocol", path, "--env", "maze")
    assert PlanningProtocol.read(path, "two-rooms") == PlanningProtocol.read(path)


@pytest.mark.parametrize("text", ["/etc/passwd", "module:Id", "..\\x"])
def test_a_file_s_options_open_nothing(text: str) -> None:
    for kwargs in ({"xml_file": text}, {"a": [{"b": text}]}):
        with pytest.raises(UserError, match="--env"):
            open_saved("x", "gym:Anything-v0", {"kwargs": kwargs})
