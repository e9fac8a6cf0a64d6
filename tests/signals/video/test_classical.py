"""Classical features of clips, and the flow that they use."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import avg_pool2d

from openjepa.errors import UserError
from openjepa.signals.images.fisher import GaussianMixture
from openjepa.signals.video.classical import Edges, MotionHistograms, classical
from openjepa.signals.video.flow import optical_flow, warp

FLOW = Path(os.environ.get("OPENJEPA_TEST_DATA", "")) / "flow"


def texture(height: int = 64, width: int = 80, seed: int = 0) -> torch.Tensor:
    noise = torch.rand(1, 1, height, width, generator=torch.Generator().manual_seed(seed))
    return 0.5 + 4 * (avg_pool2d(noise, 5, 1, 2) - 0.5)


class Drifting:
    """Textures that move right in the first half of the set, down in the second."""

    shape = (6, 1, 48, 64)

    def __len__(self) -> int:
        return 24

    def read(self, rows) -> torch.Tensor:
        clips = []
        for row in rows:
            move = (0, 1) if row < 12 else (1, 0)
            frames = [
                torch.roll(texture(48, 64, int(row)), (move[0] * t, move[1] * t), (2, 3)) for t in range(6)
            ]
            clips.append(torch.cat(frames).clamp(0, 1) * 255)
        return torch.stack(clips).round().to(torch.uint8)


@pytest.mark.parametrize("move", [(0, 1.0), (2.0, 0), (-3.0, 2.5), (0, 0)])
def test_flow_finds_how_a_texture_moves(move: tuple[float, float]):
    """`move` is how far it goes down and to the right."""
    first = texture()
    flow = torch.tensor([move[1], move[0]]).view(1, 2, 1, 1).expand(1, 2, 64, 80)
    second = warp(first, -flow)
    found = optical_flow(first, second)[..., 10:-10, 10:-10]
    assert (found[0].flatten(1).median(1).values - torch.tensor([move[1], move[0]])).abs().max() < 0.2


@pytest.mark.data
def test_flow_of_real_frames_is_nearer_to_the_truth_than_none():
    if not FLOW.is_dir():
        pytest.skip("needs OPENJEPA_TEST_DATA")
    from PIL import Image

    raw = (FLOW / "rubberwhale-flow.flo").read_bytes()
    width, height = np.frombuffer(raw[4:12], "<i4")
    truth = torch.from_numpy(np.frombuffer(raw[12:], "<f4").reshape(height, width, 2).copy()).permute(2, 0, 1)
    known = (truth.abs() < 1e9).all(0)
    frames = [
        torch.from_numpy(np.array(Image.open(FLOW / f"rubberwhale-{i}.png").convert("L"))).float() / 255
        for i in (1, 2)
    ]
    first, second = (avg_pool2d(frame[None, None], 4) for frame in frames)
    truth = avg_pool2d(torch.where(known, truth, 0)[None], 4) / 4
    error = (optical_flow(first, second) - truth).norm(dim=1).mean()
    assert error < 0.65 * truth.norm(dim=1).mean()


def test_motion_tells_directions_apart():
    clips, rows = Drifting(), np.arange(24)
    label = torch.arange(24) < 12

    def right(source) -> float:
        name = source.default
        features = torch.cat([batch[name] for _, batch in source.stream(clips, rows, [name])])
        features = features - features.mean(0)
        near = (features @ features.T).fill_diagonal_(-torch.inf).argmax(1)
        return (label[near] == label).float().mean().item()

    assert right(MotionHistograms().fit(clips)) == 1.0


def test_every_row_gives_what_it_promises_and_the_same_again():
    clips = Drifting()
    for row in classical("all"):
        source = row.fit(clips, total=24, seed=0, progress=None)
        names = list(source.poolings)
        (part, found), *_ = source.stream(clips, np.arange(5), names)
        assert part.tolist() == [0, 1, 2, 3, 4]
        for name in names:
            assert found[name].shape == (5, source.poolings[name])
            assert found[name].isfinite().all()
        (_, again), *_ = row.fit(clips, total=24, seed=0, progress=None).stream(clips, np.arange(5), names)
        assert all(torch.equal(found[name], again[name]) for name in names)


def test_minutes_bound_the_frames_that_are_looked_at():
    source = Edges(minutes=1e-3).fit(Drifting(), total=20)
    assert source.notes == ["Fisher vectors of HOG: 1 of 4 frames a clip, to stay within 0.001 CPU minutes."]
    assert Edges().fit(Drifting(), total=20).notes == []


def test_a_fisher_vector_is_the_gradient_of_the_likelihood():
    """By its means, against automatic differentiation; up to root, length and the weights' factor."""
    generator = torch.Generator().manual_seed(0)
    fitted = GaussianMixture.fit(
        torch.randn(2000, 6, generator=generator), torch.rand(2000, 2, generator=generator), 0
    )
    sample, places = torch.randn(50, 6, generator=generator), torch.rand(50, 2, generator=generator)
    centres = fitted.centres.clone().requires_grad_()
    points = torch.cat([(sample - fitted.mean) @ fitted.directions, places * 7.0], 1)
    inner = ((points[:, None] - centres) ** 2 / fitted.variances + fitted.variances.log()).sum(-1)
    (fitted.weights.log() - 0.5 * inner).logsumexp(1).mean().backward()
    wanted = centres.grad * fitted.variances.sqrt() / fitted.weights.sqrt()[:, None]
    wanted = wanted.flatten().sign() * wanted.flatten().abs().sqrt()
    found = fitted.encode(sample, places)[: wanted.numel()]
    assert torch.cosine_similarity(found, wanted, dim=0) > 0.999


def test_levels():
    assert [row.name for row in classical("quick")] == ["raw pixels", "Fisher vectors of HOG"]
    assert classical("none") == []
    with pytest.raises(UserError, match="choose from none, quick, all"):
        classical("some")
