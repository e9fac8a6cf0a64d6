"""Charts as inline SVG."""

import io
import math
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from openjepa.report.charts import SERIES, Chart, CurveLine, draw, scatter, short
from openjepa.report.curves import figures
from openjepa.report.record import Record


def chart(values, **options):
    return Chart("A & B", "how to read it", [CurveLine("<one>", range(len(values)), values)], **options)


def test_a_chart_is_well_formed_and_takes_its_colours_from_the_page():
    svg = draw(chart([3.0, 2.0, 1.0]), "a")
    root = ET.fromstring(svg)
    assert root.attrib["aria-label"] == "A & B: <one> 1"
    assert "var(--s1)" in svg and "var(--muted)" in svg
    assert not any(colour in svg for colour in SERIES)
    assert "http" not in svg.replace("http://www.w3.org", "")


def test_ids_of_two_charts_differ():
    ids = [set(re.findall(r'id="([^"]+)"', draw(chart([1.0, 2.0, 3.0]), name))) for name in ("a", "b")]
    clips = [{i for i in found if re.fullmatch(r"[pm][0-9a-f]{10}", i)} for found in ids]
    assert clips[0] and not clips[0] & clips[1]


@pytest.mark.parametrize("values", [[5.0], [math.nan, 1.0, math.inf], [0.0, 0.0], [1e-9, 1e9], [-1.0, 1.0]])
def test_odd_values_are_drawn(values):
    ET.fromstring(draw(chart(values, level=(1.0, "level")), "a"))


def test_long_curves_stay_small():
    noise = np.random.default_rng(0).normal(size=100_000).tolist()
    assert len(draw(chart(noise), "a")) < 60_000


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.12345, "0.123"), (123456.0, "1.2e5"), (12345.0, "12,300"), (1e-4, "1e-4"), (88.0, "88"),
     (2.5e-7, "2.5e-7"), (math.nan, "not finite")],
)  # fmt: skip
def test_three_digits(value, text):
    assert short(value) == text


def test_a_scatter_is_points_on_nothing():
    picture = np.asarray(
        Image.open(io.BytesIO(scatter(np.array([[0.25, 0.75]]), ["#ff0000"]))).convert("RGBA")
    )
    height, width = picture.shape[:2]
    assert (picture[height // 4, width // 4, :3] == [255, 0, 0]).all() and picture[
        height // 4, width // 4, 3
    ] > 150
    assert picture[0, 0, 3] == 0 and (picture[..., 3] > 0).mean() < 0.001


def test_only_what_was_logged_is_drawn():
    train = [
        {"step": i, "loss": 1.0, "energy": 0.9, "sigreg": 2.1, "sigreg/null": 2.0, "seconds": 0.1}
        for i in range(3)
    ]
    titles = {f.title: f for f in figures(Record(path=None, config={}, lines={"train": train}))}
    assert list(titles) == ["Loss", "Guard: sigreg"]
    assert [name for _, name, _ in titles["Loss"].legend] == ["loss", "energy"]
    assert [name for _, name, _ in titles["Guard: sigreg"].legend] == ["over its null"]
    assert figures(Record(path=None, config={})) == []


def test_a_loss_that_is_its_energy_is_one_curve():
    train = [{"step": i, "loss": 1.0, "energy": 1.0} for i in range(3)]
    (figure,) = figures(Record(path=None, config={}, lines={"train": train}))
    assert [name for _, name, _ in figure.legend] == ["loss"]
