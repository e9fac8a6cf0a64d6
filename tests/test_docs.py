"""The documentation's code runs, its commands are commands, its links lead somewhere."""

import json
import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest

from openjepa import cli, config
from openjepa.config import dotted_paths
from openjepa.recipes import base, configure, own, registered
from openjepa.recipes.table import as_markdown

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
MEASURED = [ROOT / "benchmarks" / "README.md", *sorted((ROOT / "docs" / "notebook").glob("*.md"))]


def blocks(page: Path, language: str) -> list[tuple[int, str]]:
    """Line numbers and contents of a page's fenced blocks."""
    text = page.read_text(encoding="utf-8")
    found = re.finditer(rf"^```{language}\n(.*?)^```$", text, flags=re.M | re.S)
    return [(text[: match.start()].count("\n") + 1, match[1]) for match in found]


def named(language: str) -> list:
    return [
        pytest.param(code, id=f"{page.name}:{line}")
        for page in PAGES
        for line, code in blocks(page, language)
    ]


def commands() -> list:
    """Every `openjepa ...` line, also behind `torchrun ... -m`."""
    found = []
    for page in PAGES:
        for line, code in blocks(page, "sh"):
            for offset, text in enumerate(code.splitlines(), 1):
                words = shlex.split(text, comments=True)
                if "openjepa" in words:
                    arguments = words[words.index("openjepa") + 1 :]
                    found.append(pytest.param(page, arguments, id=f"{page.name}:{line + offset}"))
    return found


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """An empty working directory; recipes registered by an example are forgotten after it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(base, "_REGISTRY", dict(base._REGISTRY))
    monkeypatch.setattr(config, "_OWN", {})
    monkeypatch.setattr(own, "_FILES", {})


@pytest.mark.parametrize("code", named("python"))
def test_python_in_the_docs_runs(code):
    exec(compile(code, "<documentation>", "exec"), {"__name__": "__main__"})


def write_files_of(page: Path) -> None:
    """A page's code that names its file in a first comment goes there, as a reader would put it."""
    for _, code in blocks(page, "python"):
        if name := re.match(r"# (\w+\.py)\n", code):
            Path(name[1]).write_text(code)


@pytest.mark.parametrize(("page", "arguments"), commands())
def test_commands_in_the_docs_are_understood(page, arguments):
    write_files_of(page)
    args = cli.parsing.parse(arguments)
    if args.command != "train" or args.help or args.resume or not (args.recipe or args.config):
        return  # without a recipe it has that of a model of the Hub
    if args.config:  # of a run that the page has trained before
        folder = Path(args.config)
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(
            json.dumps(configure("i-jepa", "tiny-vit").model_dump(mode="json"))
        )
    recipe = cli.train.configure(args)
    if recipe.recipe == "finetune" or recipe.signal.kind == "electrodes":
        return  # built from another run, or for electrodes that the data name
    if recipe.encoder.kind == "timm":
        pytest.importorskip("timm")
    recipe.build()


def test_the_table_of_systems_is_what_the_command_prints(capsys):
    cli.main(["recipes", "--markdown"])
    printed = capsys.readouterr().out.strip()
    assert printed == as_markdown()
    assert f"\n\n{printed}\n\n" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_what_the_table_says_was_measured_stands_in_a_table_or_a_notebook():
    pages = [*(ROOT / "benchmarks" / "results").glob("*.md"), *(ROOT / "docs" / "notebook").glob("*.md")]
    measured = "".join(page.read_text(encoding="utf-8") for page in pages)
    for name, recipe in registered().items():
        told = measured + (sys.modules[recipe.__module__].__doc__ or "")
        for number in re.findall(r"\d+\.\d+", recipe.measured):
            assert re.search(rf"(?<![\d.]){re.escape(number)}(?!\d)", told), (name, number)


def test_the_readme_shows_every_command():
    shown = {words.values[1][0] for words in commands()}
    assert shown >= set(cli.parsing.subparsers(cli.parsing.make_parser())) - {"recipes"}


def test_the_two_commands_are_targets_of_the_makefile():
    opening = blocks(ROOT / "README.md", "sh")[0][1]
    targets = re.findall(r"^make (\w+)", opening, flags=re.M)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert targets == ["demo", "test"]
    assert all(re.search(rf"^{target}:", makefile, flags=re.M) for target in targets)


def leads(target: Path, anchor: str) -> bool:
    """Whether the target exists and has a heading of that anchor, by GitHub's rule."""
    if not anchor:
        return target.exists()
    headings = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), flags=re.M)
    return anchor in {re.sub(r"[^\w -]", "", line.lower()).replace(" ", "-") for line in headings}


@pytest.mark.parametrize("page", PAGES + MEASURED, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files(page):
    links = re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", page.read_text(encoding="utf-8"))
    missing = [link for link, anchor in links if not leads(page.parent / link if link else page, anchor)]
    assert not missing


def test_every_option_that_the_docs_name_exists():
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    options = set(re.findall(r"`(?:--)?((?:signal|hiding|encoder|target|guard|train)\.[a-z_]+)[ `]", text))
    known = {path for recipe in base.registered().values() for path in dotted_paths(recipe)}
    assert {"signal.size", "target.centre", "train.warmup"} <= options <= known


def test_the_example_of_a_new_variant_runs(capsys):
    path = ROOT / "examples" / "new_variant.py"
    runpy.run_path(str(path), run_name="__main__")
    assert capsys.readouterr().out == "one vector for each of 64 images\n"
