"""A signal opens its own data: outside of `signals/` no file calls a reader of one signal or knows its set."""

import ast
from pathlib import Path

import openjepa

SOURCE = Path(openjepa.__file__).parent
OWNED = {"open_images", "open_video", "open_recordings", "ImageSet", "ClipSet", "RecordingSet"}
OWNED |= {"open_series", "SeriesSet", "open_clouds", "CloudSet"}
OWNED |= {"open_sounds", "SoundSet"}


def named(path: Path) -> set[str]:
    """Names that a file's code uses; docstrings may tell of them."""
    tree = ast.parse(path.read_text())
    found = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    found |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    return found | {
        alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names
    }


def test_only_signals_open_their_data():
    outside = [path for path in SOURCE.rglob("*.py") if "signals" not in path.relative_to(SOURCE).parts]
    assert len(outside) > 100
    assert {path.name: found for path in outside if (found := named(path) & OWNED)} == {}
    inside = [path for path in SOURCE.rglob("*.py") if "signals" in path.relative_to(SOURCE).parts]
    assert any(named(path) & OWNED for path in inside)
