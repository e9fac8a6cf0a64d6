"""The page of a model of films: strips, and a film that plays, with what is hidden and where the prediction errs."""

import base64
import io
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import openjepa
from openjepa.report import write_report
from openjepa.report.predictions import masked
from openjepa.signals.pictures import Marks

pytestmark = pytest.mark.filterwarnings("ignore::openjepa.OpenJEPAWarning")

SMALL = {
    "signal.size": "[16, 24]",
    "signal.frames": "4",
    "signal.stride": "1",
    "signal.patch": "4",
    "hiding.size": "null",
    "encoder.width": "24",
    "encoder.depth": "2",
    "encoder.heads": "2",
    "predictor.width": "24",
    "train.steps": "2",
    "train.batch_size": "8",
}
PRESET = {"v-jepa-2": "tiny-vit", "v-jepa-2-1": "tiny"}
OF = {
    "v-jepa-2": {"target.layers": "1"},
    "v-jepa-2-1": {"hiding.image_size": "null", "encoder.levels": "[0, 1]", "target.levels": "2"},
}


def clips(count: int = 40) -> np.ndarray:
    """A bright bar that wanders over noise."""
    random = np.random.default_rng(0)
    found = random.integers(0, 80, (count, 4, 16, 24, 3), dtype=np.uint8)
    for i in range(count):
        for t in range(4):
            found[i, t, :, (i + 2 * t) % 20 : (i + 2 * t) % 20 + 4] += 150
    return found


@pytest.fixture(scope="module", params=list(OF))
def page(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("films") / "run"
    model = openjepa.train(
        request.param,
        preset=PRESET[request.param],
        data=clips(),
        options=SMALL | OF[request.param],
        out=folder,
    )
    return folder, write_report(folder, model.signal.open(clips()), model).read_text()


def test_the_page_plays_a_film_of_input_context_and_error(page: tuple[Path, str]) -> None:
    films = re.findall(r'src="data:image/gif;base64,([^"]+)"', page[1])
    assert len(films) == 4  # as many as samples of wide pictures are shown
    with Image.open(io.BytesIO(base64.b64decode(films[0]))) as film:
        assert film.n_frames == 4 and film.info["loop"] == 0
        assert film.width > 3 * 24 and film.height % 16 == 0
        frames = []
        for number in range(4):
            film.seek(number)
            frames.append(np.asarray(film.convert("RGB")).astype(int))
    assert all((a != b).any() for a, b in pairwise(frames)), "the film stands still"
    third = frames[0].shape[1] // 3
    assert frames[0][:, third : 2 * third].mean() < frames[0][:, :third].mean(), "the context hides nothing"
    assert "prefers-reduced-motion" in page[1]


def test_what_is_hidden_stays_dark_through_the_film_and_errors_are_coloured() -> None:
    from openjepa.recipes import build, configure

    model = build(configure("v-jepa-2", "tiny-vit", SMALL | OF["v-jepa-2"])).eval()
    batch = torch.from_numpy(clips(8)).permute(0, 1, 4, 2, 3)
    hidden = np.zeros((2, 4, 6), bool)
    hidden[:, 1, 2] = True
    error = np.where(hidden, 0.0, np.nan)
    plain = model.signal.film(batch, 0)
    dark = model.signal.film(batch, 0, Marks(hidden=hidden.ravel()))
    wrong = model.signal.film(batch, 0, Marks(error=error.ravel()))
    assert len(plain) == len(dark) == len(wrong) == 4
    for a, b, c in zip(plain, dark, wrong, strict=True):
        assert (b[4:8, 8:12] < 0.3 * a[4:8, 8:12] + 1).all() and (b[:4] == a[:4]).all()
        assert len(np.unique(c[4:8, 8:12].reshape(-1, 3), axis=0)) == 1
    (sample,) = masked(model, batch, [0])
    assert sample.film.startswith("data:image/gif") and sample.still.startswith("data:image/")


def test_a_picture_that_does_not_move_has_no_film() -> None:
    from openjepa.recipes import build, configure

    model = build(configure("i-jepa", "tiny-vit", {"encoder.depth": "1"})).eval()
    (sample,) = masked(model, torch.zeros(2, 1, 28, 28), [0])
    assert sample.film == sample.still == ""
