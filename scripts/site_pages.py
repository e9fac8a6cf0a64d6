"""The pages of the site that are not in docs/: a signal, a recipe and a command each, the API, notebooks, linked files.

A hook of MkDocs (`mkdocs.yml`). Everything is made from the package itself, so that nothing is said twice: recipes and
signals from their docstrings and options, commands from their `--help`. A link that leads out of docs/, to a source
file, leads to a page with that file.
"""

import json
import posixpath
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
LINK = re.compile(r"(?<=\]\()(?!https?:|mailto:|#)([^)#\s]+)(#[^)\s]*)?(?=\))")
FENCE = re.compile(r"(^```.*?^```$)", flags=re.M | re.S)
LANGUAGES = {".py": "python", ".toml": "toml", ".sh": "sh", ".json": "json", ".yml": "yaml"}

START = ["index.md", "scientist.md", "roboticist.md", "research.md"]
"""By role; pages of docs/ that are named nowhere here follow under "Guides"."""
REFERENCE = ["learning.md", "health.md", "glossary.md", "architecture.md"]

API = {
    "Train, load, check": [
        "openjepa.training.start",
        "openjepa.check",
        "openjepa.estimator",
        "openjepa.training.trackers",
    ],
    "The idea": ["openjepa.jepa"],
    "Parts of your own": ["openjepa.parts", "openjepa.nets.adapter", "openjepa.config"],
    "Recipes": [
        "openjepa.recipes",
        "openjepa.recipes.base",
        "openjepa.recipes.tokens",
        "openjepa.recipes.worlds",
    ],
    "Signals": ["openjepa.signals.base", "openjepa.common.rng"],
    "Hiding": ["openjepa.hiding.base"],
    "Targets, energies, guards": ["openjepa.targets", "openjepa.energies", "openjepa.guards"],
    "Judging": [
        "openjepa.evals.runs",
        "openjepa.evals.table",
        "openjepa.evals.sweep",
        "openjepa.evals.embed",
    ],
    "Reports": ["openjepa.report.page", "openjepa.report.compare"],
    "World models": ["openjepa.world_models.model", "openjepa.worlds.episodes"],
    "Acting": ["openjepa.agent.agent", "openjepa.agent.protocols", "openjepa.evals.planning.protocol"],
    "Saving": ["openjepa.hub.store", "openjepa.hub.ijepa"],
}

_origins: dict[str, Path] = {}
"""Where the text of a page comes from that is not in docs/, by its place in the site."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages, and whatever pages link to."""
    _origins.clear()
    sys.path.insert(0, str(ROOT / "src"))  # the pages are those of this checkout, whatever is installed
    made = {**_recipes(), **_signals(), **_commands(), **_api()}
    for uri, text in made.items():
        files.append(File.generated(config, uri, content=text))
    for path in sorted(DOCS.rglob("*.ipynb")):
        files.append(File.generated(config, f"{path.relative_to(DOCS)}.md", content=notebook(path)))
    left = [(path, path.read_text(encoding="utf-8")) for path in sorted(DOCS.rglob("*.md"))]
    left += [(DOCS / uri, text) for uri, text in made.items()]
    while left:
        origin, text = left.pop()
        for path in _targets(origin, text):
            uri = place_of(path)
            if DOCS in path.parents or uri in _origins or not path.exists():
                continue  # what does not exist is for MkDocs to say
            _origins[uri] = path
            shown = _shown(path)
            files.append(File.generated(config, uri, content=shown))
            if path.suffix == ".md":
                left.append((path, shown))
    config.nav = navigation([file.src_uri for file in files if file.is_documentation_page()])
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links out of docs/ lead to the pages that were added for them."""
    here = page.file.src_uri
    origin = _origins.get(here, DOCS / here)

    def moved(link: re.Match[str]) -> str:
        path = (origin.parent / link[1]).resolve()
        if not path.exists() and DOCS not in path.parents:
            return link[0]
        return posixpath.relpath(place_of(path), posixpath.dirname(here) or ".") + (link[2] or "")

    return _outside_code(markdown, lambda text: LINK.sub(moved, text))


def place_of(path: Path) -> str:
    """Where the site shows a file of the project; of a folder of pages its first page."""
    if path.is_dir() and DOCS in path.parents:
        path = min([*path.glob("*.md"), *path.glob("*.ipynb")])
    if path.is_relative_to(DOCS):
        return f"{path.relative_to(DOCS)}{'.md' if path.suffix == '.ipynb' else ''}"
    inside = path.relative_to(ROOT) if path.is_relative_to(ROOT) else Path(path.name)
    return f"files/{inside}" if path.suffix == ".md" else f"files/{inside}.md"


def navigation(pages: Iterable[str]) -> list[Any]:
    """What there is, in order; a page of docs/ that is new takes its place by itself."""
    known = sorted(pages)
    guides = [uri for uri in known if "/" not in uri and uri not in START + REFERENCE]

    def under(folder: str) -> list[str]:
        first = [uri for uri in known if uri == f"{folder}/index.md"]
        return first + [uri for uri in known if uri.startswith(f"{folder}/") and uri not in first]

    return [
        {"Start here": [uri for uri in START if uri in known]},
        {"Guides": guides},
        {"Notebooks": under("notebooks")},
        {"Signals": under("signals")},
        {"Recipes": under("recipes")},
        {"Commands": under("commands")},
        {"Reference": [uri for uri in REFERENCE if uri in known]},
        {"API": under("api")},
        {"Trials": under("notebook")},
        {"Files": under("files")},
    ]


def prose(text: str) -> str:
    """A docstring as Markdown: columns that were aligned by hand stay so."""
    found = []
    for paragraph in re.split(r"\n{2,}", text.strip()):
        lines = paragraph.splitlines()
        aligned = any(re.search(r"\S {2,}\S", line) for line in lines)
        if aligned or all(line.startswith("    ") for line in lines):
            found.append("\n".join(["```text", *(line.removeprefix("    ") for line in lines), "```"]))
        else:
            found.append(re.sub(r"<(?=\w)", "&lt;", paragraph))
    return "\n\n".join(found)


def _first_line(text: str | None) -> str:
    return (text or "").strip().split("\n\n")[0].replace("\n", " ")


def _recipes() -> dict[str, str]:
    from openjepa.config import describe
    from openjepa.recipes import registered
    from openjepa.recipes.table import CHOICES, as_markdown

    pages, noun = {}, {}
    for name, cls in registered().items():
        config = cls.model_validate({})
        smallest = "tiny" if "tiny" in cls.presets else next(iter(cls.presets))
        doc = prose(sys.modules[cls.__module__].__doc__ or "")
        title, _, rest = doc.partition("\n")
        chosen = [(choice, getattr(config, choice)) for choice in CHOICES]
        rows = [f"| {choice} | `{part.kind}` | {_cell(type(part).__doc__)} |" for choice, part in chosen]
        source = Path(sys.modules[cls.__module__].__file__ or "").relative_to(ROOT)
        noun[name] = config.signal.kind
        pages[f"recipes/{name}.md"] = "\n".join(
            [
                f"# {name}\n\n**{title.removesuffix('.').split(': ', 1)[-1]}.** {cls.paper}\n\n{rest}\n",
                "## Its six choices\n\nAt the paper's values; each can be swapped.\n",
                *("| choice | kind | what it is |", "| --- | --- | --- |", *rows),
                f"\nThe signal: [{config.signal.kind}](../signals/{config.signal.kind}.md).\n",
                f"## Presets\n\n{', '.join(f'`{preset}`' for preset in cls.presets)}\n",
                f"## Options\n\nWith the values of preset `{smallest}`.\n",
                f"```text\n{describe(cls, _preset(name, smallest))}\n```\n",
                f"Source: [{source}](../../{source})",
            ]
        )
    table = re.sub(r"^\| (?!recipe|---)(\S+) \|", r"| [\1](\1.md) |", as_markdown(), flags=re.M)
    pages["recipes/index.md"] = f"# Recipes\n\nOne paper, one recipe; every row can be changed.\n\n{table}\n"
    return pages


def _preset(recipe: str, preset: str) -> dict[str, Any]:
    from openjepa.recipes import configure

    return configure(recipe, preset).model_dump(mode="json")


def _cell(text: str | None) -> str:
    return _first_line(text).replace("|", "\\|")


def _signals() -> dict[str, str]:
    from openjepa.config import describe
    from openjepa.recipes import registered

    found: dict[str, list[Any]] = {}
    for name, cls in registered().items():
        signal = cls.model_validate({}).signal
        found.setdefault(signal.kind, [type(signal), []])[1].append(name)
    pages = {}
    lines = ["# Signals\n\nWhat a sample is, and how it becomes tokens with positions.\n"]
    lines += ["| signal | what it is | recipes |", "| --- | --- | --- |"]
    for kind, (cls, recipes) in sorted(found.items()):
        links = ", ".join(f"[{name}](../recipes/{name}.md)" for name in recipes)
        module = sys.modules[cls.__module__]
        source = Path(module.__file__ or "").relative_to(ROOT)
        pages[f"signals/{kind}.md"] = "\n\n".join(
            [
                f"# {kind}",
                prose(cls.__doc__ or ""),
                prose(module.__doc__ or ""),
                f"Recipes: {links}",
                f"A sample's axes: {', '.join(cls.axes)}."
                if isinstance(getattr(cls, "axes", None), tuple)
                else "",
                f"## Options\n\n```text\n{describe(cls, {}, prefix='signal.')}\n```",
                f"Source: [{source}](../../{source})",
            ]
        )
        lines.append(f"| [{kind}]({kind}.md) | {_cell(cls.__doc__)} | {links} |")
    pages["signals/index.md"] = "\n".join(lines)
    return pages


def _commands() -> dict[str, str]:
    from openjepa.cli.parsing import make_parser, subparsers

    parser = make_parser()
    parser.prog = "openjepa"
    pages, lines = {}, ["# Commands\n", f"```text\n{parser.format_help().strip()}\n```\n"]
    for name, command in subparsers(parser).items():
        what = (command.description or "").strip()
        pages[f"commands/{name}.md"] = (
            f"# openjepa {name}\n\n{what[:1].upper()}{what[1:]}.\n\n```text\n{command.format_help().strip()}\n```\n"
        )
        lines.append(f"- [openjepa {name}]({name}.md): {what}")
    pages["commands/index.md"] = "\n".join(lines)
    return pages


def _api() -> dict[str, str]:
    pages = {}
    lines = ["# API\n\nFrom the docstrings. Code that runs is in the guides; each of its blocks is tested.\n"]
    for title, modules in API.items():
        uri = re.sub(r"\W+", "-", title.lower()).strip("-")
        pages[f"api/{uri}.md"] = "\n\n".join([f"# {title}", *(f"::: {module}" for module in modules)])
        lines.append(f"- [{title}]({uri}.md): " + ", ".join(f"`{module}`" for module in modules))
    pages["api/index.md"] = "\n".join(lines)
    return pages


def notebook(path: Path) -> str:
    """A notebook's cells as a page."""
    parts = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        text = "".join(cell["source"])
        parts.append(text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```")
    return "\n\n".join([*parts, f"This page is a notebook of the project: `{path.relative_to(ROOT)}`."])


def _shown(path: Path) -> str:
    """A file of the project as a page; of a folder what is in it."""
    name = path.relative_to(ROOT)
    if path.is_dir():
        return f"# {name}\n\n" + "\n".join(f"- `{p.name}`" for p in sorted(path.glob("*.*")))
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        return text
    return f"# {name}\n\n````{LANGUAGES.get(path.suffix, 'text')}\n{text}\n````\n"


def _targets(origin: Path, text: str) -> Iterator[Path]:
    """What a page links to, as files of the project."""
    for part in FENCE.split(text)[::2]:
        for link in LINK.finditer(part):
            yield (origin.parent / link[1]).resolve()


def _outside_code(text: str, change: Any) -> str:
    return "".join(part if i % 2 else change(part) for i, part in enumerate(FENCE.split(text)))
