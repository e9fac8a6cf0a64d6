"""check_jepa passes what keeps the contract, and names the rule that a broken model breaks."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import openjepa
from openjepa.check import ContractError, check_jepa
from openjepa.common.rng import Rng
from openjepa.errors import UserError
from openjepa.jepa import JEPA, Pair, View
from openjepa.recipes import build, configure

SMALL = {
    "signal.size": "16",
    "signal.patch": "4",
    "signal.channels": "1",
    "signal.mean": "[0.5]",
    "signal.std": "[0.25]",
    "encoder.width": "32",
    "encoder.depth": "2",
    "encoder.heads": "2",
}
PREDICTOR = {"predictor.width": "16", "predictor.depth": "1", "predictor.heads": "2"}
CROPS = {
    "hiding.local_views": "1",
    "hiding.local_augment.size": "8",
    "head.hidden": "32",
    "head.width": "8",
    "guard.slices": "32",
}


def i_jepa(**changes: str) -> JEPA:
    return build(configure("i-jepa", None, SMALL | PREDICTOR | changes))


def le_jepa(**changes: str) -> JEPA:
    return build(configure("lejepa", None, SMALL | CROPS | changes))


def images(count: int = 12) -> Tensor:
    """Blurred noise: different samples, with something to predict."""
    noise = torch.rand(count, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    return nn.functional.interpolate(noise, (16, 16), mode="bilinear")


def test_it_is_public() -> None:
    assert openjepa.check_jepa is check_jepa


@pytest.mark.parametrize(
    "model",
    [
        lambda: i_jepa(),
        lambda: i_jepa(**{"target.centre": "position", "predictor.joint": "true"}),
        lambda: i_jepa(target="frozen"),
        lambda: i_jepa(guard="sigreg", target="shared"),
        lambda: i_jepa(guard="vicreg", **{"encoder.hide": "replace", "encoder.positions": "learned"}),
        lambda: le_jepa(),
        lambda: le_jepa(target="ema"),
        lambda: le_jepa(target="frozen"),
        lambda: build(
            configure(
                "lejepa",
                None,
                {k: v for k, v in (SMALL | CROPS).items() if "encoder" not in k}
                | {"encoder": "timm", "encoder.name": "test_resnet"},
            )
        ),
    ],
    ids=[
        "i-jepa",
        "centred",
        "frozen",
        "shared",
        "replace",
        "lejepa",
        "lejepa-ema",
        "lejepa-frozen",
        "resnet",
    ],
)
def test_sound_models_pass(model: Callable[[], JEPA]) -> None:
    check_jepa(model(), images())


def test_the_presets_for_small_machines_pass() -> None:
    for name in ("i-jepa", "lejepa"):
        batch = nn.functional.interpolate(images(6), (28, 28), mode="bilinear")
        check_jepa(build(configure(name, "tiny")), batch)


def test_uint8_batches_pass() -> None:
    check_jepa(i_jepa(), (images() * 255).byte())


def test_neither_the_model_nor_torchs_random_state_is_changed() -> None:
    model = i_jepa().train()
    model.encoder.blocks[0].eval()
    before = copy.deepcopy(model)
    state = torch.get_rng_state()
    check_jepa(model, images())
    assert torch.equal(torch.get_rng_state(), state)
    assert [m.training for m in model.modules()] == [m.training for m in before.modules()]
    assert all(p.grad is None for p in model.parameters())
    for name, tensor in before.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name])


def test_too_small_a_batch_is_the_users_mistake() -> None:
    with pytest.raises(UserError, match="2 samples and needs at least 4"):
        check_jepa(i_jepa(), images(2))


class Wrapped(nn.Module):
    """An encoder with something done to its output, or to its input."""

    def __init__(self, inner: nn.Module, after: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.inner, self.after, self.width = inner, after, inner.width

    def forward(self, view: View) -> Tensor:
        return self.after(self.inner(view))

    def layers(self, view: View, count: int) -> list[Tensor]:
        return [self.after(x) for x in self.inner.layers(view, count)]

    def layout(self, layout: tuple[int, int]) -> tuple[int, int]:
        return self.inner.layout(layout)


def replace_encoder(model: JEPA, after: Callable[[Tensor], Tensor]) -> JEPA:
    model.encoder = Wrapped(model.encoder, after)
    if hasattr(model.target, "encoder"):
        model.target.encoder = Wrapped(model.target.encoder, after)
    return model


def method(model: JEPA, name: str, function: Callable[..., Any]) -> JEPA:
    """The model with one method replaced; the function is given the model and the old method first."""

    class Broken(type(model)):
        pass

    old = getattr(type(model), name)
    setattr(Broken, name, lambda self, *args, **kwargs: function(self, old, *args, **kwargs))
    model.__class__ = Broken
    return model


def unseeded_pairs(model: JEPA, old: Any, batch: Tensor, rng: Rng) -> list[Pair]:
    return old(model, batch, Rng(int(torch.randint(10**9, ())), 0))


def nan_output(model: JEPA, old: Any, batch: Tensor, rng: Rng) -> Any:
    output = old(model, batch, rng)
    return type(output)(output.loss * torch.nan, output.terms, output.s_x, output.s_y, output.prediction)


def attached_terms(model: JEPA, old: Any, batch: Tensor, rng: Rng) -> Any:
    output = old(model, batch, rng)
    terms = output.terms | {"mine": output.loss * 2}
    return type(output)(output.loss, terms, output.s_x, output.s_y, output.prediction)


def broadcast_prediction(model: JEPA, old: Any, s_x: Sequence[Tensor], pairs: Sequence[Pair]) -> list[Tensor]:
    return [guess.mean(1, keepdim=True) for guess in old(model, s_x, pairs)]


def detached_context(model: JEPA, old: Any, views: Sequence[View]) -> list[Tensor]:
    return [s.detach() for s in old(model, views)]


def blind_prediction(model: JEPA, old: Any, s_x: Sequence[Tensor], pairs: Sequence[Pair]) -> list[Tensor]:
    return [guess.detach() + 0 * s_x[0].sum() + s_x[0].mean() for guess in old(model, s_x, pairs)]


def trainable_target(model: JEPA) -> JEPA:
    model.target.requires_grad_(True)
    return model


def reversed_update(model: JEPA, old: Any, step: int, total: int) -> None:
    for mine, theirs in zip(model.target.encoder.parameters(), model.encoder.parameters(), strict=True):
        mine.data += 0.01 * (mine.data - theirs.data)


def moving_frozen(model: JEPA, old: Any, step: int, total: int) -> None:
    for mine, theirs in zip(model.target.encoder.parameters(), model.encoder.parameters(), strict=True):
        mine.data.lerp_(theirs.data, 0.5)


def centred_embed(model: JEPA, old: Any, batch: Tensor) -> Tensor:
    features = old(model, batch)
    return features - features.mean(0)


def noisy_embed(model: JEPA, old: Any, batch: Tensor) -> Tensor:
    features = old(model, batch)
    return features + 1e-7 * torch.randn_like(features)


def mode_changing_embed(model: JEPA, old: Any, batch: Tensor) -> Tensor:
    model.eval()
    return old(model, batch)


def token_embed(model: JEPA, old: Any, batch: Tensor) -> Tensor:
    return model.tokens(batch)


def hidden_state(model: JEPA) -> JEPA:
    factor = [1.0]  # outside the state dict: neither a parameter nor a buffer

    def scale(x: Tensor) -> Tensor:
        return x * factor[0]

    model = replace_encoder(model, scale)
    model.config = configure("i-jepa", None, SMALL | PREDICTOR)
    return model


def untold_state(model: JEPA) -> JEPA:
    model.encoder.embed.register_buffer("shift", torch.full((32,), 2.0), persistent=False)
    model.encoder.embed.register_forward_hook(_Shift())
    model.target.encoder.embed.register_forward_hook(_Shift())
    return model


class _Shift:
    def __call__(self, module: nn.Module, args: Any, output: Tensor) -> Tensor:
        return output * 1.5


def climbing(model: JEPA, old: Any, batch: Tensor, rng: Rng) -> Any:
    output = old(model, batch, rng)
    loss = 2 * output.loss.detach() - output.loss  # the right value, the wrong gradient
    return type(output)(loss, output.terms, output.s_x, output.s_y, output.prediction)


BROKEN: dict[str, tuple[Callable[[], JEPA], str]] = {
    "own random numbers": (lambda: method(i_jepa(), "pairs", unseeded_pairs), "hiding must be a function"),
    "nan": (lambda: method(i_jepa(), "forward", nan_output), "loss must be finite, not nan"),
    "terms hold the graph": (lambda: method(i_jepa(), "forward", attached_terms), r"detached, \['mine'\]"),
    "broadcast": (
        lambda: method(i_jepa(), "predict", broadcast_prediction),
        r"prediction must have its target's shape, \[12, 4, .* not \[12, 1, ",
    ),
    "context cut off": (
        lambda: method(i_jepa(), "represent", detached_context),
        "gradients must reach the encoder, all of its are zero",
    ),
    "predictor cut off": (
        lambda: method(i_jepa(), "predict", blind_prediction),
        "gradients must reach the predictor",
    ),
    "trainable EMA": (lambda: trainable_target(i_jepa()), "must not require gradients"),
    "EMA runs away": (
        lambda: method(i_jepa(), "after_step", reversed_update),
        "EMA target must move towards",
    ),
    "EMA forgotten": (
        lambda: method(i_jepa(), "after_step", lambda *_: None),
        "EMA target must move towards",
    ),
    "frozen moves": (
        lambda: method(i_jepa(target="frozen"), "after_step", moving_frozen),
        "frozen target must never change",
    ),
    "embedding centred over the batch": (
        lambda: method(i_jepa(), "embed", centred_embed),
        "embed must treat each sample alone",
    ),
    "samples mixed": (
        lambda: replace_encoder(i_jepa(), lambda x: x - x.mean(0)),
        "must treat each sample alone",
    ),
    "noise": (lambda: method(i_jepa(), "embed", noisy_embed), "embed must be deterministic"),
    "mode": (
        lambda: method(i_jepa(), "embed", mode_changing_embed),
        "must restore every module's training mode",
    ),
    "tokens for an embedding": (lambda: method(i_jepa(), "embed", token_embed), r"embed must give \[12, D\]"),
    "one direction": (
        lambda: replace_encoder(i_jepa(), lambda x: x.mean(-1, keepdim=True).expand_as(x) * 10),
        "more than one direction: their effective rank is 1.00",
    ),
    "constant": (lambda: replace_encoder(i_jepa(), lambda x: x * 0 + 1), "gradients must reach the encoder"),
    "renamed parameters": (lambda: hidden_state(i_jepa()), "a fresh model must load the model's state"),
    "state outside the state dict": (lambda: untold_state(i_jepa()), "the state must round-trip"),
    "uphill": (lambda: method(i_jepa(), "forward", climbing), "8 steps on one batch must lower its loss"),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_each_broken_rule_is_named(broken: str) -> None:
    make, sentence = BROKEN[broken]
    with pytest.raises(ContractError, match=sentence):
        check_jepa(make(), images())
