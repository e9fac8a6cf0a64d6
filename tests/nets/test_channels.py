"""Nets of recordings: the convolution of each channel, the table of electrodes, the predictor that asks the context."""

from dataclasses import replace

import pytest
import torch

from openjepa.check import check_jepa
from openjepa.common.rng import Rng
from openjepa.errors import UserError
from openjepa.jepa import Tokens, View
from openjepa.nets.channels import ChannelConv, ChannelPower, Channels, field_of, stride
from openjepa.recipes import build, configure
from openjepa.signals.electrodes import ElectrodeSignal, Recordings, place

NAMES = ("Fp1", "F4", "C3", "Cz", "T8", "Pz", "O2")
PLACES = tuple(place(name) or (0.0, 0.0, 1.0) for name in NAMES)
SIGNAL = ElectrodeSignal(seconds=4, channels=NAMES, places=PLACES, scale=10)


def recordings(count: int = 6, seed: int = 0, ragged: bool = False) -> Recordings:
    generator = torch.Generator().manual_seed(seed)
    values = 20 * torch.randn(count, len(NAMES), SIGNAL.samples, generator=generator).cumsum(-1) / 8
    valid = torch.ones(count, len(NAMES), dtype=torch.bool)
    if ragged:
        valid[1, 2:], valid[3, :2] = False, False
    return Recordings(values * valid[..., None], torch.tensor(PLACES).expand(count, -1, -1), valid)


@pytest.fixture(scope="module")
def model():
    config = configure("signal-jepa", "tiny", {"train.steps": "10"})
    config = config.model_copy(update={"signal": SIGNAL.model_copy(update={"clip": 10.0})})
    return build(config, seed=0)


def test_the_papers_field_and_stride():
    layers = ChannelConv().layers
    assert (field_of(layers), stride(layers)) == (152, 128)


@pytest.mark.parametrize("norm", ["group", "layer", "none"])
def test_a_token_depends_on_its_channel_alone(norm):
    stem = ChannelConv(norm=norm).build(SIGNAL)
    batch = recordings(2)
    tokens = SIGNAL.tokenise(batch)
    before = stem(View(tokens)).unflatten(1, tokens.layout)
    values = batch.values.clone()
    values[:, 3] += 50
    after = stem(View(SIGNAL.tokenise(replace(batch, values=values)))).unflatten(1, tokens.layout)
    changed = (before - after).abs().amax((0, 2, 3)) > 0
    assert changed.tolist() == [name == "Cz" for name in NAMES]


def test_without_a_norm_over_time_a_token_sees_its_second_and_the_overlap():
    stem = ChannelConv(norm="layer").build(SIGNAL)
    batch = recordings(1)
    before = stem(View(SIGNAL.tokenise(batch))).view(len(NAMES), 4, -1)
    for sample, seen in ((127, [0]), (140, [0, 1]), (511, [3]), (535, [3])):
        values = batch.values.clone()
        values[:, :, sample] += 500
        after = stem(View(SIGNAL.tokenise(replace(batch, values=values)))).view(len(NAMES), 4, -1)
        assert set(((before - after).abs().amax((0, 2)) > 0).nonzero()[:, 0].tolist()) <= set(seen)


def test_kept_tokens_are_those_of_the_whole_window():
    stem, tokens = ChannelConv().build(SIGNAL), SIGNAL.tokenise(recordings(2))
    keep = torch.tensor([[0, 5, 9], [27, 3, 1]])
    whole = stem(View(tokens))
    assert torch.equal(stem(View(tokens, keep)), whole[torch.arange(2)[:, None], keep])


def test_layers_that_do_not_fit_the_tokens_are_one_sentence():
    with pytest.raises(UserError, match=r"--signal\.patch 32 --signal\.overlap 0"):
        ChannelConv(layers=((8, 8, 8), (8, 2, 2), (16, 2, 2)), norm="none").build(
            SIGNAL.model_copy(update={"patch": 30})
        )


def test_trained_electrodes_have_their_row_and_others_what_is_learned_nearby():
    positions = Channels().build(SIGNAL, 64)
    start = positions.table.detach().clone()
    positions.table.data[3] += 1.0  # Cz has learned something
    where = torch.tensor([PLACES[3], PLACES[6], place("C1"), place("Iz")])
    found = positions.at(where)
    assert torch.equal(found[:2], positions.table[[3, 6]])
    learned = (found - positions.start(where))[2:].mean(1)
    assert learned[0] > 0.2 and learned[1].abs() < 1e-3
    assert torch.allclose(positions.start(torch.tensor(PLACES)), start)


def test_times_go_on_beyond_those_that_were_trained():
    positions = Channels().build(SIGNAL, 64)
    tokens = Tokens(torch.zeros(1, 2, 1), torch.tensor([[[*PLACES[0], 0.0], [*PLACES[0], 100.0]]]))
    first, late = positions(tokens)[0]
    assert torch.equal(first[:30], late[:30]) and not torch.allclose(first[30:], late[30:])


@pytest.mark.parametrize(("width", "said"), [(30, "no room"), (33, "even")])
def test_positions_need_room(width: int, said: str):
    with pytest.raises(UserError, match=said):
        Channels().build(SIGNAL, width)


def test_positions_need_electrodes():
    with pytest.raises(UserError, match="names no channels"):
        Channels().build(ElectrodeSignal(), 64)


@pytest.mark.parametrize("ragged", [False, True])
def test_the_contract(model, ragged: bool):
    check_jepa(model, recordings(8, ragged=ragged))


def test_padding_changes_nothing_of_what_is_there(model):
    """A sample among others with more electrodes gives what it gives alone, without its padding."""
    batch = recordings(6, ragged=True)
    alone = Recordings(batch.values[1:2, :2], batch.places[1:2, :2], batch.valid[1:2, :2])
    assert (model.embed(batch)[1] - model.embed(alone)[0]).abs().max() < 1e-5
    filled = Recordings(torch.where(batch.valid[..., None], batch.values, 999.0), batch.places, batch.valid)
    assert (model.embed(batch) - model.embed(filled)).abs().max() < 1e-5
    model.eval()
    losses = [model(one, Rng(0, 0)).loss for one in (batch, filled)]
    assert (losses[0] - losses[1]).abs() < 1e-5


def test_another_montage_at_test_time(model):
    names = ["AF3", "C1", "POz"]
    found = model.embed(model.signal.batch(torch.randn(2, 3, SIGNAL.samples) * 20, names))
    assert found.shape == (2, 64) and found.isfinite().all()


def test_the_predictor_shares_the_encoders_table(model):
    names = {name for name, _ in model.named_parameters()}
    assert "encoder.positions.table" in names and not any(
        name.startswith("predictor.positions") for name in names
    )
    model.train()
    model.zero_grad()
    model(recordings(), Rng(0, 0)).loss.backward()
    assert model.encoder.positions.table.grad.abs().sum() > 0
    with pytest.raises(UserError, match="shares the positions"):
        build(
            configure("signal-jepa", "tiny", {"predictor.width": "32"}).model_copy(update={"signal": SIGNAL}),
            seed=0,
        )


def test_a_power_stem_tells_how_strong_each_frequency_is_and_sees_one_token_alone():
    stem = ChannelPower(highest=45.0).build(SIGNAL).eval()
    time = torch.arange(SIGNAL.samples) / SIGNAL.rate
    waves = torch.sin(2 * torch.pi * 10 * time).expand(2, len(NAMES), -1).clone()
    waves[1] *= 10
    batch = replace(recordings(2), values=10 * waves)
    found = stem(View(SIGNAL.tokenise(batch)))
    step = SIGNAL.rate / SIGNAL.features  # Hz from one frequency to the next
    assert found.shape == (2, len(NAMES) * 4, stem.width) and stem.width == int(45 / step)
    assert abs((int(found[0, 5].argmax()) + 1) * step - 10) < step
    peak = int(found[0, 5].argmax())
    assert torch.allclose((found[1] - found[0])[:, peak], torch.tensor(100.0).log(), atol=1e-2)


def test_what_is_not_there_does_not_move_a_power_stems_norm():
    stem = ChannelPower().build(SIGNAL).train()
    batch = recordings(6, ragged=True)
    tokens = SIGNAL.tokenise(batch)
    before = stem(View(tokens))
    noisy = replace(tokens, values=torch.where(tokens.valid[..., None], tokens.values, 1e3))
    assert torch.equal(before, stem(View(noisy)))
