"""Configs, protocols and options with names of before a rename."""

import json
from pathlib import Path
from typing import Any

import pytest

from openjepa.common.renamed import CONFIGS, current, current_protocol, refuse_old
from openjepa.errors import UserError
from openjepa.evals.planning import PlanningProtocol, RemoteProtocol, protocol_for
from openjepa.evals.planning.protocol import WorldEvaluation
from openjepa.recipes import configure
from openjepa.training.run import read_config
from openjepa.worlds import make
from openjepa.worlds.collect import collect


@pytest.mark.parametrize(
    ("old", "today"),
    [
        ({"signal": {"told": "mean"}}, {"signal": {"block_actions": "mean"}}),
        ({"predictor": {"kind": "conditioned", "depth": 2}}, {"predictor": {"kind": "adaln", "depth": 2}}),
        ({"predictor": "concatenated"}, {"predictor": "concat"}),
        (
            {"level2": {"predictor": {"kind": "conditioned"}, "span": 3}},
            {"level2": {"predictor": {"kind": "adaln"}, "span": 3}},
        ),
        ({"encoder": {"channels": [8, 8]}}, {"encoder": {"channels": [8, 8]}}),
    ],
)
def test_a_config_of_then_is_todays(old: dict[str, object], today: dict[str, object]) -> None:
    assert current({"recipe": "pldm", **old}) == {"recipe": "pldm", **today}
    assert current({"recipe": "pldm", **today}) == {"recipe": "pldm", **today}


def test_a_config_of_another_signal_keeps_its_names() -> None:
    with pytest.raises(UserError, match=r"unknown option 'signal\.told'"):
        configure("i-jepa", "tiny", {"signal.told": "mean"})
    other = {
        "recipe": "mine",
        "signal": {"kind": "sound", "told": "much"},
        "predictor": {"kind": "conditioned"},
    }
    assert current(other) == other


def test_a_saved_config_is_read(tmp_path: Path) -> None:
    config = configure("lewm", "tiny", {"signal.block_actions": "mean"})
    text = json.dumps(config.model_dump(mode="json"))
    assert '"block_actions": "mean"' in text and '"kind": "adaln"' in text
    old = text.replace('"block_actions"', '"told"').replace('"adaln"', '"conditioned"')
    (tmp_path / "config.json").write_text(old)
    assert configure("lewm", None, None, read_config(tmp_path / "config.json")) == config


@pytest.mark.parametrize(
    ("option", "value", "sentence"),
    [
        ("signal.told", "mean", r"signal\.told is now called signal\.block_actions"),
        ("predictor", "conditioned", "predictor: 'conditioned' is now called 'adaln'"),
        ("predictor.kind", "concatenated", "predictor: 'concatenated' is now called 'concat'"),
    ],
)
def test_whoever_types_an_old_option_is_told_todays(option: str, value: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        configure("pldm", "tiny", {option: value})
    with pytest.raises(UserError, match=sentence):
        refuse_old({option: value}, CONFIGS)


@pytest.mark.parametrize(
    ("old", "today"),
    [
        ({"hold": 20}, {"steps_at_goal": 20}),
        ({"planner": {"kind": "cem", "hold": True}}, {"planner": {"kind": "cem", "action_repeat": True}}),
        ({"oracle": {"hold": False}}, {"oracle": {"action_repeat": False}}),
        ({"higher": {"planner": {"hold": True}}}, {"higher": {"planner": {"action_repeat": True}}}),
        (
            {"cost": {"doubt": 2.0, "doubt_width": 0.25, "goal": 1.0}},
            {"cost": {"prediction_error": 2.0, "prediction_error_width": 0.25, "goal": 1.0}},
        ),
        ({"between": ["predict", "hold"]}, {"between": ["predict", "last"]}),
    ],
)
def test_a_protocol_of_then_is_todays(old: dict[str, object], today: dict[str, object]) -> None:
    assert current_protocol(old) == today and current_protocol(today) == today


@pytest.mark.parametrize("kind", [PlanningProtocol, RemoteProtocol])
def test_a_saved_protocol_is_read(kind: type[WorldEvaluation], tmp_path: Path) -> None:
    today: dict[str, Any] = {"models": [{"run": "runs/maze"}], "env": "maze", "steps_at_goal": 7}
    if kind is PlanningProtocol:
        today |= {"planner": {"kind": "cem", "action_repeat": True}, "cost": {"prediction_error": 2.0}}
    protocol = kind.parse(today)
    text = json.dumps(protocol.model_dump(mode="json"))
    names = {"steps_at_goal": "hold", "action_repeat": "hold", "last": "hold"}
    names |= {"prediction_error": "doubt", "prediction_error_width": "doubt_width"}
    for now, then in names.items():
        text = text.replace(f'"{now}"', f'"{then}"')
    assert '"hold": 7' in text
    (tmp_path / "alone.json").write_text(text)
    (tmp_path / "result.json").write_text(f'{{"protocol": {text}}}')
    for name in ("alone.json", "result.json"):
        assert kind.read(tmp_path / name) == protocol


@pytest.mark.parametrize(
    ("option", "today"),
    [
        ("hold", "steps_at_goal"),
        ("planner.hold", r"planner\.action_repeat"),
        ("cost.doubt", r"cost\.prediction_error"),
        ("cost.doubt_width", r"cost\.prediction_error_width"),
    ],
)
def test_whoever_plans_with_an_old_option_is_told_todays(option: str, today: str) -> None:
    with pytest.raises(UserError, match=rf"the option {option} is now called {today}$"):
        protocol_for(["nowhere"], "maze", {option: "2"})


def test_a_folder_of_episodes_goes_on_under_its_policys_new_name(tmp_path: Path) -> None:
    pytest.importorskip("h5py")
    with pytest.raises(UserError, match="the policy 'clumsy' is now called 'perturbed-expert'"):
        collect("maze", "clumsy", 1, out=tmp_path / "none")
    collect(make("maze", size=16), "perturbed-expert", 1, out=tmp_path / "episodes", steps=3, worlds=1)
    path = tmp_path / "episodes" / "data" / "metadata.json"
    path.write_text(path.read_text().replace("perturbed-expert", "clumsy"))
    found = collect(
        make("maze", size=16), "perturbed-expert", 2, out=tmp_path / "episodes", steps=3, worlds=1
    )
    assert len(found) == 2
