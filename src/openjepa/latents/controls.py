"""Controls that a latent variable must pass before it may be believed.

A z that improves predictions may have smuggled in the answer, and the best of K predictions is better than one whatever
they know. Every function takes states `[N, *L]` of held-out transitions, and gives plain numbers. Predictions come from
a `Predict`; errors are mean squares, or one minus the cosine.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from openjepa.errors import UserError
from openjepa.jepa import evaluating
from openjepa.latents.base import Latent, LatentDistance, Predict, distance


@dataclass(frozen=True)
class Point:
    """One model of a capacity curve.

    Attributes:
        name: of its setting.
        error: of the prediction from the inferred z.
        share: of what a z without limits gains over none, how much this one gains; 0 and 1 are the ends.
    """

    name: str
    error: float
    share: float


def capacity_curve(
    models: Sequence[tuple[str, Latent, Predict]],
    s: Tensor,
    s_next: Tensor,
    *,
    without: float,
    free: float,
    kind: LatentDistance = "l2",
) -> list[Point]:
    """How much models trained at different capacities make of z, between two errors: of a predictor without z, and of
    one whose z has no limit.

    Raises:
        UserError: the first error is not the larger one.
    """
    if without <= free:
        raise UserError(
            f"z explains nothing: the error without it, {without:.3g}, is not above {free:.3g} with it"
        )
    points = []
    for name, latent, predict in models:
        error = error_given_z(latent, predict, s, s_next, kind)
        points.append(Point(name, error, (without - error) / (without - free)))
    return points


def error_given_z(
    latent: Latent, predict: Predict, s: Tensor, s_next: Tensor, kind: LatentDistance = "l2"
) -> float:
    """Error of the prediction from the z that was inferred from its target."""
    with torch.no_grad(), evaluating(latent):
        return _error(predict, s, latent.infer(s, s_next, predict).z, s_next, kind)


def future_leak(
    latent: Latent,
    predict: Predict,
    s: Tensor,
    s_next: Tensor,
    generator: torch.Generator,
    kind: LatentDistance = "l2",
) -> float:
    """Error at a cut to another clip over the usual error: 2 or more, unless z carries the next frame itself.

    arXiv:2601.05230. z is inferred from this clip's frame and the other's next one, and predicted with.
    """
    other = s_next[_others(len(s), generator)]
    return error_given_z(latent, predict, s, other, kind) / error_given_z(latent, predict, s, s_next, kind)


def cycle_consistency(
    latent: Latent,
    predict: Predict,
    s: Tensor,
    s_next: Tensor,
    generator: torch.Generator,
    kind: LatentDistance = "l2",
) -> float:
    """Error after z has been to another clip and back, over the usual error: near 1 where z means the same everywhere.

    arXiv:2601.05230 (there 1.03 to 1.34): z of clip A makes clip B move; z inferred from that movement is given to A.
    """
    other = s[_others(len(s), generator)]
    with torch.no_grad(), evaluating(latent):
        z = latent.infer(s, s_next, predict).z
        moved = predict(other, z.unsqueeze(-2)).select(1, 0)
        again = latent.infer(other, moved, predict).z
        return _error(predict, s, again, s_next, kind) / _error(predict, s, z, s_next, kind)


def best_of(
    latent: Latent,
    predict: Predict,
    s: Tensor,
    s_next: Tensor,
    counts: Sequence[int],
    generator: torch.Generator,
    kind: LatentDistance = "l2",
) -> list[float]:
    """Error of the best of the first k `candidates`, for each k."""
    with torch.no_grad(), evaluating(latent):
        z = candidates(latent, s, max(counts), generator)
        errors = distance(predict(s, z), s_next.unsqueeze(1), len(latent.shape), kind)
    return [float(errors[:, :k].amin(1).mean()) for k in counts]


def candidates(latent: Latent, s: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """`[N, n, Z]`: the n likeliest values first (all, if they are fewer), or n samples."""
    if not latent.finite:
        return latent.sample(n, s, generator)
    z, probability = latent.enumerate(s)
    order = probability.argsort(-1, descending=True)[:, :n]
    return z.take_along_dim(order.unsqueeze(-1), 1)


def codebook_control(
    seen: Tensor,
    s_next: Tensor,
    counts: Sequence[int],
    generator: torch.Generator,
    axes: int = 1,
    kind: LatentDistance = "l2",
) -> list[float]:
    """Best-of-k error of k fixed vectors that know no context: the k-means of next states `seen` in training."""
    from sklearn.cluster import KMeans

    flat = seen.flatten(-axes).cpu().numpy()
    errors = []
    for k in counts:
        seed = int(torch.randint(2**31 - 1, (), generator=generator))
        centres = KMeans(k, n_init=4, random_state=seed).fit(flat).cluster_centers_
        codes = torch.as_tensor(centres, dtype=s_next.dtype, device=s_next.device)
        apart = distance(codes.unsqueeze(0), s_next.flatten(-axes).unsqueeze(1), 1, kind)
        errors.append(float(apart.amin(1).mean()))
    return errors


def shuffled_contexts(
    latent: Latent,
    predict: Predict,
    s: Tensor,
    s_next: Tensor,
    count: int,
    generator: torch.Generator,
    kind: LatentDistance = "l2",
) -> float:
    """Best-of-`count` error with another sample's context over that with the right one: 1 where the context is not
    used."""
    other = s[_others(len(s), generator)]
    again = generator.clone_state()  # the same guesses for both
    (wrong,) = best_of(latent, predict, other, s_next, [count], generator, kind)
    (right,) = best_of(latent, predict, s, s_next, [count], again, kind)
    return wrong / right


def active_set(log_probability: Tensor) -> Tensor:
    """Which of K values a context `[..., K]` allows: those likelier than half of an equal share (MoP-JEPA)."""
    return log_probability.exp() > 0.5 / log_probability.shape[-1]


def precision(options: Tensor, active: Tensor, successors: Tensor, radius: float) -> float:
    """Share of active predictions within a radius of a state that can truly follow.

    Args:
        options: `[N, K, *L]`, predictions.
        active: `[N, K]`, which of them count.
        successors: `[N, M, *L]`, all states that can follow.
        radius: root mean square difference up to which a prediction is right.
    """
    apart = (options.flatten(2).unsqueeze(2) - successors.flatten(2).unsqueeze(1)).square().mean(-1).sqrt()
    return float((apart.amin(2) <= radius)[active].float().mean())


def _error(predict: Predict, s: Tensor, z: Tensor, s_next: Tensor, kind: LatentDistance) -> float:
    prediction = predict(s, z.unsqueeze(-2)).select(1, 0)
    return float(distance(prediction, s_next, s.dim() - 1, kind).mean())


def _others(count: int, generator: torch.Generator) -> Tensor:
    """Another sample's number for each of `count` samples."""
    if count < 2:
        raise UserError("a control needs at least two transitions, to take another's context")
    return torch.arange(count).roll(int(torch.randint(1, count, (), generator=generator)))
