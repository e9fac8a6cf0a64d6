"""Tubes through time."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from openjepa.common.rng import Rng
from openjepa.errors import UserError
from openjepa.hiding.tubes import Tube, TubeHiding, Tubes
from openjepa.signals.video.signal import VideoSignal


def hiding(layout: tuple[int, int, int] = (4, 6, 8), **options) -> TubeHiding:
    times, rows, columns = layout
    signal = VideoSignal(
        size=(rows, columns), frames=times, tubelet=1, patch=1, channels=1, mean=(0,), std=(1,)
    )
    return Tubes.parse(options).build(signal)


def masks(found: TubeHiding, batch: int, rng: Rng) -> list[tuple[torch.Tensor, torch.Tensor]]:
    times, rows, columns = found.layout
    clips = torch.zeros(batch, times, 1, rows, columns)
    return [(pair.context.keep, pair.select[:, 0]) for pair in found(clips, rng)]


@settings(max_examples=60, deadline=None)
@given(
    layout=st.tuples(st.integers(1, 8), st.integers(4, 14), st.integers(4, 14)),
    batch=st.integers(1, 24),
    seed=st.integers(0, 2**40),
    quirk=st.sampled_from(["none", "official"]),
    time=st.sampled_from([1.0, 0.5]),
    seen=st.sampled_from([1.0, 0.5]),
)
def test_masks_never_leak_and_leave_enough(layout, batch, seed, quirk, time, seen):
    found = hiding(layout, quirk=quirk, time=time, seen=seen, min_context=0.02)
    total = layout[0] * layout[1] * layout[2]
    for keep, select in masks(found, batch, Rng(seed, 0)):
        assert len(keep) == len(select) == batch
        assert keep.shape[1] >= found.min_keep and select.shape[1] >= 1
        for context, target in zip(keep.tolist(), select.tolist(), strict=True):
            assert context == sorted(set(context)) and target == sorted(set(target))
            assert not set(context) & set(target)
            assert min(context + target) >= 0 and max(context + target) < total


def test_what_is_hidden_in_one_frame_is_hidden_in_all():
    """Of one clip nothing is cut off: context and targets cover all of it, frame for frame alike."""
    found = hiding()
    for step in range(20):
        for keep, select in masks(found, 1, Rng(0, step)):
            assert sorted(keep[0].tolist() + select[0].tolist()) == list(range(4 * 6 * 8))
            hidden = torch.zeros(4 * 48, dtype=torch.bool).index_fill(0, select[0], True).view(4, 48)
            assert (hidden == hidden[0]).all()


def test_every_place_is_hidden_and_under_short_tubes_seen():
    """Long ones always hide the middle of so small a grid."""
    drawn = [masks(hiding(), 16, Rng(0, step)) for step in range(40)]
    for kind, index in ((0, 0), (0, 1), (1, 1)):
        assert torch.cat([one[kind][index].flatten() for one in drawn]).bincount(minlength=192).min() > 0


def test_samples_have_places_of_their_own_and_one_number_of_tokens():
    for keep, select in masks(hiding(), 8, Rng(3, 0)):
        assert len({tuple(row) for row in keep.tolist()}) > 1
        assert len({tuple(row) for row in select.tolist()}) > 1


def test_short_range_hides_less_of_the_large_grid_than_long_range():
    """On the paper's grid one clip keeps about 38 % under the short, 19 % under the long tubes."""
    found = hiding((8, 14, 14))
    share = torch.tensor(
        [[keep.shape[1] / 1568 for keep, _ in masks(found, 1, Rng(0, step))] for step in range(200)]
    ).mean(0)
    assert share[0] == pytest.approx(0.38, abs=0.04)
    assert share[1] == pytest.approx(0.19, abs=0.04)


def test_the_official_cut_leaves_contexts_of_early_frames():
    late = {}
    for quirk in ("none", "official"):
        found = hiding((8, 14, 14), quirk=quirk)
        kept = [masks(found, 24, Rng(0, step))[1][0] for step in range(20)]
        late[quirk] = torch.cat([keep.flatten() for keep in kept]).ge(784).float().mean()
    assert late["none"] == pytest.approx(0.5, abs=0.05)
    assert late["official"] < 0.2  # the released code: 8.8 %


def test_contexts_see_no_late_frames_where_none_are_to_be_seen():
    for keep, _ in masks(hiding(seen=0.5), 6, Rng(0, 0)):
        assert keep.max() < 2 * 48


def test_two_processes_hide_what_one_hides():
    found = hiding()
    whole = masks(found, 8, Rng(1, 2))
    for start in (0, 4):
        part = masks(found, 4, Rng(1, 2, start=start, total=8))
        for (keep, select), (all_keep, all_select) in zip(part, whole, strict=True):
            assert torch.equal(keep, all_keep[start : start + 4])
            assert torch.equal(select, all_select[start : start + 4])


def test_a_kind_without_blocks_is_left_out_and_the_other_keeps_its_number():
    (pair,) = hiding(short=Tube(blocks=0))(torch.zeros(2, 4, 1, 6, 8), Rng(0, 0))
    assert pair.kind == 1


def test_crops_of_another_size_have_fewer_tokens():
    signal = VideoSignal(size=(72, 96), frames=4, tubelet=2, patch=8)
    found = Tubes(size=(48, 64)).build(signal)
    pairs = found(torch.zeros(2, 4, 3, 72, 96, dtype=torch.uint8), Rng(0, 0))
    assert pairs[0].context.tokens.layout == (2, 6, 8)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"long": {"scale": 1.0}}, "tubes can never hold on a 4x6x8 grid"),
        ({"size": [7]}, r"hiding.size \[7\] must be"),
        ({"short": {"blocks": 0}, "long": {"blocks": 0}}, "nothing would be hidden"),
        ({"aspect": [2, 1]}, "must rise"),
        ({"augment": {"size": 8}}, "augment.size is for images"),
    ],
)
def test_mistakes_are_one_sentence(options, sentence: str):
    with pytest.raises(UserError, match=sentence):
        Tubes.parse(options).build(VideoSignal(size=(48, 64), frames=8, tubelet=2, patch=8))


def two_crops(frames: int, pixels: torch.Tensor, step: int = 0, **augment):
    signal = VideoSignal(
        size=pixels.shape[3:], frames=pixels.shape[1], tubelet=1, patch=1, channels=3, mean=(0,), std=(1,)
    )
    options = {"augment": augment, "target_augment": augment, "frames": frames}
    found = Tubes.parse(options).build(signal)
    return found(pixels, Rng(0, step))


def test_the_predictor_is_told_where_and_when_another_crop_lies():
    """Of a film whose colours are its own coordinates: a token's place is that of its colours in the context's crop."""
    shape = (8, 6, 16, 24)
    at = torch.stack(torch.meshgrid(*map(torch.arange, shape[1:]), indexing="ij")).float()  # 3, T, H, W
    film = (at.transpose(0, 1) / 32).expand(8, -1, -1, -1, -1)
    for step in range(5):
        for pair in two_crops(4, film, step, scale=(0.4, 1.0), flip=0.5):
            context, target = pair.context.tokens, pair.target[0].tokens
            assert pair.place is not None and context.layout == target.layout == (4, 16, 24)
            for b in range(8):
                seen = torch.cat([context.values[b], torch.ones(4 * 16 * 24, 1)], 1)
                fit = torch.linalg.lstsq(seen, context.positions[0], driver="gelsd").solution
                guess = torch.cat([target.values[b], torch.ones(4 * 16 * 24, 1)], 1) @ fit
                inner = target.positions[0, :, 1:]
                inside = ((inner > 0) & (inner < torch.tensor([15, 23]))).all(1)
                assert (guess - pair.place[b])[inside].abs().max() < 0.75


def test_one_crop_has_no_place_of_its_own_and_fewer_frames_begin_anywhere():
    film = torch.arange(6.0).view(1, 6, 1, 1, 1).expand(64, 6, 3, 6, 8) / 8
    signal = VideoSignal(size=(6, 8), frames=6, tubelet=1, patch=1, channels=3, mean=(0,), std=(1,))
    pairs = Tubes(frames=4).build(signal)(film, Rng(0, 0))
    first = pairs[0].context.tokens.values.view(64, 4, 48, 3)[:, 0, 0, 0] * 8
    assert pairs[0].place is None and set(first.round().tolist()) == {0.0, 1.0, 2.0}


def test_frames_in_training_are_whole_tubelets_of_a_clip():
    signal = VideoSignal(size=(48, 64), frames=8, tubelet=2, patch=8)
    for frames in (3, 10):
        with pytest.raises(UserError, match=f"hiding.frames {frames} must be at most"):
            Tubes(frames=frames).build(signal)
