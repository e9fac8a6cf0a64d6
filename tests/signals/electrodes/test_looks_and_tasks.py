"""What electrodes show and are asked: classical features, tasks without labels, pictures."""

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
import torch

from openjepa.common.rng import Rng
from openjepa.errors import UserError
from openjepa.signals.electrodes import ElectrodeSignal, Recordings, electrodes, open_recordings, place
from openjepa.signals.electrodes.classical import (
    Voltages,
    classical,
    covariances,
    geometric_mean,
    log_power,
    tangent,
)
from openjepa.signals.pictures import Marks

NAMES = ("Fz", "C3", "C4", "Oz")
SIGNAL = ElectrodeSignal(
    seconds=2, channels=NAMES, places=tuple(place(n) or (0, 0, 1) for n in NAMES), scale=10
)

SHORT = ElectrodeSignal(seconds=1, overlap=0, band=None)


def tones(rates: list[float], seconds: float = 2.1875) -> torch.Tensor:
    """`[1, C, S]`, a tone of 10 µV for each electrode."""
    time = torch.arange(int(seconds * 128)) / 128
    return torch.stack([10 * torch.sin(2 * torch.pi * rate * time + i) for i, rate in enumerate(rates)])[None]


def test_power_lies_in_the_bin_of_its_frequency():
    power = log_power(tones([4, 10, 20, 40]))
    assert power.shape == (1, 4, 33) and power.argmax(-1).tolist() == [[2, 5, 10, 20]]
    louder = (log_power(2 * tones([10])) - log_power(tones([10])))[0, 0, 5]
    assert float(louder) == pytest.approx(np.log(4), abs=1e-4)


def test_mean_voltages_keep_slow_shifts_and_their_sign():
    x = np.repeat(np.array([[-10.0, 10.0], [20.0, 0.0]], np.float32), 64, 1)[
        None
    ]  # [1, 2, 128], a step in each
    found = open_recordings(np.tile(x, (2, 1, 1)), SHORT, channels=NAMES[:2])
    source = Voltages(128).fit(found)
    ((_, features),) = source.stream(found, np.arange(2), [source.default])
    means = features[source.default][0].unflatten(0, (2, -1))
    assert means.shape == (2, 21) and means[:, 0].tolist() == [-10, 20] and means[:, -1].tolist() == [10, 0]


def test_covariances_are_of_their_bands():
    found = covariances(tones([5, 5, 11, 35]), 128).diagonal(dim1=-2, dim2=-1)[0]
    assert found.argmax(0).tolist() == [1, 1, 3, 6]


def test_the_geometric_mean_of_equal_and_of_commuting_matrices():
    a = torch.diag(torch.tensor([1.0, 4.0, 9.0])).double()
    b = torch.diag(torch.tensor([4.0, 4.0, 1.0])).double()
    assert torch.allclose(geometric_mean(torch.stack([a, a])), a)
    assert torch.allclose(
        geometric_mean(torch.stack([a, b])), torch.diag(torch.tensor([2.0, 4.0, 3.0])).double()
    )


def test_the_mean_is_the_origin_of_its_tangent_space():
    random = torch.randn(1, 2, 5, 5, generator=torch.Generator().manual_seed(0)).double()
    matrix = random @ random.mT + torch.eye(5)
    values, vectors = torch.linalg.eigh(matrix[0])
    roots = (vectors / values.sqrt()[:, None]) @ vectors.mT
    assert tangent(matrix, roots).abs().max() < 1e-6
    assert tangent(matrix * torch.e, roots).square().sum() == pytest.approx(2 * 5, rel=1e-5)


def test_classical_sources_stream_what_they_promise():
    x = np.random.default_rng(0).normal(0, 10, (40, 4, SIGNAL.samples))
    found = open_recordings((x, [0, 1] * 20), SIGNAL, channels=NAMES)
    kinds = SIGNAL.classical()
    assert [len(SIGNAL.classical(level)) for level in ("none", "quick", "all")] == [0, 3, 4]
    for kind in kinds:
        source = kind.fit(found, total=40, seed=0, progress=None)
        ((rows, features),) = source.stream(found, np.arange(40), [source.default])
        values = features[source.default]
        assert values.shape == (len(rows), source.poolings[source.default]) and values.isfinite().all()
    with pytest.raises(UserError, match="unknown classical features"):
        classical(128, "most")


def batch(count: int = 12, seed: int = 0) -> Recordings:
    values = 10 * torch.randn(count, 4, SIGNAL.samples, generator=torch.Generator().manual_seed(seed))
    valid = torch.ones(count, 4, dtype=torch.bool)
    valid[3, 2] = False
    return Recordings(values * valid[..., None], torch.tensor(SIGNAL.places).expand(count, -1, -1), valid)


def test_tasks_show_half_of_the_electrodes_and_where_power_lies():
    tasks = SIGNAL.tasks(batch())
    assert tasks.view is not None and tasks.look is not None and tasks.coarse is not None
    seen = tasks.view(batch(), Rng(0, 0))
    assert seen.valid.sum(1).tolist() == [2] * 12 and not (seen.valid & ~batch().valid).any()
    assert (
        torch.equal(seen.values[seen.valid], batch().values[seen.valid])
        and not seen.values[~seen.valid].any()
    )
    assert len({tuple(row) for row in seen.valid.tolist()}) > 3
    strong = batch()
    louder = Recordings(
        strong.values * torch.tensor([1.0, 1.0, 5.0, 1.0])[:, None], strong.places, strong.valid
    )
    coarse, plain = (SIGNAL.tasks(b).coarse.unflatten(1, (7, 4)) for b in (louder, strong))
    moved = (coarse - plain)[[0, 1, 2]].mean((0, 1))
    assert moved[0] > 0.5 and moved[1] > 0.2 and moved[1] > 3 * moved[2].abs()  # C4 is on the right


def test_a_picture_shows_traces_and_the_head():
    picture = SIGNAL.picture(batch(), 3)
    drawing = ET.fromstring(picture.drawing)
    assert picture.wide and picture.pixels is None
    assert [t.text for t in drawing.iter("text")] == ["Fz", "C3", "Oz"]  # C4 was not recorded
    assert len([c for c in drawing.iter("circle") if c.get("r") == "4"]) == 3


def test_what_is_hidden_is_not_drawn():
    hidden = np.zeros((4, 2), bool)
    hidden[1] = hidden[0, 1] = True
    full, some = (SIGNAL.picture(batch(), 0, m).drawing for m in (None, Marks(hidden=hidden.ravel())))
    count = [len(re.findall(r"-?\d+ -?\d+ ", text)) for text in (full, some)]
    assert count[1] == pytest.approx(count[0] * 5 / 8, rel=0.03)
    faint = SIGNAL.picture(batch(), 0, Marks(hidden=hidden.ravel(), faint=True)).drawing
    assert len(re.findall(r"-?\d+ -?\d+ ", faint)) > 0.97 * count[0]
    head = [c for c in ET.fromstring(some).iter("circle") if c.get("r") == "4"]
    assert [c.get("fill") for c in head] == ["currentColor", "none", "currentColor", "currentColor"]


def test_errors_are_colours_of_cells_and_of_the_map():
    error = np.full((4, 2), np.nan)
    error[3] = 0.0, 2.0
    drawing = ET.fromstring(SIGNAL.picture(batch(), 0, Marks(error=error.ravel())).drawing)
    assert [r.get("fill") for r in drawing.iter("rect")] == ["rgb(11 122 117)", "rgb(200 80 30)"]
    head = [c.get("fill") for c in drawing.iter("circle") if c.get("r") == "4"]
    assert head[:3] == ["none"] * 3 and head[3].startswith("rgb(10")


def test_names_are_escaped():
    signal = SIGNAL.model_copy(update={"channels": ("<script>", "C3", "C4", "Oz")})
    assert "<script>" not in signal.picture(batch(), 0).drawing


def test_windows_come_back_from_their_tokens():
    tokens = SIGNAL.model_copy(update={"clip": None}).tokenise(batch())
    found = SIGNAL.restored(tokens)
    assert found is not None and torch.allclose(found.values, batch().values, atol=1e-4)
    assert torch.equal(found.valid, batch().valid) and torch.equal(found.places, batch().places)


def test_the_signal_is_fitted_to_recordings():
    x = np.random.default_rng(0).normal(0, 7, (20, 3, SIGNAL.samples))
    plain = ElectrodeSignal(seconds=2, band=None)
    found = open_recordings(x, plain, channels=["C3", "Pz", "Oz"])
    fitted = plain.fitted(found)
    assert fitted.channels == ("C3", "Pz", "Oz") and fitted.scale == pytest.approx(7, rel=0.05)
    assert fitted.layout == (3, 2) and "3 electrodes" in fitted.changed(plain)
    again = SIGNAL.fitted(found)
    assert again.channels == (*NAMES, "Pz") and again.scale == 10
    assert set(fitted.channels) <= set(electrodes())


def test_other_units_and_other_electrodes_are_said():
    x = np.random.default_rng(0).normal(0, 0.01, (20, 2, SIGNAL.samples))
    found = open_recordings(x, SIGNAL.model_copy(update={"band": None}), channels=["Fz", "Pz"])
    with pytest.warns(UserWarning) as caught:
        SIGNAL.check(found)
    said = " ".join(str(w.message) for w in caught)
    assert "other units" in said and "1 of 2 electrodes were not trained on (Pz)" in said
