"""timm backbones as encoders: convolutional, plain and hierarchical transformers, at sizes they were not made for."""

import pytest
import torch
from torch import Tensor

from openjepa.common.rng import Rng
from openjepa.errors import UserError
from openjepa.jepa import View
from openjepa.nets.timm import Timm, TimmEncoder
from openjepa.recipes import build, configure
from openjepa.signals.images.signal import ImageSignal


def signal(size: int, patch: int) -> ImageSignal:
    return ImageSignal(size=size, channels=3, patch=patch, mean=(0.5,), std=(0.25,))


def encoder(name: str, size: int, patch: int = 16) -> TimmEncoder:
    torch.manual_seed(0)
    return Timm(name=name).build(signal(size, patch)).eval()


def images(size: int, columns: int | None = None) -> Tensor:
    return torch.rand(2, 3, size, columns or size, generator=torch.Generator().manual_seed(1))


# name, picture, patch that matches the feature map, feature map, width
BACKBONES = [
    ("resnet18", 64, 32, (2, 2), 512),
    ("vit_tiny_patch16_224", 48, 16, (3, 3), 192),
    ("swin_tiny_patch4_window7_224", 64, 32, (2, 2), 768),
    ("convnext_atto", 64, 32, (2, 2), 320),
]
IDS = [backbone[0] for backbone in BACKBONES]


def test_what_is_kept_for_a_classifier_is_declared_unused() -> None:
    assert encoder("convnext_atto", 64, 32).unused() == {"trunk.head.norm.weight", "trunk.head.norm.bias"}
    assert encoder("resnet18", 64, 32).unused() == set()


@pytest.mark.parametrize(("name", "size", "patch", "grid", "width"), BACKBONES, ids=IDS)
def test_the_tokens_are_the_models_own_feature_map(
    name: str, size: int, patch: int, grid: tuple[int, int], width: int
) -> None:
    net = encoder(name, size, patch)
    view = View(net.signal.tokenise(images(size)))
    out = net(view)
    assert net.layout((1, 1)) == grid and net.width == width
    assert out.shape == (2, grid[0] * grid[1], width)
    with torch.no_grad():
        features = net.trunk.forward_features((images(size) - 0.5) / 0.25)
        pooled = net.trunk.forward_head(features, pre_logits=True)
    if name == "resnet18":
        torch.testing.assert_close(out.mean(1), pooled, rtol=1e-4, atol=1e-4)
    if name.startswith("vit"):
        torch.testing.assert_close(out, features[:, 1:], rtol=1e-4, atol=1e-4)  # without the class token
    if name.startswith("swin"):
        torch.testing.assert_close(out, features.flatten(1, 2), rtol=1e-4, atol=1e-4)  # channels last
    if name.startswith("convnext"):
        torch.testing.assert_close(out, features.flatten(2).mT, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("name", "size", "patch", "grid", "width"), BACKBONES, ids=IDS)
def test_what_is_not_kept_is_not_seen(
    name: str, size: int, patch: int, grid: tuple[int, int], width: int
) -> None:
    net, batch = encoder(name, size, patch), images(size)
    keep = torch.tensor([[0, 2], [1, 3]])
    out = net(View(net.signal.tokenise(batch), keep))
    assert out.shape == (2, 2, width)
    other = torch.full_like(batch, 0.9)
    columns = grid[1]
    for sample, kept in enumerate(keep.tolist()):
        for token in kept:
            top, left = token // columns * patch, token % columns * patch
            part = (sample, slice(None), slice(top, top + patch), slice(left, left + patch))
            other[part] = batch[part]
    torch.testing.assert_close(net(View(net.signal.tokenise(other), keep)), out, rtol=1e-4, atol=1e-4)


def test_masks_that_the_feature_map_cannot_follow_are_refused_when_built() -> None:
    changes = {"signal.size": "64", "signal.patch": "16", "encoder": "timm", "encoder.name": "resnet18"}
    hiding = {"hiding.target_scale": "[0.05, 0.1]"}
    with pytest.raises(
        UserError, match=r"gives 2x2 features of 64 px images, --hiding blocks hides 4x4 patches"
    ):
        build(configure("i-jepa", "tiny-vit", changes | hiding))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "resnet18"}, "--signal.size 224 --signal.patch 32 --target.layers 1"),
        ({"name": "resnet18", "signal.patch": "28"}, "--signal.size 224 --signal.patch 32 --target.layers 1"),
        ({"name": "vit_tiny_patch16_224"}, "--signal.size 224 --signal.patch 16"),
        ({"name": "convnext_atto"}, "--signal.size 224 --signal.patch 32"),
        ({"name": "vgg11", "encoder.drop_path": "0.1"}, "drop_path"),
    ],
)
def test_what_cannot_be_is_one_sentence_whose_advice_works(changes: dict[str, str], words: str) -> None:
    changes = {"encoder": "timm", "encoder.name": changes["name"]} | {
        k: v for k, v in changes.items() if k != "name"
    }
    with pytest.raises(UserError) as caught:
        build(configure("i-jepa", "tiny-vit", changes))
    text = str(caught.value)
    assert words in text and "\n" not in text
    if "--signal" in text:
        advised = text.split("use ")[1].split(" (")[0].split(", or")[0].split()
        followed = {name[2:]: value for name, value in zip(advised[::2], advised[1::2], strict=True)}
        model = build(configure("i-jepa", "tiny-vit", changes | followed | {"target.layers": "1"}))
        assert model.layout == model.signal.layout


def test_layers_of_several_sizes_have_no_mean() -> None:
    changes = {"signal.size": "224", "signal.patch": "32", "encoder": "timm", "encoder.name": "resnet18"}
    with pytest.raises(UserError, match=r"differ in size here: use --target\.layers 1"):
        build(configure("i-jepa", "tiny-vit", changes))


def test_weights_that_cannot_be_fetched_are_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    import timm

    def offline(*arguments: object, **options: object) -> None:
        raise OSError("no connection\nand a long tale")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(UserError, match=r"weights of resnet18 cannot be had \(no connection\)") as caught:
        Timm(name="resnet18", pretrained=True).build(signal(64, 32))
    assert "\n" not in str(caught.value)


def test_views_with_dropped_patches_need_no_matching_map() -> None:
    model = build(
        configure("lejepa", "tiny", {"encoder": "timm", "encoder.name": "resnet18", "hiding.drop": "0.5"})
    )
    out = model(torch.rand(4, 1, 28, 28), Rng(0, 0))
    assert out.loss.isfinite() and out.s_x[0].shape[:2] == (4, 1)


def test_building_leaves_the_running_statistics_alone() -> None:
    net = Timm(name="test_resnet").build(signal(32, 32))
    assert net.training and all(module.training for module in net.modules())
    for name, buffer in net.named_buffers():
        if name.endswith("running_mean"):
            assert not buffer.count_nonzero()


def test_a_picture_that_is_not_square() -> None:
    net = encoder("vit_tiny_patch16_224", 48)
    batch = images(32, 96)
    features = net._features(batch)
    assert features.shape[:3] == (2, 2, 6)


def test_earlier_layers_come_first() -> None:
    net = encoder("vit_tiny_patch16_224", 48)
    view = View(net.signal.tokenise(images(48)))
    first, last = net.layers(view, 2)
    assert first.shape == last.shape == (2, 9, 192)
    assert torch.equal(last, net(view)) and not torch.allclose(first, last, atol=1e-2)


@pytest.mark.parametrize("recipe", ["i-jepa", "lejepa"])
def test_both_recipes_train_with_one(recipe: str) -> None:
    changes = {"signal.size": "64", "encoder": "timm", "signal.patch": "16"}
    if recipe == "i-jepa":
        changes |= {"encoder.name": "test_vit", "predictor.width": "16", "predictor.heads": "2"}
    else:
        changes |= {"encoder.name": "test_resnet", "head.hidden": "16", "hiding.local_augment.size": "32"}
    model = build(configure(recipe, "tiny-vit", changes))
    batch = torch.rand(4, 1, 64, 64)
    model(batch, Rng(0, 0)).loss.backward()
    assert any(p.grad is not None and p.grad.count_nonzero() for p in model.encoder.parameters())
    rows, columns = model.layout
    assert model.tokens(batch).shape == (4, rows * columns, model.encoder.width)


def test_unknown_names_are_answered_with_known_ones() -> None:
    with pytest.raises(UserError, match=r"no model 'resnet18x'; did you mean 'resnet18"):
        Timm(name="resnet18x").build(signal(64, 32))
