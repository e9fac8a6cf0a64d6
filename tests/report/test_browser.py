"""The report in headless Chromium: it opens, at desktop and phone width, whole and offline."""

import html
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from openjepa.report import write_comparison, write_report

pytestmark = pytest.mark.browser

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    "--proxy-server=127.0.0.1:9",  # nobody listens there: what the browser asks of its maker goes nowhere
]
MEASURE = """
const frame = document.querySelector("iframe");
frame.onload = () => {
  const page = frame.contentDocument, images = [...page.images], root = page.documentElement;
  page.querySelectorAll("details").forEach(d => d.open = true);
  const visible = e => e.getBoundingClientRect().height > 1;
  const inside = e => e.closest("pre, .over, svg, .plane, .wide-table");
  document.body.dataset.found = JSON.stringify({
    images: images.length,
    broken: images.filter(i => !i.complete || !i.naturalWidth || !i.naturalHeight).length,
    flat: images.filter(i => !visible(i)).length,
    charts: [...page.querySelectorAll(".chart svg")].filter(visible).length,
    wide: root.scrollWidth - root.clientWidth,
    out: [...page.body.querySelectorAll("*")].filter(
      e => !inside(e) && e.getBoundingClientRect().right > root.clientWidth + 1).map(e => e.outerHTML.slice(0, 80)),
    loaded: frame.contentWindow.performance.getEntriesByType("resource").map(r => r.name),
  });
};
"""


@pytest.fixture(autouse=True, scope="module")
def needs_browser():
    if BROWSER is None:
        pytest.skip("no Chromium on this machine")


@pytest.mark.parametrize("width", [1280, 390])
def test_the_report_opens_whole_and_offline(run: Path, images, tmp_path: Path, width: int):
    opens_whole_and_offline(write_report(run, images).read_text(), tmp_path, width, images=50)


@pytest.mark.parametrize("width", [1280, 390])
def test_a_world_model_s_report_opens_whole_and_offline(world_page: Path, tmp_path: Path, width: int):
    opens_whole_and_offline(world_page.read_text(), tmp_path, width, images=40)


@pytest.mark.parametrize("width", [1280, 390])
def test_a_comparison_opens_whole_and_offline(run: Path, tmp_path: Path, width: int):
    shutil.copytree(run, tmp_path / "a-run-with-quite-a-long-name_train.lr=1e-3_seed=1")
    runs = [run, *tmp_path.glob("a-run*")]
    page = write_comparison(runs, tmp_path / "compare.html").read_text()
    opens_whole_and_offline(page, tmp_path, width, images=0, charts=5)


def opens_whole_and_offline(report: str, tmp_path: Path, width: int, images: int, charts: int = 8) -> None:
    frame = f"<iframe width={width} height=900 style='border:0' srcdoc=\"{html.escape(report)}\"></iframe>"
    probe = f"<body>{frame}<script>{MEASURE}</script>"
    (tmp_path / "probe.html").write_text(probe)
    seen = open_page(tmp_path / "probe.html", tmp_path)
    match = re.search(r'<body data-found="([^"]*)"', seen)
    assert match, "the page was not measured"
    found = json.loads(html.unescape(match[1]))
    assert found["images"] == report.count("<img ") >= images
    assert found["broken"] == found["flat"] == 0
    assert found["charts"] == report.count("<svg role=") >= charts
    assert found["wide"] == 0 and found["out"] == []
    assert found["loaded"] == []


def test_the_report_makes_no_request(run: Path, images, tmp_path: Path):
    path = write_report(run, images)
    log = tmp_path / "net.json"
    seen = open_page(path, tmp_path, f"--log-net-log={log}")
    assert "What the features are worth" in seen
    assert [url for url in requested(log) if not url.startswith(("file:", "data:"))] == []


def test_the_log_would_show_a_request(tmp_path: Path):
    (tmp_path / "page.html").write_text("<img src='http://127.0.0.1:9/picture.png'>")
    open_page(tmp_path / "page.html", tmp_path, f"--log-net-log={tmp_path / 'net.json'}")
    assert "http://127.0.0.1:9/picture.png" in requested(tmp_path / "net.json")


def open_page(path: Path, folder: Path, *more: str) -> str:
    """The DOM after the page has loaded."""
    command = [
        str(BROWSER),
        *FLAGS,
        f"--user-data-dir={folder / 'profile'}",
        *more,
        "--dump-dom",
        path.as_uri(),
    ]
    environment = {**os.environ, "HOME": str(folder)}
    return subprocess.run(
        command, capture_output=True, text=True, timeout=240, env=environment, check=True
    ).stdout


def requested(log: Path) -> list[str]:
    """The addresses that pages asked for; those that the browser itself asked for have no origin as initiator."""
    found = re.findall(r'"initiator":"([^"]*)".*?"url":"([^"]+)"', log.read_text(errors="replace"))
    return [url for initiator, url in found if initiator != "not an origin"]
