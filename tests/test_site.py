"""The documentation site: built offline, every link leads somewhere, a page a signal, a recipe and a command."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from openjepa.cli.parsing import make_parser, subparsers
from openjepa.recipes import registered

pytest.importorskip("mkdocs")
pytest.importorskip("material")
pytest.importorskip("mkdocstrings")

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """Strict: a link to nothing, an anchor that is none or a page outside of the navigation ends it."""
    out = tmp_path_factory.mktemp("site") / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(out)]
    nowhere = {
        "http_proxy": "http://127.0.0.1:9",
        "https_proxy": "http://127.0.0.1:9",
    }  # nobody listens there
    environment = os.environ | nowhere | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    return out


def test_a_page_for_each_recipe_signal_and_command(site: Path) -> None:
    for name, cls in registered().items():
        page = (site / "recipes" / f"{name}.html").read_text(encoding="utf-8")
        assert "Its six choices" in page and "--train.steps" in page
        assert (site / "signals" / f"{cls.model_validate({}).signal.kind}.html").is_file()
    for name in subparsers(make_parser()):
        assert "usage: openjepa" in (site / "commands" / f"{name}.html").read_text(encoding="utf-8")


def test_the_roles_the_glossary_the_notebooks_and_the_api_are_there(site: Path) -> None:
    home = (site / "index.html").read_text(encoding="utf-8")
    for page in ("scientist", "roboticist", "research", "glossary", "learning"):
        assert f'href="{page}.html"' in home and (site / f"{page}.html").is_file()
    for name in ("scientist", "roboticist", "researcher"):
        page = (site / "notebooks" / f"{name}.ipynb.html").read_text(encoding="utf-8")
        assert "openjepa.train" in re.sub("<[^>]+>", "", page)
    api = (site / "api" / "train-load-check.html").read_text(encoding="utf-8")
    assert 'id="openjepa.training.start.train"' in api and "Raises" in api


def test_the_pages_fetch_nothing(site: Path) -> None:
    elsewhere = r'="(?:https?:)?//'
    fetched = re.compile(
        rf"<(?:script|img|iframe)[^>]+src{elsewhere}|<link[^>]+stylesheet[^>]+href{elsewhere}"
    )
    pages = list(site.rglob("*.html"))
    assert len(pages) > 100
    assert [page.name for page in pages if fetched.search(page.read_text(encoding="utf-8"))] == []


def test_a_link_to_nothing_would_end_it(tmp_path: Path) -> None:
    """The checks are on: a broken link in a page, and a broken anchor, are found."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text("# A\n\n[gone](gone.md) [nowhere](#nowhere)\n")
    checks = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("validation:")[2]
    (tmp_path / "mkdocs.yml").write_text(f"site_name: x\nstrict: true\nvalidation:{checks}")
    command = [sys.executable, "-m", "mkdocs", "build"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode != 0 and "gone.md" in done.stderr and "#nowhere" in done.stderr
