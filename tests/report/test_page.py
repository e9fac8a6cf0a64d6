"""The whole page, from run directories in every state."""

import json
import re
from html.parser import HTMLParser

import pytest
import torch

from openjepa.errors import UserError
from openjepa.evals.table import ProbeTable, Score
from openjepa.report import write_report
from openjepa.report.sections import chosen
from openjepa.training import load

SECTIONS = [
    "verdict",
    "scores",
    "choices",
    "curves",
    "prediction",
    "patches",
    "neighbours",
    "map",
    "data",
    "reproduce",
]
VOID = {"meta", "link", "img", "br", "path", "use", "rect", "source"}


class Outline(HTMLParser):
    """Ids, links, addresses and alternative texts; checks that tags are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids, self.addresses, self.bare, self.open = [], [], 0, []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.ids += [found["id"]] if "id" in found else []
        self.addresses += [
            found[name] for name in ("src", "href", "action", "srcset", "data") if name in found
        ]
        self.bare += tag == "img" and "alt" not in found
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert tag in VOID or self.open.pop() == tag


def page(run, **options) -> str:
    path = write_report(run, **options)
    assert path == run / "report.html"
    return path.read_text()


def probe_table() -> dict:
    rows = (("model", 0.9), ("random init", 0.8), ("raw pixels", 0.7))
    return ProbeTable(
        [Score(row, "linear", 1.0, (value,), 1000, choices=("mean",)) for row, value in rows]
    ).to_dict()


def test_everything_is_there_in_order_and_nothing_is_fetched(run, images):
    (run / "probe.json").write_text(json.dumps(probe_table()))
    text = page(run, samples=images)
    outline = Outline(text)
    assert [i for i in outline.ids if i in SECTIONS] == SECTIONS
    assert len(outline.ids) == len(set(outline.ids))
    assert {a[1:] for a in outline.addresses if a.startswith("#")} <= set(outline.ids)
    assert all(a.startswith(("data:", "#")) for a in outline.addresses)
    assert not re.search(r"url\((?!#)|@import|<script", text)
    assert "default-src 'none'" in text
    assert outline.bare == 0
    assert "90.0" in text and "the model beats random init and raw pixels" in text
    assert "There are no pictures" not in text
    assert len(text) < 1_500_000


def test_names_from_the_data_are_text_and_not_markup(ijepa_run, images):
    text = page(ijepa_run, samples=images)
    assert "&lt;b&gt;dots&lt;/b&gt;" in text and "ramp &amp; glow" in text
    assert "<b>dots" not in text


def test_the_same_run_gives_the_same_pictures(ijepa_run, images):
    first, second = (re.sub(r"Written .*? from", "", page(ijepa_run, samples=images)) for _ in range(2))
    assert first == second


def test_a_missing_probe_is_said(ijepa_run, images):
    assert "has not been probed yet" in page(ijepa_run, samples=images)


def test_missing_labels_are_said(ijepa_run, images):
    bare = images.subset(range(len(images)))
    bare.labels = None
    text = page(ijepa_run, samples=bare)
    assert (
        "without labels" in text
        and "all have one colour" in text
        and "no neighbour can be called right" in text
    )


def test_images_that_are_gone_are_said(ijepa_run):
    config = json.loads((ijepa_run / "config.json").read_text())
    (ijepa_run / "config.json").write_text(json.dumps(config | {"data": "gone/away"}))
    text = page(ijepa_run)
    assert "There are no pictures: gone/away does not exist" in text
    assert Outline(text).ids


def test_a_run_at_its_very_start_has_a_page(tmp_path, ijepa_run):
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "config.json").write_bytes((ijepa_run / "config.json").read_bytes())
    text = page(bare)
    for said in (
        "No verdict yet",
        "has not been probed yet",
        "Nothing has been logged yet",
        "There are no pictures",
    ):
        assert said.lower() in text.lower()
    assert "openjepa train i-jepa --preset tiny" in text


def test_the_verdict_comes_with_its_advice_and_history(ijepa_run, images):
    lines = [
        {"step": 0, "kind": "verdict", "word": "better", "reason": "early", "advice": ""},
        {
            "step": 2,
            "kind": "verdict",
            "word": "collapsed",
            "reason": "one direction",
            "advice": "add a guard",
        },
        {"step": 2, "kind": "event", "text": "went back <to> step 1"},
    ]
    with (ijepa_run / "metrics.jsonl").open("a") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)
    text = page(ijepa_run, samples=images)
    assert 'class="card verdict bad"' in text and "add a guard" in text
    assert "better from step 0, collapsed from step 2" in text
    assert "went back &lt;to&gt; step 1" in text


def test_a_collapsed_run_has_a_page(run, images):
    model = load(run)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    text = page(run, samples=images, model=model)
    assert "all in one place, since their features are equal" in text
    assert not re.search(r"\bnan\b", text)


def test_skipped_files_are_named(ijepa_run, images):
    about = json.loads((ijepa_run / "run.json").read_text())
    about["data"]["skipped"] = [["cats/broken.jpg", "image file is truncated"]]
    (ijepa_run / "run.json").write_text(json.dumps(about))
    text = page(ijepa_run, samples=images)
    assert "cats/broken.jpg" in text and "image file is truncated" in text and "1 file that" in text


def test_mistakes_are_one_sentence(tmp_path, ijepa_run):
    with pytest.raises(UserError, match="not a run directory"):
        write_report(tmp_path / "nowhere")
    with pytest.raises(UserError, match="does not exist"):
        write_report(ijepa_run, data="nowhere/at/all")


def test_an_unwritable_place_is_named_and_leaves_nothing(ijepa_run, images):
    (ijepa_run / "report.html").mkdir()
    with pytest.raises(UserError, match=r"report\.html cannot be written"):
        write_report(ijepa_run, images)
    assert not list(ijepa_run.glob(".report*"))


def test_range_and_levels_are_named(ijepa_run, images):
    about = json.loads((ijepa_run / "run.json").read_text())
    about["data"]["values"] = {"low": 62, "high": 961, "levels": 900}
    (ijepa_run / "run.json").write_text(json.dumps(about))
    assert "values 62 to 961 in 900 levels" in page(ijepa_run, samples=images)


def test_options_that_are_empty_are_not_shown():
    config = {
        "signal": {"kind": "video", "frames": 8, "group": "", "columns": [], "mean": [0.0], "flip": False}
    }
    assert chosen(config) == [("signal", "video", "frames 8 · mean 0.0 · flip no")]
