"""What a notebook does: train, look, run the cell again."""

from importlib.metadata import version
from pathlib import Path

import pytest
from tests.training import small

import openjepa
from openjepa.errors import UserError


def test_a_cell_that_trains_and_reports_can_be_run_again(tmp_path: Path) -> None:
    out = tmp_path / "run"

    def cell() -> Path:
        options = small.options(train__steps=2)
        model = openjepa.train(
            "i-jepa",
            preset="tiny-vit",
            data=small.pixels(),
            out=out,
            options=options,
            overwrite=True,
            progress=False,
        )
        assert model.verdict is not None and openjepa.load(out).verdict is None
        return openjepa.report(out, samples=small.images(), limit=20)

    first, again = cell(), cell()
    assert first == again == out / "report.html" and "<html" in again.read_text()[:200]
    with pytest.raises(UserError, match="overwrite=True"):
        openjepa.train("i-jepa", preset="tiny-vit", data=small.pixels(), out=out, options=small.options())


def test_the_package_names_what_it_offers() -> None:
    assert openjepa.__version__ == version("openjepa")
    assert {"train", "load", "report", "__version__"} <= set(dir(openjepa))
    assert all(hasattr(openjepa, name) for name in openjepa.__all__)
    from openjepa.report import write_report

    assert openjepa.report.write_report is write_report and "report.html" in (
        openjepa.report.__call__.__doc__ or ""
    )
