"""Our encoder, predictor and attentive classifier hold the weights of Hugging Face's V-JEPA 2, and give the same."""

import json
import re
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import VJEPA2Config, VJEPA2ForVideoClassification, VJEPA2Model

import openjepa
from openjepa import cli
from openjepa.errors import OpenJEPAWarning, UserError
from openjepa.hub.vjepa2 import ConvertedClips, convert
from openjepa.jepa import Pair, View

SIZES = {
    "hidden_size": 28,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "mlp_ratio": 2.5,
    "crop_size": 24,
    "patch_size": 4,
    "tubelet_size": 2,
    "frames_per_clip": 6,
    "pred_hidden_size": 24,
    "pred_num_attention_heads": 3,
    "pred_num_hidden_layers": 2,
    "pred_num_mask_tokens": 3,
    "num_pooler_layers": 2,
    "num_labels": 5,
    "id2label": {i: f"class {i}" for i in range(5)},
}


def theirs(kind: type = VJEPA2Model, **settings: object) -> VJEPA2Model | VJEPA2ForVideoClassification:
    """A small random model whose weights are large enough for every one of them to matter."""
    torch.manual_seed(0)
    model = kind(VJEPA2Config(**(SIZES | {"attn_implementation": "eager"} | settings))).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model


def normalised(converted: ConvertedClips, clips: Tensor) -> Tensor:
    mean, std = (torch.tensor(v).view(1, 1, -1, 1, 1) for v in (converted.signal.mean, converted.signal.std))
    return (clips / 255 - mean) / std


def clips() -> Tensor:
    return torch.randint(
        0, 256, (2, 6, 3, 24, 24), dtype=torch.uint8, generator=torch.Generator().manual_seed(3)
    )


def masks() -> tuple[Tensor, Tensor]:
    """Indices of tokens that the context keeps and of those asked for, unlike in both samples."""
    order = torch.stack(
        [torch.randperm(108, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2)]
    )
    return order[:, :40].sort(1).values, order[:, 45:90].sort(1).values


def close(ours: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)


def test_the_encoders_outputs_equal_hugging_faces() -> None:
    hf = theirs()
    converted = convert(hf.state_dict(), hf.config.to_dict())
    assert (converted.encoder.depth, converted.encoder.heads, converted.encoder.mlp_ratio) == (3, 2, 2.5)
    assert converted.signal.layout == (3, 6, 6)
    expected = hf(normalised(converted, clips()), skip_predictor=True).last_hidden_state
    close(converted.build().tokens(clips()), expected.detach())


def test_the_predictor_equals_hugging_faces_at_kept_tokens() -> None:
    """Their predictor uses the second mask token, and takes the context out of tokens that have all been encoded."""
    hf = theirs()
    converted = convert(hf.state_dict(), hf.config.to_dict(), mask_token=1)
    model = converted.build()
    keep, asked = masks()
    expected = hf(normalised(converted, clips()), context_mask=[keep], target_mask=[asked])
    whole = View(model.signal.tokenise(clips()))
    seen = model.encoder(whole).gather(1, keep.unsqueeze(-1).expand(-1, -1, 28))
    pair = Pair(View(whole.tokens, keep), (whole,), asked.unsqueeze(1))
    close(model.predictor(seen, pair)[:, 0].detach(), expected.predictor_output.last_hidden_state.detach())


def test_gradients_equal_hugging_faces() -> None:
    hf = theirs()
    converted = convert(hf.state_dict(), hf.config.to_dict(), mask_token=1)
    model = converted.build()
    model.encoder.requires_grad_(True)
    keep, asked = masks()
    output = hf(normalised(converted, clips()), context_mask=[keep], target_mask=[asked])
    output.predictor_output.last_hidden_state.square().mean().backward()
    whole = View(model.signal.tokenise(clips()))
    seen = model.encoder(whole).gather(1, keep.unsqueeze(-1).expand(-1, -1, 28))
    model.predictor(
        seen, Pair(View(whole.tokens, keep), (whole,), asked.unsqueeze(1))
    ).square().mean().backward()
    gradients = {name: p.grad for name, p in hf.named_parameters() if p.grad is not None}
    expected = convert(gradients, hf.config.to_dict(), mask_token=1)
    assert expected.predictor_weights is not None
    for network, wanted in ((model.encoder, expected.target), (model.predictor, expected.predictor_weights)):
        for name, parameter in network.named_parameters():
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0
            close(parameter.grad, wanted[name])


def test_the_classifier_equals_hugging_faces() -> None:
    hf = theirs(VJEPA2ForVideoClassification)
    converted = convert(hf.state_dict(), hf.config.to_dict())
    assert "31 tensors of the file's predictor are left out" in converted.said()
    model = converted.build()
    expected = hf(normalised(converted, clips())).logits.softmax(1)
    close(model.predict(clips()), expected.detach())
    assert model.config.names == ("class 0", "class 1", "class 2", "class 3", "class 4")
    close(model.tokens(clips()), hf.vjepa2(normalised(converted, clips()), skip_predictor=True)[0].detach())


def test_a_hub_directory_is_read(tmp_path: Path) -> None:
    hf = theirs(pred_zero_init_mask_tokens=True)
    state = hf.state_dict()
    names = sorted(state)
    for i, part in enumerate((names[:20], names[20:])):  # large checkpoints come in several files
        save_file({name: state[name] for name in part}, tmp_path / f"model-0000{i + 1}-of-00002.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(hf.config.to_dict()))
    (tmp_path / "video_preprocessor_config.json").write_text(
        json.dumps({"image_mean": [0.5] * 3, "image_std": [0.25] * 3})
    )
    with pytest.warns(OpenJEPAWarning, match="mask token is number 0 of the file's 3.*not zero: 0, 1, 2"):
        model = openjepa.load(tmp_path)
    assert (model.signal.mean, model.signal.std) == ((0.5,) * 3, (0.25,) * 3)
    expected = hf((clips() / 255 - 0.5) / 0.25, skip_predictor=True).last_hidden_state.detach()
    close(model.tokens(clips()), expected)


def test_the_documented_lines_read_released_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page's code, with small weights of the same layout in the place of those that it would fetch."""
    av = pytest.importorskip("av")
    saved = {}
    for name, kind in (
        ("facebook/vjepa2-vitl-fpc64-256", VJEPA2Model),
        ("facebook/vjepa2-vitl-fpc16-256-ssv2", VJEPA2ForVideoClassification),
    ):
        folder = tmp_path / name.replace("/", "_")
        theirs(kind).save_pretrained(folder)
        saved[f"hub:{name}"] = folder
    monkeypatch.setattr("openjepa.hub.formats.fetched", lambda source: saved[source])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clips").mkdir()
    for i in range(4):
        with av.open(f"clips/{i}.mp4", "w") as film:
            stream = film.add_stream("libx264", rate=8)
            stream.width, stream.height = 48, 32
            for t in range(16):
                pixels = np.full((32, 48, 3), 12 * t + i, np.uint8)
                film.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            film.mux(stream.encode())
    page = (Path(__file__).parents[2] / "docs" / "video.md").read_text()
    (code,) = [c for c in re.findall(r"^```py\n(.*?)^```$", page, flags=re.M | re.S) if "vjepa2-vitl" in c]
    known: dict[str, Any] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OpenJEPAWarning)
        exec(compile(code, "<documentation>", "exec"), known)
    assert known["features"].shape == (4, 28) and known["tokens"].shape == (4, 108, 28)
    assert known["model"].layout == (3, 6, 6)
    assert known["answers"](known["clips"]).shape == (4, 5)
    for command in (["embed", "-o", "features.npy"], ["probe", "--classical", "none", "--kinds", "knn"]):
        labelled = "clips"
        if command[0] == "probe":
            labelled = "labelled"
            for split, name in (("train", "a"), ("train", "b"), ("test", "a"), ("test", "b")):
                (tmp_path / labelled / split / name).mkdir(parents=True)
                for i in range(4):
                    shutil.copy(f"clips/{i}.mp4", f"labelled/{split}/{name}/{i}.mp4")
        arguments = [command[0], "hub:facebook/vjepa2-vitl-fpc64-256", "--data", labelled, *command[1:]]
        cli.main(arguments)
    assert np.load("features.npy").shape == (4, 28)


def meta_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same weights under the names of facebookresearch/vjepa2's training checkpoints, encoder apart from target."""
    found: dict[str, Tensor] = {}
    for name, tensor in state.items():
        part, _, rest = name.partition(".")
        for hugging, meta in [
            ("embeddings.patch_embeddings", "patch_embed"),
            ("embeddings.predictor_embeddings", "predictor_embed"),
            ("layernorm.", "norm." if part == "encoder" else "predictor_norm."),
            ("layer.", "blocks." if part == "encoder" else "predictor_blocks."),
            ("attention.", "attn."),
        ]:
            rest = rest.replace(hugging, meta)
        rest = rest.replace("proj.", "predictor_proj.") if rest.startswith("proj.") else rest
        if rest == "embeddings.mask_tokens":
            found |= {f"{part}.module.backbone.mask_tokens.{i}": token for i, token in enumerate(tensor)}
        elif ".key." in rest or ".value." in rest:
            continue
        elif ".query." in rest:
            qkv = [state[name.replace("query", key)] for key in ("query", "key", "value")]
            found[f"{part}.module.backbone.{rest.replace('query', 'qkv')}"] = torch.cat(qkv)
        else:
            found[f"{part}.module.backbone.{rest}"] = tensor
    target = {f"target_{name}": t for name, t in found.items() if name.startswith("encoder.")}
    online = {name: 2 * t if name.startswith("encoder.") else t for name, t in found.items()}
    return {**online, **target, "encoder.module.backbone.pos_embed": torch.zeros(1, 108, 28)}


def test_metas_training_checkpoint_is_the_same_model() -> None:
    hf = theirs()
    config, expected = hf.config.to_dict(), convert(hf.state_dict(), hf.config.to_dict())
    found = convert(meta_names(hf.state_dict()), config)
    assert (found.signal, found.encoder, found.predictor) == (
        expected.signal,
        expected.encoder,
        expected.predictor,
    )
    assert found.target.keys() == expected.target.keys()
    for name, tensor in expected.target.items():
        assert torch.equal(found.target[name], tensor) and torch.equal(found.online[name], 2 * tensor)
    assert expected.predictor_weights is not None and found.predictor_weights is not None
    for name, tensor in expected.predictor_weights.items():
        assert torch.equal(found.predictor_weights[name], tensor)
    assert "pos_embed: left out" in found.left_out[0]


def without(state: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    return {key: tensor for key, tensor in state.items() if key != name}


def test_whatever_does_not_fit_is_named() -> None:
    hf = theirs()
    state, config = hf.state_dict(), hf.config.to_dict()
    cases = [
        (state | {"surprise.weight": torch.zeros(1)}, config, "no V-JEPA 2 has, such as 'surprise.weight'"),
        (without(state, "encoder.layernorm.bias"), config, r"encoder do not fit, .*'norm.bias'.*given null"),
        (without(state, "encoder.layer.1.attention.key.bias"), config, r"lacks tensors.*attention.k.bias"),
        (without(state, "predictor.proj.bias"), config, r"predictor do not fit, .*'leave.bias'.*given null"),
        (without(state, "predictor.embeddings.mask_tokens"), config, "lacks a tensor .* 'mask_tokens'"),
        (state | {"encoder.layernorm.bias": torch.zeros(7)}, config, r"expected shape \[28\], given \[7\]"),
        (state, config | {"model_type": "vit"}, "type 'vit', only 'vjepa2'"),
        (state, config | {"hidden_act": "relu"}, "'relu'"),
        (state, config | {"qkv_bias": False}, "no biases"),
        (state, {}, "number of heads of an encoder of width 28 is not known"),
        ({}, {}, "no encoder among the tensors"),
    ]
    for tensors, settings, message in cases:
        with pytest.raises(UserError, match=message):
            convert(tensors, settings)
