"""A recipe in a file of one's own: named on the command line, known again by it, and never imported otherwise."""

import json

import numpy as np
import pytest
from PIL import Image

from openjepa.cli import main
from openjepa.recipes import base, own

from .. import dots

IDEA = """
from typing import Any, ClassVar, Literal

from openjepa.guards import Guard, VICReg
from openjepa.recipes.ijepa import IJEPA
from openjepa.targets import Shared, Target


class MyJEPA(IJEPA):
    recipe: Literal["my-idea"] = "my-idea"
    target: Target = Shared()
    guard: Guard = VICReg()
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "vit-h14": {}, "tiny": {name: IJEPA.presets["tiny-vit"][name] for name in ("signal", "encoder", "predictor")}
    }
"""
WORLD = """
from typing import Literal

from openjepa.recipes.pldm import PLDM


class MyWorld(PLDM):
    recipe: Literal["my-world"] = "my-world"
"""
SIZES = "--encoder.width 16 --encoder.depth 1 --encoder.heads 2 --predictor.width 16 --predictor.depth 1 --steps 2"


@pytest.fixture
def idea(tmp_path):
    (tmp_path / "my_idea.py").write_text(IDEA)
    np.save(tmp_path / "x.npy", np.random.default_rng(0).integers(0, 256, (40, 28, 28), dtype=np.uint8))
    yield tmp_path
    forget()


def forget(name="my-idea"):
    base._REGISTRY.pop(name, None)
    own._FILES.clear()


def trained(idea):
    data, run = str(idea / "x.npy"), str(idea / "run")
    sizes = [*SIZES.split(), "--train.batch_size", "8"]
    main(["train", f"{idea / 'my_idea.py'}:MyJEPA", "--data", data, "--out", run, *sizes])
    return run


def test_the_run_says_which_file_and_is_known_again_by_it(idea, capsys):
    run = trained(idea)
    (about,) = json.loads((idea / "run" / "run.json").read_text())["own"]
    assert about["file"] == f"{idea / 'my_idea.py'}:MyJEPA" and len(about["sha256"]) == 64
    forget()
    with pytest.raises(SystemExit):
        main(["health", run])
    assert f"add --own {about['file']}" in capsys.readouterr().err  # nothing is imported that a file names
    main(["health", run, "--own", about["file"]])
    main(["embed", run, "--own", about["file"], "-o", str(idea / "e.npy")])
    assert np.load(idea / "e.npy").shape == (40, 16)


def test_every_command_knows_the_run_by_it(idea, capsys):
    """Probe, report, fine-tuning, resuming, and what comes of fine-tuning."""
    run, file = trained(idea), str(idea / "my_idea.py")
    images, labels = (
        np.random.default_rng(0).integers(0, 256, (40, 28, 28), dtype=np.uint8),
        np.arange(40) % 2,
    )
    for label in (0, 1):
        (idea / "labelled" / str(label)).mkdir(parents=True)
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        Image.fromarray(image).save(idea / "labelled" / str(label) / f"{i}.png")
    labelled, tuned = str(idea / "labelled"), str(idea / "tuned")
    for command in (
        ["probe", run, "--data", labelled, "--test", labelled, "--classical", "none", "--kinds", "knn"],
        ["report", run, "--data", labelled],
        ["train", "--resume", run],
        ["finetune", run, "--data", labelled, "--out", tuned, "--steps", "2", "--train.batch_size", "8"],
        ["health", tuned],
        ["train", "--config", run, "--seed", "1", "--out", str(idea / "again")],
    ):
        forget()
        with pytest.raises(SystemExit) as stopped:
            main(command)
        assert stopped.value.code == 2 and "my_idea.py" in capsys.readouterr().err, command
        forget()
        main([*command, "--own", file])
    assert (idea / "run" / "report.html").is_file() and (idea / "again" / "model").is_dir()


@pytest.mark.slow
def test_a_world_model_of_ones_own_plans(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_world.py").write_text(WORLD)
    main(
        [
            "collect",
            "two-rooms",
            "--episodes",
            "12",
            "--steps",
            "12",
            "--size",
            "16",
            "--out",
            "episodes",
            "--json",
        ]
    )
    sizes = [f"--{name}={value}" for name, value in dots.options("pldm").items()]
    main(["train", "my_world.py:MyWorld", "--data", "episodes", "--out", "run", "--json", *sizes])
    plan = ["plan", "run", "--env", "two-rooms", "--json", "--baselines", "[random]"]
    plan += [
        f"--{name}={value}" for name, value in dots.PLAN.items() if not name.startswith(("oracle", "cloning"))
    ]
    forget("my-world")
    with pytest.raises(SystemExit):
        main(plan)
    assert f"add --own {tmp_path / 'my_world.py'}:MyWorld" in capsys.readouterr().err
    main([*plan, "--own", "my_world.py"])
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert rows[0]["method"] == "planning" and rows[0]["episodes"] == 3
    forget("my-world")


def test_a_changed_file_is_told(idea, capsys):
    run = trained(idea)
    forget()
    (idea / "my_idea.py").write_text(IDEA + "\n# another thought\n")
    main(["health", run, "--recipe", f"{idea / 'my_idea.py'}:MyJEPA"])
    assert "has changed since" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "name", "sentence"),
    [
        (IDEA, "my_idea.py:Other", "has no class Other: it has MyJEPA"),
        ("x = 1", "my_idea.py", "is not one recipe"),
        ("1 / 0", "my_idea.py", "cannot be imported: ZeroDivisionError: division by zero"),
        (IDEA.replace("my-idea", "i-jepa"), "my_idea.py", "calls itself 'i-jepa', as another recipe does"),
        (IDEA, "no_idea.py", "does not exist"),
    ],
)
def test_what_is_no_recipe_is_said_in_a_sentence(idea, capsys, text, name, sentence):
    (idea / "my_idea.py").write_text(text)
    with pytest.raises(SystemExit) as stopped:
        main(["train", str(idea / name), "--out", str(idea / "run")])
    assert stopped.value.code == 2 and sentence in capsys.readouterr().err
    assert not (idea / "run").exists()
