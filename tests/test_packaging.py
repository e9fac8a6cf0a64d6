"""What a person meets before the first step of training: imports, the command line, licence, clean files."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OPTIONAL = {"torchvision", "timm", "transformers", "pyarrow", "soundfile"}
HEAVY = {"sklearn", "matplotlib", "scipy", "pandas"}  # in the core, imported by what needs them when it runs


def python(code: str, **environment: str) -> str:
    """Standard output of a fresh interpreter that runs `code`; OMP_WAIT_POLICY is not inherited."""
    variables = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    variables |= {"PYTHONPATH": str(ROOT / "src"), **environment}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def imported(code: str) -> set[str]:
    """Top-level names of the modules that `code` leaves imported."""
    report = "import sys; print('\\nMODULES', *{name.partition('.')[0] for name in sys.modules})"
    return set(python(f"{code}\n{report}").rpartition("MODULES")[2].split())


HELP = """
import sys
from openjepa.cli import main
sys.argv = ["openjepa", "--help"]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
"""


def test_import_brings_in_nothing_heavy_but_torch():
    assert not imported("import openjepa") & (OPTIONAL | HEAVY)


def test_help_answers_without_torch():
    modules = imported(HELP)
    assert "openjepa" in modules
    assert not modules & (OPTIONAL | HEAVY | {"torch", "numpy"})


def test_help_names_the_commands():
    text = python(HELP)
    for command in ("recipes", "train", "probe", "embed", "health", "report"):
        assert re.search(rf"\b{command}\b", text), f"--help does not name {command}"


# Prints the policy at the moment at which torch is first looked for: OpenMP reads it when torch loads.
POLICY_AT_TORCH = """
import os, sys

class Watch:
    seen = False
    def find_spec(self, name, path=None, target=None):
        if name == "torch" and not Watch.seen:
            Watch.seen = True
            print("POLICY", os.environ.get("OMP_WAIT_POLICY"))

sys.meta_path.insert(0, Watch())
import openjepa
import torch
"""


@pytest.mark.parametrize(("chosen", "expected"), [({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE")])
def test_idle_threads_sleep_unless_the_user_chose_otherwise(chosen, expected):
    assert python(POLICY_AT_TORCH, **chosen).split() == ["POLICY", expected]


def test_licence_is_apache_2_in_the_file_and_in_the_metadata():
    lines = (ROOT / "LICENSE").read_text().split("\n")
    assert lines[1].strip() == "Apache License"
    assert lines[2].strip() == "Version 2.0, January 2004"
    assert any("END OF TERMS AND CONDITIONS" in line for line in lines)
    assert project()["license"] == "Apache-2.0"


def test_core_depends_on_no_extra():
    core = {name(requirement) for requirement in project()["dependencies"]}
    assert "torch" in core
    assert not core & (OPTIONAL | {"torchmetrics", "lightning", "hydra-core"})


def test_every_direct_dependency_is_pinned_for_the_tests():
    """Exact, in constraints.txt or in pyproject.toml: a commit installs the same versions next year."""
    pinned = set(re.findall(r"^([\w-]+)==", (ROOT / "constraints.txt").read_text(), flags=re.M))
    groups = [project()["dependencies"], *project()["optional-dependencies"].values()]
    loose = {requirement for group in groups for requirement in group if "==" not in requirement}
    assert not {name(requirement) for requirement in loose} - pinned - {"openjepa"}


def test_files_name_no_folder_of_a_developers_machine():
    # The alternatives are bracketed so that this pattern does not find itself.
    private = re.compile(r"(?<![\w.~$}])/([h]ome|[r]oot|[w]ork|[U]sers)/\w")
    found = []
    for path in text_files():
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if private.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()}")
    assert not found, "\n".join(found)


def test_first_lines_of_the_readme_are_the_two_commands():
    opening = (ROOT / "README.md").read_text()[:600]
    assert opening.index("make demo") < opening.index("make test")


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def name(requirement: str) -> str:
    return re.split(r"[^\w-]", requirement)[0]


def text_files() -> list[Path]:
    """The project's own text: everything but version control, environments, caches and results of runs."""
    kinds = {".py", ".md", ".toml", ".txt", ".sh", ".yaml", ".yml", ".json", ".html", ".j2", ""}
    folders = [
        ROOT / folder for folder in ("src", "tests", "benchmarks", "docs", "examples", "scripts", ".ci")
    ]
    nested = [path for folder in folders for path in folder.rglob("*") if "__pycache__" not in path.parts]
    files = [path for path in [*ROOT.iterdir(), *nested] if path.is_file() and path.suffix in kinds]
    files = [path for path in files if path.name != ".git"]  # of a work tree
    assert len(files) > 10
    return files
