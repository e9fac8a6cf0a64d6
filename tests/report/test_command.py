"""The command on the page leads to the run's config."""

import shlex

import pytest

from openjepa.recipes import configure
from openjepa.report.command import command_for

CHANGES = [
    {},
    {"train.steps": "7", "train.lr": "1e-2", "train.clip": "1.0"},
    {"guard": "sigreg", "guard.slices": "16", "target": "shared", "data": "my folder/a b"},
    {"hiding.target_scale": "[0.1, 0.2]", "encoder.position_scale": "0.5"},
    {"encoder": "timm", "encoder.name": "resnet34"},
]


@pytest.mark.parametrize("changes", CHANGES)
def test_the_command_gives_the_config_again(changes):
    config = configure("i-jepa", "tiny-vit", changes)
    command = command_for(config.model_dump(mode="json"))
    words = shlex.split(command.replace("\\\n", ""))  # as a shell joins lines
    assert words[:5] == ["openjepa", "train", "i-jepa", "--preset", "tiny-vit"]
    options = {name.removeprefix("--"): value for name, value in zip(words[5::2], words[6::2], strict=True)}
    assert configure(words[2], words[4], options) == config
    assert len(words) == 5 + 2 * len(changes)


def test_no_command_is_given_for_what_it_cannot_reach():
    config = configure("i-jepa", "tiny-vit").model_dump(mode="json")
    assert command_for(config | {"preset": "gone"}) is None
    assert command_for(config | {"recipe": "gone"}) is None
    assert command_for({}) is None
