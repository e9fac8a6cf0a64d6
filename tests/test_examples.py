"""The examples in docstrings, which the API pages show, give what they say."""

import doctest
import importlib
import re
import warnings
from pathlib import Path

import pytest

from openjepa import config
from openjepa.errors import OpenJEPAWarning

SOURCE = Path(__file__).parents[1] / "src"
FILES = [path for path in sorted(SOURCE.rglob("*.py")) if re.search(r"^ +>>> ", path.read_text(), flags=re.M)]
NAMES = [".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__") for path in FILES]


def test_there_are_some() -> None:
    assert {"openjepa.check", "openjepa.parts", "openjepa.training.start"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_example_gives_what_it_says(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(config, "_OWN", {})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OpenJEPAWarning)  # so short a run is told that it has learned little
        result = doctest.testmod(importlib.import_module(name))
    assert result.attempted and not result.failed
