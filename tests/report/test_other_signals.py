"""The page, the probe and the embedding of a signal that is not of images: ragged, grouped, drawn as SVG."""

import json
from typing import Any

import numpy as np
import pytest

import openjepa
from openjepa import cli
from openjepa.evals.runs import probe_runs
from openjepa.report import samples as looks
from openjepa.report import write_report
from openjepa.report.record import read_record
from openjepa.report.shown import Shown
from openjepa.signals.base import Labels
from openjepa.signals.pictures import Marks, Picture

from ..toy_signal import BagSet, BagSignal, bags

pytestmark = pytest.mark.filterwarnings("ignore::openjepa.OpenJEPAWarning")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("bags") / "run"
    openjepa.train("bag-jepa", data=bags(), out=folder)
    return folder


def labelled_bags(count: int = 120) -> BagSet:
    """Two classes by the sign of the slope; six bags a group; no test split."""
    found = BagSet(bags(count))
    slopes = np.array([bag[1, 0] - bag[0, 0] for bag in found.bags])
    found.labels = Labels((slopes > 0).astype(np.int64), ("falls", "<rises>"), np.arange(count) // 6)
    return found


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> None:
    """The signal opens labelled bags by a name."""

    def open_bags(self: BagSignal, data: Any, split: str = "train", *, adapt: bool = False) -> BagSet:
        if split == "test":
            raise openjepa.UserError("no split 'test', only 'train'")
        return labelled_bags() if isinstance(data, str) else data

    monkeypatch.setattr(BagSignal, "open", open_bags)


def test_a_probe_divides_by_groups_and_says_so(run, opened):
    table = probe_runs([run], data="bags", per_class=(5,))
    assert "5 of 20 groups, drawn by seed 0, are tested on" in str(table)
    assert table.score("model", "linear").method == "bootstrap over 5 groups"
    assert table.score("model", "linear").mean > 0.7
    assert table.noun == "bags" and "image" not in str(table)
    balanced = probe_runs([run], data="bags", kinds=("linear",), balanced=True)
    assert balanced.cells()[0][0] == "balanced accuracy in %"


def test_embeddings_are_written_with_their_groups(run, opened, tmp_path, capsys):
    parquet = pytest.importorskip("pyarrow.parquet")
    cli.main(["embed", str(run), "--data", "bags", "-o", str(tmp_path / "e.parquet"), "--json"])
    told = json.loads(capsys.readouterr().out)
    assert told["bags"] == 120 and told["skipped"] == 0
    table = parquet.read_table(tmp_path / "e.parquet")
    assert table.column_names == ["index", "sample", "label", "group", "embedding"]
    assert table["group"].to_pylist()[:7] == [0] * 6 + [1]


def test_a_page_of_samples_without_pictures_shows_the_rest(run):
    text = write_report(run, labelled_bags()).read_text()
    assert "There are no pictures of bags of this kind" in text
    assert "Which bags are alike" in text and "Scatter plot of 120 bags" in text
    assert "&lt;rises&gt;" in text and "image" not in seen(text)


def test_a_signal_draws_what_is_hidden_and_where_the_prediction_errs(run, monkeypatch):
    asked: list[Marks | None] = []

    def picture(self: BagSignal, batch: Any, row: int, marks: Marks | None = None) -> Picture:
        asked.append(marks)
        return Picture(drawing=f'<svg viewBox="0 0 9 1"><title>{len(batch)}</title></svg>', wide=True)

    monkeypatch.setattr(BagSignal, "picture", picture)
    samples = labelled_bags()
    text = write_report(run, samples).read_text()
    assert text.count('<svg viewBox="0 0 9 1">') > 30 and "samples wide" in text
    assert "image" not in seen(text)
    rows = np.random.default_rng(looks.SEED).permutation(120)[:128]
    counts = {len(samples.bags[i]) for i in rows}
    errors = [marks.error for marks in asked if marks is not None and marks.error is not None]
    hidden = [marks.hidden for marks in asked if marks is not None and marks.hidden is not None]
    assert len(errors) == looks.SHOWN_WIDE and all(len(e) == 9 for e in errors)
    assert {int(np.isfinite(e).sum()) for e in errors} <= {max(1, n // 3) for n in counts}
    assert all(h.dtype == bool and len(h) == 9 for h in hidden)


def seen(text: str) -> str:
    """The page without its style sheet and its embedded data."""
    return text.partition("</style>")[2].replace("data:image/png", "")


def test_what_samples_are_called_stands_in_the_run(run):
    record = read_record(run)
    assert record.noun == "bags" and not Shown(record, None).of_episodes
