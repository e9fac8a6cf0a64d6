"""Configs, protocols and options with names of before a rename."""

import json
from pathlib import Path

import pytest

from openjepa.common.renamed import CONFIGS, current, refuse_old
from openjepa.errors import UserError
from openjepa.recipes import configure
from openjepa.training.run import read_config


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
