import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from openjepa.errors import UserError
from openjepa.worlds.actions import Box
from openjepa.worlds.episodes import Episodes
from openjepa.worlds.records import Raw, settle

from .sets import Memory, episode, episodes, frames_of, recording


@given(data=st.data(), held=st.booleans())
def test_windows_are_those_that_a_loop_over_episodes_would_cut(data: st.DataObject, held: bool):
    lengths = data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=5))
    steps, block, stride = (
        data.draw(st.integers(1, 4)),
        data.draw(st.integers(1, 3)),
        data.draw(st.integers(1, 3)),
    )
    missing = {i: data.draw(st.lists(st.integers(0, n - 1), max_size=2)) for i, n in enumerate(lengths)}
    span = (steps - 1) * block
    found = [
        (i, start)
        for i, length in enumerate(lengths)
        for start in range(0, length - span + 1, stride)
        if not any(start <= step < start + span for step in missing[i])
    ]
    cut = sum(len(range(0, length - span + 1, stride)) for length in lengths)
    opened = episodes(lengths, missing, in_memory=held)
    all_missing = all(set(missing[i]) >= set(range(n)) for i, n in enumerate(lengths))
    if all_missing or not found:
        with pytest.raises(UserError, match="all are missing" if all_missing else "no window of"):
            opened.windows(steps, block, stride)
        return
    windows = opened.windows(steps, block, stride)
    assert list(zip(windows.episode.tolist(), windows.start.tolist(), strict=True)) == found
    assert windows.gaps == cut - len(found) and windows.in_memory == held
    order = data.draw(st.permutations(range(len(found))))
    batch = windows.read(order)
    assert batch.actions.shape == (len(found), steps - 1, 2 * block)
    for row, index in enumerate(order):
        i, start = found[index]
        whole = episode(i, lengths[i])
        assert np.array_equal(batch.frames[row], whole.frames[start : start + span + 1 : block])
        assert np.array_equal(batch.state[row], whole.state[start : start + span + 1 : block])
        actions = whole.actions[start : start + span].reshape(steps - 1, 2 * block)
        assert np.array_equal(batch.actions[row], actions)


def test_short_episodes_are_skipped_by_name():
    windows = episodes([3, 8, 5]).windows(3, 2)
    assert [(one.name, one.reason) for one in windows.skipped] == [
        ("episode 0", "3 steps long, a window needs 4")
    ]
    assert set(windows.episode.tolist()) == {1, 2}
    with pytest.raises(
        UserError, match=r"9 frames, 1 steps apart, fits \(8 steps; the longest episode has 5"
    ):
        episodes([3, 5]).windows(9)
    with pytest.raises(UserError, match="block=0"):
        episodes([3, 5]).windows(2, block=0)


def test_indices_may_be_lists_arrays_or_tensors():
    windows = episodes([5]).windows(2)
    first = windows.read([1, 3]).frames
    assert torch.equal(first, windows.read(np.array([1, 3])).frames)
    assert torch.equal(first, windows.read(torch.tensor([1, 3])).frames)


def test_a_split_shares_no_episode_and_loses_none():
    opened = episodes([4] * 10)
    train, rest = opened.split(0.7, seed=3)
    numbers = [{int(e.actions[0, 0]) for e in part} for part in (train, rest)]
    assert [len(train), len(rest)] == [7, 3]
    assert numbers[0] | numbers[1] == set(range(10)) and not numbers[0] & numbers[1]
    again, _ = opened.split(0.7, seed=3)
    other, _ = opened.split(0.7, seed=4)
    assert again.fingerprint == train.fingerprint != other.fingerprint
    assert set(train.windows(2).read(range(len(train.windows(2)))).actions[:, 0, 0].tolist()) == numbers[0]
    assert [len(part) for part in opened.split(0.999, 0)] == [9, 1]
    for share, count, said in ((0, 10, "share=0"), (1.0, 10, "share=1"), (0.5, 1, "at least two")):
        with pytest.raises(UserError, match=said):
            opened.subset(range(count)).split(share, 0)


def test_an_episode_comes_back_whole():
    opened = episodes([4, 6]).subset([1])
    one, made = opened[0], episode(1, 6)
    assert len(one) == 6 and np.array_equal(one.frames, made.frames) and np.array_equal(one.state, made.state)
    assert one.info == {"number": 1}
    assert len(list(opened)) == 1 and opened.lengths.tolist() == [6] and opened.variables == ("place",)


def test_the_fingerprint_is_of_the_contents_and_not_of_where_they_are_held():
    first = episodes([4, 6]).fingerprint
    assert first == episodes([4, 6], in_memory=False).fingerprint
    other = recording([4, 6])
    other.source.kept[1][3] += 1
    assert Episodes(other).fingerprint != first
    changed = recording([4, 6])
    changed.records[0].actions[2] += 1
    assert Episodes(changed).fingerprint != first
    assert len({first, episodes([6, 4]).fingerprint, episodes([4, 6]).subset([0]).fingerprint}) == 3


def test_bounds_of_actions_are_the_recorded_range_where_the_data_does_not_say():
    opened = episodes([4, 6], {1: [5]})
    assert opened.actions.low.tolist() == [0, 0] and opened.actions.high.tolist() == [1, 4]
    raws = [Raw("one", 3, np.zeros((2, 1)))]
    infinite = Box(np.array([-np.inf], np.float32), np.array([np.inf], np.float32))
    known = Box.symmetric(2.0, 1)
    for given_bounds, high in ((infinite, 0), (known, 2)):
        settled = settle("a set", raws, Memory([frames_of(0, 3)]), [], given_bounds)
        assert Episodes(settled).actions.high.tolist() == [high]


def test_the_signal_of_windows_has_their_shape_and_statistics():
    windows = episodes([4, 6], {0: [1]}).windows(2, block=2)
    signal = windows.signal(mean=(0.5,), std=(0.5,))
    rows = np.concatenate([episode(0, 4).actions[[0, 2, 3]], episode(1, 6).actions])
    assert (signal.size, signal.channels, signal.action_dim, signal.block, signal.state_dim) == (
        16,
        3,
        2,
        2,
        1,
    )
    assert np.allclose(signal.action_mean, rows.mean(0)) and np.allclose(signal.action_std, rows.std(0))
    batch = windows.read(range(len(windows)))
    assert signal.normalise(batch.frames).shape == batch.frames.shape
    assert signal.normalise_actions(batch.actions).shape == batch.actions.shape
    wide = settle(
        "a set", [Raw("one", 3, np.zeros((2, 1)))], Memory([np.zeros((3, 3, 16, 20), np.uint8)]), []
    )
    with pytest.raises(UserError, match="16x20 px are not square"):
        Episodes(wide).windows(2).signal()
    assert Episodes(wide, size=8).windows(2).signal().frame == (3, 8, 8)


def test_discrete_actions_become_one_hot():
    raws = [Raw("one", 4, np.array([1, 3, 2])), Raw("two", 3, np.array([[2], [1]]))]
    opened = Episodes(settle("a set", raws, Memory([frames_of(0, 4), frames_of(1, 3)]), [], None, first=1))
    assert opened.actions == opened.action_dim == 3
    assert opened[0].actions.tolist() == [[1, 0, 0], [0, 0, 1], [0, 1, 0]]
    assert opened.windows(2).signal().action_mean == (0.0,)
    found = settle("a set", raws, Memory([frames_of(0, 4), frames_of(1, 3)]), [], 3)
    assert [(s.name, s.reason) for s in found.skipped] == [("one", "it has actions 1 to 3 where there are 3")]


def test_as_many_actions_as_frames_are_shifted_by_what_their_ends_say():
    ends = np.array([[1.0], [2.0], [np.nan]])
    begins = np.array([[np.nan], [1.0], [2.0]])
    plain = np.array([[1.0], [2.0], [3.0]])
    raws = [Raw(name, 3, values) for name, values in (("ends", ends), ("begins", begins), ("plain", plain))]
    settled = settle("a set", [*raws, Raw("odd", 3, plain[:1])], Memory([]), [])
    assert [record.actions.ravel().tolist() for record in settled.records] == [[1, 2]] * 3
    assert [(one.name, one.reason) for one in settled.skipped] == [("odd", "it has 1 actions for 3 frames")]


def test_episodes_that_do_not_fit_the_others_are_skipped_and_named():
    raws = [
        Raw("one", 3, np.zeros((2, 1))),
        Raw("wide", 3, np.zeros((2, 4))),
        Raw("two", 3, np.zeros((2, 1))),
    ]
    raws += [Raw("sized", 3, np.zeros((2, 1))), Raw("torn", 3, np.zeros((2, 1)))]
    frames = [frames_of(0, 3), frames_of(1, 3), frames_of(2, 3), frames_of(3, 3, side=20), frames_of(4, 0)]
    opened = Episodes(settle("a set", raws, Memory(frames), []))
    assert {one.name: one.reason for one in opened.skipped} == {
        "wide": "its action has 4 numbers, others' 1",
        "sized": "its frames are [3, 20, 20], others' [3, 16, 16]",
        "torn": "bad sector",
    }
    assert [int(e.frames[0, 1, 0, 0]) for e in opened] == [0, 2]
    lazy = Episodes(settle("a set", raws, Memory(frames), []), in_memory=False)
    with pytest.raises(UserError, match=r"a set: torn cannot be read \(bad sector\)"):
        _ = lazy[len(lazy) - 1]
    with pytest.raises(UserError, match=r"none of its 1 episodes can be read \(torn: bad sector\)"):
        Episodes(settle("a set", raws[4:], Memory([frames[4]]), []))


def test_windows_travel_to_other_processes():
    windows = episodes([5, 6], in_memory=False).windows(3)
    sent = pickle.loads(pickle.dumps(windows))
    assert torch.equal(sent.read([0, 4]).frames, windows.read([0, 4]).frames)


def test_loading_tells_its_progress():
    said: list[tuple[str, int, int]] = []
    episodes([3, 4], progress=lambda *what: said.append(what), in_memory=True)
    assert said == [("reading episodes", 1, 2), ("reading episodes", 2, 2)]
