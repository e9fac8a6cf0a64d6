"""Numbers that papers and released code give, in the presets of the papers' sizes."""

import pytest

from openjepa.recipes import configure


def value(recipe, preset, path):
    node = configure(recipe, preset)
    for name in path.split("."):
        node = getattr(node, name)
    return node


@pytest.mark.parametrize(
    ("recipe", "preset", "path", "expected"),
    [
        ("i-jepa", "vit-h14", "train.warmup", 40 / 300),
        ("i-jepa", "vit-l16", "train.warmup", 40 / 600),
        ("i-jepa", "vit-b16", "train.warmup", 40 / 600),
        ("i-jepa", "vit-h14", "train.decay_mask_tokens", True),
        ("lejepa", "vit-l14", "encoder.drop_path", 0.1),
        ("lejepa", "vit-l14", "head.embedding", 512),
        ("lejepa", "vit-l14", "head.width", 512),
        ("lejepa", "vit-l14", "head.activation", "relu"),
        ("lejepa", "vit-l14", "guard.knots", 33),  # 17 on one side of zero
        ("lewm", None, "encoder.positions.kind", "learned"),
        ("lewm", None, "guard.weight", 0.09 / 1.09),
        ("lewm", None, "train.clip", 1 / 1.09),
        ("dino-wm", None, "encoder.statistics", "half"),
        ("pldm", "two-rooms", "train.lr", 1.75e-4),
        ("pldm", "two-rooms", "encoder.channels", (16, 32, 32)),
        ("pldm", "two-rooms", "terms.inverse_layers", 1),
    ],
)
def test_presets_have_the_numbers_of_their_sources(recipe, preset, path, expected):
    found = value(recipe, preset, path)
    assert found == (pytest.approx(expected) if isinstance(expected, float) else expected)
