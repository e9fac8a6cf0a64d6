"""The contract of a JEPA, run on anyone's model, in the manner of Gymnasium's environment checker."""

import copy
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from openjepa.common.rng import Rng
from openjepa.errors import UserError
from openjepa.health.metrics import effective_rank
from openjepa.jepa import JEPA, View
from openjepa.recipes import Recipe, build
from openjepa.signals.base import Batch
from openjepa.targets import EMATarget

AnyBatch = Tensor | Batch

STEPS = 8
"""Optimiser steps on the one batch that must lower its loss."""
LEAST_SAMPLES = 4
LEAST_RANK = 1.1
"""Smallest effective rank of the centred embeddings; 1 is a line."""


class ContractError(AssertionError):
    """One sentence: the rule that the model breaks, and what was seen."""


def check_jepa(model: JEPA, batch: AnyBatch, *, seed: int = 0) -> None:
    """Check that a model keeps the contract on which trainer, health monitor and probes rely.

    It hides by the step's random numbers alone; gives a finite loss, with predictions shaped like their targets; its
    gradients reach encoder, head and predictor and never a target of its own; an EMA target moves towards the encoder
    after a step and any other target of its own stands still; no sample's features depend on its neighbours; `embed`
    repeats itself and leaves every module's mode alone; its state dict is all that there is to it; a few steps on one
    batch lower that batch's loss; and its embeddings of different samples differ in more than one direction.

    The model is copied first and not changed, nor is torch's random state.

    Args:
        batch: `[B, C, H, W]`, at least 4 different samples, on the model's device; uint8 or float in 0..1. For a world
            model a `Window` of at least 4.
        seed: of the masks or views and of all else that is drawn.

    Raises:
        ContractError: the first rule that the model breaks, in one sentence.
        UserError: the batch is too small, or does not fit the model.

    Examples:
        >>> import torch
        >>> from openjepa.recipes import build, configure
        >>> model = build(configure("i-jepa", "tiny-vit", {"encoder.depth": "1", "predictor.depth": "1"}))
        >>> check_jepa(model, torch.rand(8, 1, 28, 28))  # says nothing: it keeps the contract
    """
    if len(batch) < LEAST_SAMPLES:
        raise UserError(f"check_jepa was given {len(batch)} samples and needs at least {LEAST_SAMPLES}")
    device = batch.device
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        for check in (_hiding, _output, _gradients, _independence, _embed, _rank, _state, _target, _learning):
            torch.manual_seed(seed)
            check(copy.deepcopy(model), batch, seed)


def _require(holds: bool | Tensor, sentence: str) -> None:
    if not holds:
        raise ContractError(sentence)


def _hiding(model: JEPA, batch: AnyBatch, seed: int) -> None:
    first = model.pairs(batch, Rng(seed, 0))
    torch.rand(7)  # moves torch's own random state, which hiding must not read
    again = model.pairs(batch, Rng(seed, 0))
    for a, b in zip(first, again, strict=True):
        seen = zip((a.context, *a.target), (b.context, *b.target), strict=True)
        same = all(_same_view(one, other) for one, other in seen)
        fields = ("select", "valid", "weight", "place", "within", "condition")
        same &= all(_equal(getattr(a, name), getattr(b, name)) for name in fields) and a.kind == b.kind
        _require(same, "hiding must be a function of the batch and of Rng: the same step gave other pairs")


def _same_view(a: View, b: View) -> bool:
    fields = ("values", "positions", "valid", "links")
    alike = all(_equal(getattr(a.tokens, name), getattr(b.tokens, name)) for name in fields)
    return alike and _equal(a.keep, b.keep) and _equal(a.valid, b.valid)


def _equal(a: Tensor | None, b: Tensor | None) -> bool:
    return a is b if a is None or b is None else torch.equal(a, b)


def _output(model: JEPA, batch: AnyBatch, seed: int) -> None:
    pairs = model.pairs(batch, Rng(seed, 0))
    s_x = model.represent([pair.context for pair in pairs])
    s_y, predictions = model.targets(pairs, s_x), model.predict(s_x, pairs)
    counts = f"{len(s_x)}, {len(predictions)} and {len(s_y)} for {len(pairs)}"
    one_each = len(s_x) == len(predictions) == len(s_y)
    _require(one_each, f"every pair must give one s_x, one prediction and one target, not {counts}")
    for guess, wanted in zip(predictions, s_y, strict=True):
        shapes = f"{list(wanted.shape)}, not {list(guess.shape)}"
        _require(guess.shape == wanted.shape, f"a prediction must have its target's shape, {shapes}")
    output = model(batch, Rng(seed, 0))
    _require(output.loss.dim() == 0, f"the loss must be a scalar, not of shape {list(output.loss.shape)}")
    _require(output.loss.isfinite(), f"the loss must be finite, not {output.loss.item()}")
    attached = [name for name, term in output.terms.items() if term.requires_grad]
    _require(not attached, f"terms must be detached, {attached[:1]} still hold the graph")


def _gradients(model: JEPA, batch: AnyBatch, seed: int) -> None:
    model.train()
    _own_parameters_fixed(model)
    model(batch, Rng(seed, 0)).loss.backward()
    for name in ("encoder", "head", "predictor"):
        parameters = [p for p in getattr(model, name).parameters() if p.requires_grad]
        reached = [p.grad for p in parameters if p.grad is not None and p.grad.count_nonzero()]
        _require(not parameters or bool(reached), f"gradients must reach the {name}, all of its are zero")
        finite = all(gradient.isfinite().all() for gradient in reached)
        _require(finite, f"gradients must be finite, those of the {name} are not")
    leaked = any(p.grad is not None for p in _own(model))
    _require(not leaked, "gradients must never reach a target of its own, but some did")


def _own(model: JEPA) -> list[nn.Parameter]:
    """The target's parameters, where it is not the encoder itself."""
    online = {id(p) for p in (*model.encoder.parameters(), *model.head.parameters())}
    return [p for p in model.target.parameters() if id(p) not in online]


def _own_parameters_fixed(model: JEPA) -> None:
    trainable = any(p.requires_grad for p in _own(model))
    _require(not trainable, "a target of its own must not require gradients, or the optimiser would train it")


def _independence(model: JEPA, batch: AnyBatch, seed: int) -> None:
    others = _other_neighbours(batch)
    embedded = model.embed(batch)
    changed = _changed(embedded, model.embed(others)) or _changed(embedded, model.embed(batch[:1]))
    _require(not changed, "embed must treat each sample alone: other neighbours changed a sample's embedding")
    model.eval()  # so that batch normalisation, which may mix samples in training, does not
    with torch.no_grad():
        before, after = (_contexts(model, some, seed) for some in (batch, others))
    changed = any(_changed(a, b) for a, b in zip(before, after, strict=True))
    _require(not changed, "the encoder must treat each sample alone: other neighbours changed a sample's s_x")


def _contexts(model: JEPA, batch: AnyBatch, seed: int) -> list[Tensor]:
    """Sample 0's features in every context, those of tokens that are there: `[1, n, D]` each, beside the others'."""
    views = [pair.context for pair in model.pairs(batch, Rng(seed, 0))]
    return [
        s
        if view.present is None or view.present.shape != s.shape[:2]
        else s.masked_fill(~view.present[..., None], 0)
        for view, s in zip(views, model.represent(views), strict=True)
    ]


def _other_neighbours(batch: AnyBatch) -> AnyBatch:
    """Sample 0 as it is, and in each other's place one of the others."""
    return batch[torch.tensor([0, *range(2, len(batch)), 1])]


def _changed(before: Tensor, after: Tensor) -> bool:
    """Whether sample 0 differs by more than arithmetic makes it, against how much samples differ."""
    scale = 1e-3 * before.std(0).mean() + 1e-5 * before.abs().max()
    return bool((before[0] - after[0]).abs().max() > scale)


def _embed(model: JEPA, batch: AnyBatch, seed: int) -> None:
    model.train()
    model.encoder.eval()  # a mixture of modes must come back as it was
    modes = [module.training for module in model.modules()]
    first, second = model.embed(batch), model.embed(batch)
    expected = f"[{len(batch)}, D]"
    _require(
        first.dim() == 2 and len(first) == len(batch), f"embed must give {expected}, not {list(first.shape)}"
    )
    _require(torch.equal(first, second), "embed must be deterministic: two calls gave two results")
    restored = modes == [module.training for module in model.modules()]
    _require(restored, "embed must restore every module's training mode")
    _require(not first.requires_grad, "embed must give features without gradients")


def _rank(model: JEPA, batch: AnyBatch, seed: int) -> None:
    rank = effective_rank(model.embed(batch))
    _require(
        rank >= LEAST_RANK,
        f"embeddings of different samples must span more than one direction: their effective rank is {rank:.2f}",
    )


def _state(model: JEPA, batch: AnyBatch, seed: int) -> None:
    if not isinstance(model.config, Recipe):
        fresh = copy.deepcopy(model)
    else:
        fresh = build(model.config, seed + 1).to(batch.device)
    _scramble(fresh.state_dict().values())
    try:
        fresh.load_state_dict(model.state_dict())
    except RuntimeError as error:
        message = str(error).splitlines()[-1].strip()
        raise ContractError(f"a fresh model must load the model's state: {message}") from None
    same = torch.equal(model.embed(batch), fresh.embed(batch))
    losses = [m.eval()(batch, Rng(seed, 0)).loss for m in (model, fresh)]
    _require(same, "the state must round-trip: a fresh model with it embeds otherwise")
    _require(torch.equal(*losses), "the state must round-trip: a fresh model with it has another loss")


def _scramble(tensors: Iterable[Tensor]) -> None:
    for tensor in tensors:
        if tensor.is_floating_point():
            tensor.normal_()


def _target(model: JEPA, batch: AnyBatch, seed: int) -> None:
    own = [p.detach().clone() for p in _own(model)]
    if not own:
        return
    model.train()
    model(batch, Rng(seed, 0)).loss.backward()
    _optimiser(model).step()
    between = _distance(model)
    model.after_step(0, 1000)
    if isinstance(model.target, EMATarget):
        moved = _distance(model) < between
        _require(
            moved, "an EMA target must move towards the encoder after a step, but it did not come closer"
        )
    else:
        still = all(torch.equal(a, b) for a, b in zip(own, _own(model), strict=True))
        _require(still, "a frozen target must never change, but a step changed it")


def _optimiser(model: JEPA) -> torch.optim.Optimizer:
    return torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 1e-3)


def _distance(model: JEPA) -> float:
    with torch.no_grad():
        followed = model.target.followed(model.encoder, model.head)
        return sum(float((a - b).square().sum()) for a, b in followed)


def _learning(model: JEPA, batch: AnyBatch, seed: int) -> None:
    model.train()
    optimiser, losses = _optimiser(model), []
    for step in range(STEPS + 1):
        loss = model(batch, Rng(seed, 0)).loss  # the same masks or views, whatever the step
        losses.append(loss.item())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        model.after_step(step, 1000)
    first, last = losses[0], losses[-1]
    _require(
        last < first,
        f"{STEPS} steps on one batch must lower its loss, it went from {first:.4g} to {last:.4g}",
    )
