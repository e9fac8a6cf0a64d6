"""From a world to a world model's verdict, by the commands."""

import json
from pathlib import Path

import pytest
import torch

import openjepa
from openjepa import cli
from openjepa.world_models.model import WorldJEPA

from .. import dots

pytest.importorskip("h5py")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("worlds")
    collect = ["collect", "two-rooms", "--episodes", "12", "--steps", "8", "--size", "16"]
    cli.main([*collect, "--out", str(folder / "episodes"), "--json"])
    options = {**dots.options("pldm"), "train.steps": 4}
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    cli.main(
        ["train", "pldm", "--data", str(folder / "episodes"), "--out", str(folder / "run"), *words, "--json"]
    )
    return folder / "run"


def test_the_run_is_a_planner_s_world_model(run: Path) -> None:
    model = openjepa.load(run)
    assert isinstance(model, WorldJEPA)
    state = model.encode(torch.zeros(2, 1, 3, 16, 16, dtype=torch.uint8))
    assert model.rollout(state, torch.zeros(2, 3, 4, 2)).shape == (2, 3, 4, 16)
    assert model.actions.size == 2 and model.actions.high[0] > 1
    about = json.loads((run / "run.json").read_text())["data"]["about"]
    assert about["world"] == "two-rooms" and about["policy"] == "random-walk"


def test_health_and_report_tell_of_windows_and_actions(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["health", str(run), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["verdict"] and found["energy/permuted_actions"] > 0 and found["energy/persistence"] > 0
    cli.main(["report", str(run)])
    page = (run / "report.html").read_text()
    assert "wrong actions" in page and "Term: inverse" in page and "Guard: vicreg" in page
    assert "windows, 16 × 16 px, colour; of 12 episodes" in page
    assert 'id="map"' not in page and 'href="#map"' not in page and 'id="curves"' in page


def test_what_is_for_samples_cut_into_tokens_says_so(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["finetune", str(run), "--out", str(tmp_path / "tuned")])
    assert ended.value.code == 2 and not (tmp_path / "tuned").exists()
    assert (
        "is of pldm: fine-tuning takes runs of recipes whose samples are cut into tokens"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["collect", "two-room", "--out", "x"], "two-rooms"),
        (["collect", "two-rooms", "--policy", "randm", "--out", "x"], "random"),
        (["collect", "two-rooms", "--seed", "-1", "--out", "x"], "-1 is not within 0 and"),
        (["collect", "two-rooms", "--difficulty", "{distance: x}", "--out", "x"], "a rising pair"),
        (
            [
                "collect",
                "two-rooms",
                "--difficulty",
                "{distance: [900, 999]}",
                "--policy",
                "scripted",
                "--out",
                "x",
            ],
            "no goal has",
        ),
        (["train", "pldm"], "openjepa collect two-rooms"),
        (["train", "pldm", "--data", "nowhere"], "nowhere"),
        (["train", "pldm", "--terms.invers", "1"], "did you mean 'terms.inverse'?"),
    ],
)
def test_mistakes_are_one_sentence_and_leave_nothing(
    arguments: list[str],
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    said = capsys.readouterr().err
    assert ended.value.code == 2 and expected in said and said.count("\n") == 1
    assert not list(tmp_path.iterdir())  # nothing is begun that the mended command would stumble over


def test_a_world_s_options_are_set_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    collect = ["collect", "two-rooms", "--episodes", "2", "--steps", "3", "--size", "16"]
    cli.main([*collect, "--max-steps", "9", "--vary", "[wall]", "--out", str(tmp_path / "out"), "--json"])
    options = json.loads((tmp_path / "out/data/metadata.json").read_text())["openjepa"]["options"]
    assert options["max_steps"] == 9 and options["vary"] == ["wall"]
    with pytest.raises(SystemExit):
        cli.main([*collect, "--max-stepz", "9", "--out", str(tmp_path / "other")])
    assert "did you mean 'max_steps'" in capsys.readouterr().err
