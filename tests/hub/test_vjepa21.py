"""V-JEPA 2.1's released layout: names and shapes of Meta's files, filled with random numbers."""

import pytest
import torch
from torch import Tensor

from openjepa.common.rng import Rng
from openjepa.errors import UserError
from openjepa.hub.vjepa21 import convert

WIDTH, DEPTH, PATCH = 24, 4, 4
SIZES = {"size": 24, "frames": 4, "heads": 2, "levels": (0, 1, 2, 3), "predictor_heads": 2}


def network(width: int, depth: int, blocks: str, **others: tuple[int, ...]) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(width + depth)
    shapes: dict[str, tuple[int, ...]] = dict(others)
    for i in range(depth):
        for name, shape in {
            "norm1": (width,),
            "norm2": (width,),
            "attn.qkv": (3 * width, width),
            "attn.proj": (width, width),
            "mlp.fc1": (4 * width, width),
            "mlp.fc2": (width, 4 * width),
        }.items():
            shapes[f"{blocks}.{i}.{name}.weight"] = shape
            shapes[f"{blocks}.{i}.{name}.bias"] = shape[:1]
    return {name: 0.1 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def linear(name: str, out: int, into: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (out, into), f"{name}.bias": (out,)}


def released(teacher: int = 4 * WIDTH) -> dict[str, Tensor]:
    encoder = network(
        WIDTH,
        DEPTH,
        "blocks",
        **{"patch_embed.proj.weight": (WIDTH, 3, 2, PATCH, PATCH), "patch_embed.proj.bias": (WIDTH,)},
        **{"patch_embed_img.proj.weight": (WIDTH, 3, 1, PATCH, PATCH), "patch_embed_img.proj.bias": (WIDTH,)},
        **{"img_mod_embed": (1, 1, WIDTH), "video_mod_embed": (1, 1, WIDTH)},
        **{f"norms_block.{i}.{part}": (WIDTH,) for i in range(4) for part in ("weight", "bias")},
    )
    predictor = network(
        12,
        2,
        "predictor_blocks",
        **linear("predictor_embed.0", WIDTH, 4 * WIDTH),
        **linear("predictor_embed.2", 12, WIDTH),
        **linear("predictor_proj", teacher, 12),
        **linear("predictor_proj_context", teacher, 12),
        **{"predictor_norm.weight": (12,), "predictor_norm.bias": (12,)},
        **{"img_mod_embed": (1, 1, 12), "video_mod_embed": (1, 1, 12)},
        **{f"mask_tokens.{i}": (1, 1, 12) for i in range(8)},
    )
    parts = {"encoder": encoder, "target_encoder": encoder, "predictor": predictor}
    return {f"{part}.module.backbone.{name}": t for part, group in parts.items() for name, t in group.items()}


def test_every_tensor_finds_its_place() -> None:
    tensors = released()
    converted = convert(tensors, **SIZES)
    model = converted.build()
    prefix = "target_encoder.module.backbone."
    target = model.target.encoder
    clips, images = target.embed.maps
    assert torch.equal(
        clips.weight.view(WIDTH, 3, 2, PATCH, PATCH), tensors[prefix + "patch_embed.proj.weight"]
    )
    assert torch.equal(
        images.weight.view(WIDTH, 3, 1, PATCH, PATCH), tensors[prefix + "patch_embed_img.proj.weight"]
    )
    assert torch.equal(target.embed.kinds.vectors[1], tensors[prefix + "img_mod_embed"][0, 0])
    assert torch.equal(target.norms[2].weight, tensors[prefix + "norms_block.2.weight"])
    assert torch.equal(target.blocks[3].mlp[2].weight, tensors[prefix + "blocks.3.mlp.fc2.weight"])
    prefix = "predictor.module.backbone."
    assert torch.equal(model.predictor.enter[2].weight, tensors[prefix + "predictor_embed.2.weight"])
    assert torch.equal(model.predictor.leave_context.bias, tensors[prefix + "predictor_proj_context.bias"])
    assert torch.equal(model.predictor.mask_token, tensors[prefix + "mask_tokens.0"][0, 0])
    assert torch.equal(model.predictor.kinds.vectors[0], tensors[prefix + "video_mod_embed"][0, 0])
    assert (
        converted.said() == "the predictor's mask token is the first of the file's 8, the others are left out"
    )
    assert model.config.encoder.positions.style == "interleaved" and model.config.encoder.positions.grid == 16


def test_the_model_sees_clips_and_images_and_trains_on() -> None:
    model = convert(released(), **SIZES).build().train()
    clips = torch.randint(0, 256, (4, 4, 3, 24, 24), dtype=torch.uint8)
    assert model.tokens(clips).shape == (4, 2 * 36, WIDTH)
    assert model.tokens(clips[:, 0]).shape == (4, 36, WIDTH)
    assert model(clips, Rng(0, 1, steps=2)).loss.isfinite()


def test_a_student_keeps_its_encoder_and_says_that_its_predictor_is_a_teachers() -> None:
    converted = convert(released(teacher=96 * 2), **SIZES)
    assert converted.predictor is None and "of a larger teacher" in converted.said()
    assert converted.build().drawn == ("predictor",)
    alone = {
        name.replace("target_encoder.", "ema_encoder."): tensor
        for name, tensor in released().items()
        if name.startswith("target_encoder.")
    }
    assert "it has no predictor" in convert(alone, **SIZES).said()


def test_whatever_does_not_fit_is_named() -> None:
    tensors = released()
    first = "target_encoder.module.backbone."
    for changed, sizes, message in [
        ({**tensors, "surprise": torch.zeros(1)}, SIZES, "no V-JEPA 2.1 has, such as 'surprise'"),
        (
            {n: t for n, t in tensors.items() if n != first + "norms_block.1.bias"},
            SIZES,
            r"encoder do not fit, .*'norms.1.bias'.*given null",
        ),
        (
            {n: t for n, t in tensors.items() if not n.endswith("img_mod_embed")},
            SIZES,
            "lacks a tensor .* 'kinds.1'",
        ),
        (tensors, SIZES | {"heads": None}, "give heads"),
        (tensors, SIZES | {"levels": None}, "give their numbers, levels"),
        ({}, SIZES, "no encoder among the tensors"),
    ]:
        with pytest.raises(UserError, match=message):
            convert(changed, **sizes)
