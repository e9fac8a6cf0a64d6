"""Warnings of our own: their category, the line that they name, and what the command line makes of them."""

import subprocess
import sys
import warnings
from pathlib import Path

import pytest

import openjepa
from openjepa import cli, errors


def test_a_warning_names_the_line_of_the_user() -> None:
    with pytest.warns(openjepa.OpenJEPAWarning, match="odd") as caught:
        errors.warn("odd data")
    assert caught[0].filename == __file__


def test_it_can_be_silenced_by_its_category() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", openjepa.OpenJEPAWarning)
        errors.warn("odd data")


def test_the_command_line_prints_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli.recipes, "run", lambda args: errors.warn("odd data"))
    cli.main(["recipes"])
    assert capsys.readouterr().err == "openjepa: odd data\n"


def test_errors_load_without_torch(tmp_path: Path) -> None:
    script = "import sys, openjepa.errors; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
