"""Signal-JEPA's networks against braindecode's, with weights copied: stem, positions, trunk and predictor."""

import pytest
import torch
from torch import nn

from openjepa.jepa import Pair, View
from openjepa.nets.channels import ChannelPositions, Channels, ChannelStem
from openjepa.nets.cross import CrossPredictor
from openjepa.recipes import configure
from openjepa.recipes.signaljepa import SignalJEPA
from openjepa.signals.electrodes import ElectrodeSignal, place

CHANNELS = ("Fp1", "Fz", "C3", "Cz", "C4", "T7", "Pz", "O1", "O2")
NEAR = 1e-5


@pytest.fixture(scope="module")
def theirs() -> nn.Module:
    models = pytest.importorskip("braindecode.models", reason="braindecode is not installed")
    torch.manual_seed(0)
    info = [{"ch_name": name, "loc": list(place(name) or ())} for name in CHANNELS]
    model = models.SignalJEPA(chs_info=info, n_times=5 * 128 + 24, sfreq=128, n_outputs=2)
    for parameter in model.parameters():  # norms and biases, too, must be told apart
        nn.init.uniform_(parameter, -0.2, 0.2) if parameter.dim() == 1 else None
    return model.eval()


@pytest.fixture(scope="module")
def ours(theirs: nn.Module):
    config = configure("signal-jepa", "lee2019")
    assert isinstance(config, SignalJEPA)
    where = [place(name) for name in CHANNELS]
    signal = config.signal.model_dump() | {"channels": CHANNELS, "places": where, "scale": 1.0, "clip": None}
    model = config.model_copy(update={"signal": ElectrodeSignal.parse(signal)}).build().eval()
    stem, positions = model.encoder.stem, model.encoder.positions
    assert isinstance(stem, ChannelStem) and isinstance(positions, ChannelPositions)
    convolutions = [m for m in theirs.feature_encoder.modules() if isinstance(m, nn.Conv1d | nn.GroupNorm)]
    own = [m for m in stem.modules() if isinstance(m, nn.Conv1d | nn.GroupNorm)]
    for mine, other in zip(own, convolutions, strict=True):
        mine.load_state_dict(other.state_dict())
    positions.table.data.copy_(theirs.pos_encoder.pos_encoder_spat.weight)
    for mine, other in zip(model.encoder.blocks, theirs.transformer.encoder.layers, strict=True):
        _attention(mine.attention, other.self_attn)
        _rest(mine, other, 2)
    model.encoder.norm.load_state_dict(theirs.transformer.encoder.norm.state_dict())
    predictor = model.predictor
    assert isinstance(predictor, CrossPredictor)
    for mine, other in zip(predictor.blocks, theirs.transformer.decoder.layers, strict=True):
        _attention(mine.attention, other.self_attn)
        look, width = other.multihead_attn, predictor.config.width
        mine.look.q.weight.data, mine.look.kv.weight.data = look.in_proj_weight.data.split([width, 2 * width])
        mine.look.q.bias.data, mine.look.kv.bias.data = look.in_proj_bias.data.split([width, 2 * width])
        mine.look.proj.load_state_dict(look.out_proj.state_dict())
        _rest(mine, other, 3)
    predictor.norm.load_state_dict(theirs.transformer.decoder.norm.state_dict())
    return model


def _attention(mine, other):
    mine.qkv.weight.data, mine.qkv.bias.data = other.in_proj_weight.data, other.in_proj_bias.data
    mine.proj.load_state_dict(other.out_proj.state_dict())


def _rest(mine, other, norms: int):
    mine.mlp[0].load_state_dict(other.linear1.state_dict())
    mine.mlp[-1].load_state_dict(other.linear2.state_dict())
    for i in range(1, norms + 1):
        getattr(mine, f"norm{i}").load_state_dict(getattr(other, f"norm{i}").state_dict())


@pytest.fixture(scope="module")
def windows() -> torch.Tensor:
    return 20 * torch.randn(3, len(CHANNELS), 5 * 128 + 24, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_stem_and_positions(theirs, ours, windows):
    view = ours.whole(windows)
    local = theirs.feature_encoder(windows)
    assert view.tokens.layout == (len(CHANNELS), 5) and local.std() > 0.01
    assert (ours.encoder.stem(view) - local).abs().max() < NEAR
    expected = theirs.pos_encoder(local)
    assert (ours.encoder.positions(view.tokens) - expected).abs().max() < NEAR


def test_the_table_begins_alike(theirs):
    where = [place(name) for name in CHANNELS]
    fresh = theirs.pos_encoder.pos_encoder_spat
    fresh.reset_parameters()
    signal = ElectrodeSignal(channels=CHANNELS, places=where)
    assert (Channels().build(signal, 64).table - fresh.weight).abs().max() < NEAR


@torch.no_grad()
def test_trunk(theirs, ours, windows):
    expected = theirs(windows)
    assert expected.std() > 0.01
    (found,) = ours.represent([ours.whole(windows)])
    assert (found - expected).abs().max() < NEAR


@torch.no_grad()
def test_predictor(theirs, ours, windows):
    tokens = ours.whole(windows).tokens
    keep, hidden = torch.arange(0, 30).expand(3, -1), torch.arange(30, 45).expand(3, -1)
    pair = Pair(View(tokens, keep), (View(tokens),), hidden.unsqueeze(1))
    local = theirs.feature_encoder(windows)
    local = local + theirs.pos_encoder(local)
    memory = theirs.transformer.encoder(local[:, :30])
    queries = ours.predictor.mask_token + theirs.pos_encoder(local)[:, 30:].expand(3, -1, -1)
    expected = theirs.transformer.decoder(queries, memory)
    (s_x,) = ours.represent([pair.context])
    assert (s_x - memory).abs().max() < NEAR
    assert (ours.predictor(s_x, pair)[:, 0] - expected).abs().max() < NEAR
