"""A run that ended goes on for longer, and one that is in the way is overwritten, but nothing else is."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import openjepa
from openjepa.cli import main
from openjepa.common import files
from openjepa.errors import UserError
from openjepa.training import Run, resume, train
from openjepa.training.loop import Trainer
from openjepa.training.optim import learning_rate

from . import small


def trained(path: Path, **options: object) -> Path:
    train(
        "i-jepa",
        preset="tiny-vit",
        data=small.pixels(),
        out=path,
        options=small.options(**options),
        progress=False,
    )
    return path


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("ended") / "run")


@pytest.fixture
def run(ended: Path, tmp_path: Path) -> Path:
    shutil.copytree(ended, tmp_path / "run")
    return tmp_path / "run"


def test_it_goes_on_by_the_schedules_of_the_new_length(run: Path) -> None:
    before = small.losses(run)
    resume(run, data=small.pixels(), steps=16)
    after, config = small.losses(run), Run.open(run).config
    assert (
        config.train.steps == 16 and after[:10] == before and [step for step, _ in after] == list(range(16))
    )
    rates = [line["lr"] for line in Run.open(run).records("train")]
    assert rates[10:] == [learning_rate(config.train, step) for step in range(10, 16)]
    about = Run.open(run).about
    assert about["lengths"] == [{"at": 10, "before": 10, "steps": 16}]
    said = [line["text"] for line in Run.open(run).records("event")]
    assert any(text.startswith("16 steps in all, not 10: from step 10 on") for text in said)
    assert openjepa.load(run).config.train.steps == 16


def test_what_was_said_of_the_shorter_run_is_set_aside(run: Path) -> None:
    (run / "probe.json").write_text("{}")
    shorter = {name: value.clone() for name, value in openjepa.load(run).state_dict().items()}
    resume(run, data=small.pixels(), steps=12)
    assert not (run / "probe.json").exists() and (run / "at-step-000010" / "probe.json").exists()
    aside = openjepa.load(run / "at-step-000010" / "model").state_dict()
    assert all(torch.equal(value, shorter[name]) for name, value in aside.items())
    now = openjepa.load(run).state_dict()
    assert any(not torch.equal(value, shorter[name]) for name, value in now.items())


@pytest.mark.parametrize("stage", ["record", "config"])
def test_a_lengthening_that_was_cut_off_is_made_up_for(
    run: Path, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after `run.json`, or after `config.json` and before the checkpoints knew."""
    real, written = files.replace_json, []

    def replace(path: Path, data: object) -> None:
        if written and (stage == "record" or path.name == "state.json"):
            raise KeyboardInterrupt
        real(path, data)
        written.append(path.name)

    from openjepa.training import checkpoints

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(files, "replace_json", replace)
        patch.setattr(checkpoints, "replace_json", replace)
        resume(run, data=small.pixels(), steps=12)
    if stage == "record":
        resume(run, data=small.pixels(), steps=12)
    else:
        resume(run, data=small.pixels())
    assert [step for step, _ in small.losses(run)] == list(range(12))


def test_two_ways_to_one_length_are_one(ended: Path, run: Path, tmp_path: Path) -> None:
    """Continued after the lengthening was interrupted, bit for bit what it is uninterrupted."""
    other = tmp_path / "other"
    shutil.copytree(ended, other)
    resume(run, data=small.pixels(), steps=14)
    resume(other, data=small.pixels(), steps=14)
    shutil.rmtree(other / "model")
    opened = Run.open(other)
    opened.checkpoints.drop_after(opened.checkpoints.all()[0])
    resume(other, data=small.pixels())
    assert small.losses(other) == small.losses(run)


def test_no_length_that_is_done_already(run: Path) -> None:
    for steps in (10, 3):
        with pytest.raises(
            UserError, match="has done 10 steps: --steps is the run's whole length, so name more"
        ):
            resume(run, data=small.pixels(), steps=steps)
    assert Run.open(run).config.train.steps == 10


def test_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "x.npy", small.pixels()[..., 0])
    options = [word for name, value in small.options().items() for word in (f"--{name}", str(value))]
    out = str(tmp_path / "run")
    command = [
        "train",
        "i-jepa",
        "--preset",
        "tiny-vit",
        "--data",
        str(tmp_path / "x.npy"),
        "--out",
        out,
        *options,
    ]
    main(command)
    main(["train", "--resume", out, "--steps", "12"])
    assert "12 steps in all, not 10" in capsys.readouterr().err
    for words, sentence in [
        (["--resume", out, "--seed", "3"], "give nothing but --data and --steps"),
        (["--resume", out, "--steps", "none"], "steps"),
        (command[1:], "or give --overwrite"),
    ]:
        with pytest.raises(SystemExit) as stopped:
            main(["train", *words])
        assert stopped.value.code == 2 and sentence in capsys.readouterr().err
    main([*command, "--overwrite"])
    assert Run.open(out).config.train.steps == 10 and "lengths" not in Run.open(out).about


def test_a_run_is_overwritten_where_that_is_asked_for(run: Path) -> None:
    with pytest.raises(UserError, match="overwrite=True"):
        trained(run)
    for name in ("probe.json", "model.onnx", ".model.partial"):
        (run / name).write_text("{}")
    train(
        "i-jepa",
        preset="tiny-vit",
        data=small.pixels(),
        out=run,
        options=small.options(train__steps=3),
        overwrite=True,
        progress=False,
    )
    assert [step for step, _ in small.losses(run)] == [0, 1, 2]
    assert sorted(path.name for path in run.iterdir()) == [
        "checkpoints",
        "config.json",
        "metrics.jsonl",
        "model",
        "run.json",
    ]


def test_nothing_but_a_run_is_ever_overwritten(run: Path, tmp_path: Path) -> None:
    def again(path: Path) -> None:
        train(
            "i-jepa",
            preset="tiny-vit",
            data=small.pixels(),
            out=path,
            options=small.options(),
            overwrite=True,
        )

    (run / "thesis.tex").write_text("years of work")
    before = sorted(run.rglob("*"))
    with pytest.raises(UserError, match=r"also holds thesis\.tex, which no run writes"):
        again(run)
    assert sorted(run.rglob("*")) == before
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "a.png").write_text("")
    with pytest.raises(UserError, match="exists and is not an empty directory"):
        again(folder)
    (folder / "config.json").write_text(json.dumps({"recipe": "soup"}))
    (folder / "a.png").unlink()
    with pytest.raises(UserError, match="is no run, and is not overwritten"):
        again(folder)
    assert (folder / "config.json").exists()


def test_a_run_survives_a_mistake_in_what_was_to_overwrite_it(run: Path) -> None:
    before = small.losses(run)
    with pytest.raises(UserError):
        train(
            "i-jepa",
            preset="tiny-vit",
            data=small.pixels(4),
            out=run,
            options=small.options(),
            overwrite=True,
        )
    with pytest.raises(UserError):
        train("i-jepa", data="nowhere", out=run, overwrite=True)
    assert small.losses(run) == before


def test_a_run_is_overwritten_again_where_the_first_attempt_was_killed(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = small.losses(run)

    def again(**changes: object) -> None:
        train(
            "i-jepa",
            preset="tiny-vit",
            data=small.pixels(),
            out=run,
            options=small.options(train__steps=3, train__log="csv", **changes),
            overwrite=True,
            progress=False,
        )

    class Killed(BaseException):
        """No handler sees it, as SIGKILL."""

    def killed(self: Trainer) -> None:
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Trainer, "look", killed)
        again()
    assert small.losses(run) == []
    with pytest.raises(UserError, match="to train on"):
        again(train__batch_size=64)
    assert small.losses(run) == before  # the run that was first in the way, and not the one that was killed
    again()
    assert [step for step, _ in small.losses(run)] == [0, 1, 2] and not (run / ".overwritten").exists()
    assert len((run / "logs" / "csv" / "train.csv").read_text().splitlines()) == 4
