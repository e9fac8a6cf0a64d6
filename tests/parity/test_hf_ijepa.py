"""Our encoder and predictor hold the weights of Hugging Face's and Meta's I-JEPA, and give the same outputs."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import IJepaConfig, IJepaForImageClassification, IJepaModel

from openjepa.errors import UserError
from openjepa.hub.ijepa import Converted, convert, read
from openjepa.jepa import View
from openjepa.nets.positions import sincos
from openjepa.signals.images.signal import grid_positions

SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 80,
    "image_size": 24,
    "patch_size": 4,
    "num_channels": 3,
}


def theirs(**settings: object) -> IJepaModel:
    """A small random model whose weights are large enough for every one of them to matter."""
    torch.manual_seed(0)
    model = IJepaModel(IJepaConfig(**(SIZES | {"attn_implementation": "eager"} | settings))).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model


def normalised(converted: Converted, images: Tensor) -> Tensor:
    mean, std = (torch.tensor(v).view(1, -1, 1, 1) for v in (converted.signal.mean, converted.signal.std))
    return (images - mean) / std


def images(*size: int) -> Tensor:
    return torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(3))


def close(ours: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("eps", [1e-12, 1e-6])
def test_outputs_equal_hugging_faces(eps: float) -> None:
    hf = theirs(layer_norm_eps=eps)
    converted = convert(hf.state_dict(), hf.config.to_dict())
    assert (converted.encoder.depth, converted.encoder.heads, converted.encoder.norm_eps) == (3, 4, eps)
    assert converted.signal.layout == (6, 6)
    assert converted.encoder.positions.kind == "learned"
    batch = images(24, 24)
    close(converted.build().tokens(batch), hf(normalised(converted, batch)).last_hidden_state.detach())


def test_gradients_equal_hugging_faces() -> None:
    hf = theirs()
    converted = convert(hf.state_dict(), hf.config.to_dict())
    model, batch = converted.build(), images(24, 24)
    hf(normalised(converted, batch)).last_hidden_state.square().mean().backward()
    model.encoder(View(model.signal.tokenise(batch))).square().mean().backward()
    gradients = {name: p.grad for name, p in hf.named_parameters() if p.grad is not None}
    expected = convert(gradients, hf.config.to_dict()).target
    for name, parameter in model.encoder.named_parameters():
        assert parameter.grad is not None
        close(parameter.grad, expected[name])


@pytest.mark.parametrize("size", [(32, 32), (16, 40)])
def test_another_resolution_equals_hugging_faces_interpolation(size: tuple[int, int]) -> None:
    hf = theirs()
    converted = convert(hf.state_dict(), hf.config.to_dict())
    batch = images(*size)
    expected = hf(normalised(converted, batch), interpolate_pos_encoding=True).last_hidden_state
    close(converted.build().tokens(batch), expected.detach())


def test_fixed_positions_become_ours() -> None:
    hf = theirs()
    hf.embeddings.position_embeddings.data = sincos(grid_positions(6, 6), 32)
    converted = convert(hf.state_dict(), hf.config.to_dict())
    assert converted.encoder.positions.kind == "sincos" and "positions.position_table" not in converted.target
    batch = images(24, 24)
    close(converted.build().tokens(batch), hf(normalised(converted, batch)).last_hidden_state.detach())


def transformers_4(name: str) -> str:
    for now, then in [
        (r"^layers\.", "encoder.layer."),
        (r"q_proj", "attention.query"),
        (r"k_proj", "attention.key"),
        (r"v_proj", "attention.value"),
        (r"attention\.o_proj", "attention.output.dense"),
        (r"mlp\.fc1", "intermediate.dense"),
        (r"mlp\.fc2", "output.dense"),
    ]:
        name = re.sub(now, then, name)
    return name


def same(a: Converted, b: Converted) -> bool:
    return (a.signal, a.encoder) == (b.signal, b.encoder) and all(
        torch.equal(a.target[name], b.target[name]) for name in a.target.keys() | b.target.keys()
    )


def test_the_hubs_older_names_and_the_classifiers_are_the_same_model() -> None:
    hf = theirs()
    config, expected = hf.config.to_dict(), convert(hf.state_dict(), hf.config.to_dict())
    older = {transformers_4(name): tensor for name, tensor in hf.state_dict().items()}
    assert "encoder.layer.0.attention.attention.query.weight" in older
    assert "encoder.layer.2.attention.output.dense.bias" in older
    assert same(convert(older, config), expected)
    classifier = IJepaForImageClassification(hf.config)
    classifier.ijepa.load_state_dict(hf.state_dict())
    assert same(convert(classifier.state_dict(), config), expected)
    pooled = IJepaModel(hf.config, add_pooling_layer=True, use_mask_token=True).state_dict() | hf.state_dict()
    assert same(convert(pooled, config), expected)


def meta_network(width: int, depth: int, seed: int, **others: tuple[int, ...]) -> dict[str, Tensor]:
    """Meta's names and shapes (vision transformer of facebookresearch/ijepa) with random numbers."""
    generator = torch.Generator().manual_seed(seed)
    shapes: dict[str, tuple[int, ...]] = dict(others)
    for i in range(depth):
        block = {
            "norm1": (width,),
            "norm2": (width,),
            "attn.qkv": (3 * width, width),
            "attn.proj": (width, width),
            "mlp.fc1": (4 * width, width),
            "mlp.fc2": (width, 4 * width),
        }
        for name, shape in block.items():
            shapes[f"blocks.{i}.{name}.weight"] = shape
            shapes[f"blocks.{i}.{name}.bias"] = shape[:1]
    return {name: 0.1 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def meta_checkpoint() -> dict[str, Tensor]:
    """Width 192 stands in Meta's table with 3 heads; a predictor of width 24."""
    outer = {"patch_embed.proj.weight": (192, 3, 4, 4), "patch_embed.proj.bias": (192,)}
    last = {"norm.weight": (192,), "norm.bias": (192,)}
    positions = {"pos_embed": sincos(grid_positions(6, 6), 192)}
    networks = {
        "encoder": meta_network(192, 2, 0, **outer, **last) | positions,
        "target_encoder": meta_network(192, 2, 1, **outer, **last) | positions,
    }
    inner = {
        "predictor_embed.weight": (24, 192),
        "predictor_embed.bias": (24,),
        "predictor_proj.weight": (192, 24),
        "predictor_proj.bias": (192,),
        "predictor_norm.weight": (24,),
        "predictor_norm.bias": (24,),
        "mask_token": (1, 1, 24),
    }
    predictor = meta_network(24, 2, 2, **inner) | {"predictor_pos_embed": sincos(grid_positions(6, 6), 24)}
    networks["predictor"] = {
        re.sub(r"^blocks", "predictor_blocks", name): tensor for name, tensor in predictor.items()
    }
    return {f"{n}.module.{name}": tensor for n, group in networks.items() for name, tensor in group.items()}


def test_metas_training_checkpoint_fills_encoder_target_and_predictor() -> None:
    tensors = meta_checkpoint()
    model = convert(tensors).build()
    assert model.config.encoder.heads == model.config.predictor.heads == 3
    assert model.config.encoder.positions.kind == "sincos"
    block = "module.{}.1.mlp.fc2.weight"
    for name, network in [("encoder", model.encoder), ("target_encoder", model.target.encoder)]:
        assert torch.equal(network.blocks[1].mlp[2].weight, tensors[f"{name}.{block.format('blocks')}"])
        patches = network.embed.weight.view(192, 3, 4, 4)
        assert torch.equal(patches, tensors[f"{name}.module.patch_embed.proj.weight"])
    ours = model.predictor.blocks[1].mlp[2].weight
    assert torch.equal(ours, tensors[f"predictor.{block.format('predictor_blocks')}"])
    assert torch.equal(model.predictor.mask_token, tensors["predictor.module.mask_token"][0, 0])


def test_the_documented_lines_convert_metas_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved: dict[str, Any] = {"epoch": 300, "loss": 0.1, "opt": {"state": {}}}
    for name, tensor in meta_checkpoint().items():
        part, _, rest = name.partition(".")
        saved.setdefault(part, {})[rest] = tensor
    monkeypatch.chdir(tmp_path)
    torch.save(saved, "IN1K-vit.h.14-300e.pth.tar")
    page = (Path(__file__).parents[2] / "docs" / "architecture.md").read_text()
    known: dict[str, Any] = {}
    for code in re.findall(r"^```py\n(.*?)^```$", page, flags=re.M | re.S):
        exec(compile(code, "<documentation>", "exec"), known)
    expected = convert(meta_checkpoint()).build().state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in known["model"].state_dict().items())


def test_metas_encoder_alone_equals_the_same_weights_through_hugging_face() -> None:
    prefix = "target_encoder.module."
    alone = {
        n.removeprefix("target_encoder."): t for n, t in meta_checkpoint().items() if n.startswith(prefix)
    }
    converted = convert(alone)
    hf = theirs(
        hidden_size=192,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=768,
        layer_norm_eps=1e-6,
    )
    state = {}
    for name, tensor in alone.items():
        name = name.removeprefix("module.")
        for meta, face in [
            ("pos_embed", "embeddings.position_embeddings"),
            ("patch_embed.proj", "embeddings.patch_embeddings.projection"),
            ("blocks", "layers"),
            ("norm1", "layernorm_before"),
            ("norm2", "layernorm_after"),
            ("attn.proj", "attention.o_proj"),
        ]:
            name = name.replace(meta, face)
        name = re.sub(r"^norm\.", "layernorm.", name)
        if "attn.qkv" in name:
            for letter, part in zip("qkv", tensor.chunk(3), strict=True):
                state[name.replace("attn.qkv", f"attention.{letter}_proj")] = part
        else:
            state[name] = tensor
    hf.load_state_dict(state)
    batch = images(24, 24)
    close(converted.build().tokens(batch), hf(normalised(converted, batch)).last_hidden_state.detach())


def test_a_hub_directory_is_read(tmp_path: Path) -> None:
    hf = theirs()
    state = hf.state_dict()
    names = sorted(state)
    for i, part in enumerate((names[:20], names[20:])):  # large checkpoints come in several files
        save_file({name: state[name] for name in part}, tmp_path / f"model-0000{i + 1}-of-00002.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(hf.config.to_dict()))
    (tmp_path / "preprocessor_config.json").write_text(
        json.dumps({"image_mean": [0.5] * 3, "image_std": [0.25] * 3})
    )
    model = read(tmp_path)
    assert (model.signal.mean, model.signal.std) == ((0.5,) * 3, (0.25,) * 3)
    expected = hf((images(24, 24) - 0.5) / 0.25).last_hidden_state.detach()
    close(model.tokens(images(24, 24)), expected)


def test_pickles_are_refused_and_not_opened(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04never read")
    with pytest.raises(UserError, match="pickled"):
        read(tmp_path)


def without(state: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    return {key: tensor for key, tensor in state.items() if key != name}


def test_whatever_does_not_fit_is_named() -> None:
    hf = theirs()
    state, config = hf.state_dict(), hf.config.to_dict()
    cases = [
        (
            state | {"surprise.weight": torch.zeros(1)},
            config,
            "names that no I-JEPA has, such as 'surprise.weight'",
        ),
        (
            without(state, "layernorm.bias"),
            config,
            r"encoder do not fit, such as our 'norm.bias'.*given null",
        ),
        (without(state, "layers.1.attention.k_proj.bias"), config, "lacks tensors.*attention.k.bias"),
        (without(state, "embeddings.position_embeddings"), config, "lacks a tensor .* 'position_table'"),
        (state | {"layernorm.bias": torch.zeros(7)}, config, r"expected shape \[32\], given \[7\]"),
        (state, config | {"model_type": "vit"}, "type 'vit', only 'ijepa'"),
        (state, config | {"hidden_act": "relu"}, "'relu'"),
        (state, {}, "number of heads of an encoder of width 32 is not known"),
        ({}, {}, "no encoder among the tensors"),
    ]
    for tensors, settings, message in cases:
        with pytest.raises(UserError, match=message):
            convert(tensors, settings)
