"""Which samples are most like those that are named: a table, and a picture."""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import torch

from openjepa.errors import UserError
from openjepa.evals.embed import opened
from openjepa.evals.tables import table_beside, whole, write_table
from openjepa.report import pixels
from openjepa.report.samples import AT_ONCE, BATCH, called, embeddings, similarities
from openjepa.report.shown import Progress, render
from openjepa.signals.identity import columns_of
from openjepa.signals.label_table import ColumnNames, LabelSource, LabelTable, rows_called
from openjepa.signals.pictures import Picture

COUNT = 8
QUERIES = 8
"""Samples of a query, such as windows of a recording, that are looked at; spread evenly where it has more."""
INCHES, NAMED = 1.5, 24
"""Side of a picture in a `.png`, and characters of a name under it."""


@dataclass(frozen=True, eq=False)
class Alike:
    """A sample, and those that are nearest to it, or their pictures and what is said under each.

    Attributes:
        name: of the query.
        picture: `None` where the signal draws none.
        near: picture, name, label and cosine of each.
    """

    name: str
    picture: Picture | None
    near: list[tuple[Picture | None, str, str, float]]


@dataclass(frozen=True, eq=False)
class NearestSamples:
    """The nearest samples of each query.

    Attributes:
        columns: `query`, `rank` from 1, `cosine`, and of the neighbour what is known: `sample`, `second`, `label`,
            `group`.
        shown: pictures.
        about: in a sentence, what was compared.
        noun: what samples are called.
    """

    columns: dict[str, list[Any]]
    shown: list[Alike]
    about: str
    noun: str

    def save(self, path: str | Path) -> Path | None:
        """Write a page (`.html`) or a picture (`.png`) with the table `NAME.samples.csv` beside it; or the table alone.

        Returns:
            The table beside, where there is one.

        Raises:
            UserError: another suffix, drawings where pixels are needed, a place that cannot be written.
        """
        path = Path(path)
        made = {".html": self._page, ".png": self._image}.get(path.suffix)
        if made is None:
            write_table(path, [(self.columns, None)])
            return None
        content, beside = made(), table_beside(path)
        with whole(path) as file:
            file.write(content)
        write_table(beside, [(self.columns, None)])
        return beside

    def _page(self) -> bytes:
        def drawn(picture: Picture | None) -> pixels.Drawn | None:
            return None if picture is None else pixels.drawn(picture)

        rows = [
            (alike.name, drawn(alike.picture), [(drawn(picture), *rest) for picture, *rest in alike.near])
            for alike in self.shown
        ]
        wide = any(picture is not None and picture.wide for _, picture, _ in rows)
        seen = [alike.picture.pixels for alike in self.shown if alike.picture is not None]
        small = all(image is not None and max(image.shape[:2]) <= pixels.SMALL for image in seen)
        return render("alike", rows=rows, about=self.about, noun=self.noun, wide=wide, small=small).encode()

    def _image(self) -> bytes:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        across = 1 + max(len(alike.near) for alike in self.shown)
        figure = Figure(figsize=(INCHES * across, 1.3 * INCHES * len(self.shown)), layout="constrained")
        for row, alike in enumerate(self.shown):
            query = (alike.picture, alike.name, "query")
            near = [(picture, name, f"{label} {cosine:.2f}") for picture, name, label, cosine in alike.near]
            for column, (picture, name, told) in enumerate([query, *near], 1):
                if picture is None or picture.pixels is None:
                    raise UserError(
                        f"{self.noun} are drawn as curves, which a .png does not hold: name an .html file"
                    )
                axes = figure.add_subplot(len(self.shown), across, row * across + column)
                axes.imshow(picture.pixels, interpolation="nearest")
                axes.set_axis_off()
                title = f"{name[-NAMED:]}\n{told}".replace("$", r"\$")  # no formulas
                axes.set_title(title, fontsize=6)
        buffer = io.BytesIO()
        FigureCanvasAgg(figure).print_png(buffer)
        return buffer.getvalue()


def neighbours(
    run: str | Path,
    query: Any,
    data: Any = None,
    *,
    count: int = COUNT,
    split: str = "train",
    labels: LabelSource = None,
    progress: Progress | None = None,
    **columns: Unpack[ColumnNames],
) -> NearestSamples:
    """The samples whose features are nearest to a query's, by cosine of standardised features.

    Args:
        run: a directory that `openjepa train` has written, or an exported model.
        query: a file, or what one of the samples is called; or samples, as the run's signal opens them.
        data: samples to look among; `None`: those of the run.
        count: how many of each.
        labels, columns: a table of labels to show, and its columns; by default those that the data have.

    Raises:
        UserError: the query is no file and no sample, or may be several; fewer than two samples.
    """
    if count < 1:
        raise UserError(f"{count} neighbours are none: ask for at least one")
    model, samples = opened(run, data, split, LabelTable.of(labels, **columns))
    size = max(1, math.prod(getattr(samples, "shape", ())))
    at_once = min(BATCH, max(1, AT_ONCE // size))
    rows = _rows(samples, query)
    asked, among = (samples, rows) if rows is not None else _opened(model.config, query)
    total, chosen = len(among), among[np.unique(np.linspace(0, len(among) - 1, QUERIES).astype(int))]
    features = embeddings(model, samples, np.arange(len(samples)), at_once, progress)
    wanted = (
        features[torch.from_numpy(chosen)]
        if rows is not None
        else embeddings(model, asked, chosen, at_once, None)
    )
    if not (features.isfinite().all() and wanted.isfinite().all()):
        raise UserError(f"{run} gives features that are NaN or infinite: use an earlier checkpoint")
    said = columns_of(samples)
    cosines = similarities(features, wanted)
    if rows is not None:  # what the query is of is no answer
        cosines[:, torch.from_numpy(rows)] = -torch.inf
    if not cosines.isfinite().any():
        raise UserError(
            f"{samples.name} holds nothing beside the query: give --data with more {samples.noun}"
        )
    best = cosines.topk(min(count, int(cosines.isfinite().sum(1).min())), 1)
    table: dict[str, list[Any]] = {
        "query": [],
        "rank": [],
        "cosine": [],
        **{n: [] for n in said if n != "index"},
    }
    shown = []
    for row, near, values in zip(chosen.tolist(), best.indices.tolist(), best.values.tolist(), strict=True):
        name = called(asked, row)
        for rank, (other, cosine) in enumerate(zip(near, values, strict=True), 1):
            table["query"].append(name)
            table["rank"].append(rank)
            table["cosine"].append(cosine)
            for column in table.keys() & said.keys():
                table[column].append(said[column](other))
        shown.append(_shown(model, asked, row, name, samples, near, values, said))
    about = f"{len(samples):,} {samples.noun} of {samples.name}"
    if total > len(chosen):
        about += f"; of the {total:,} {asked.noun} of the query {len(chosen)}, spread evenly"
    return NearestSamples(table, shown, about, samples.noun)


def _rows(samples: Any, query: Any) -> np.ndarray | None:
    """Which of the samples the query is; `None` where it is others."""
    if not isinstance(query, str | Path):
        return None
    rows = rows_called(samples, str(query), there=Path(query).exists())
    if not len(rows) and not Path(query).exists():
        raise UserError(
            f"{query} is neither a file nor the name of one of the {samples.noun} of {samples.name}"
        )
    return rows if len(rows) else None


def _opened(config: Any, query: Any) -> tuple[Any, np.ndarray]:
    found = config.samples(query)
    return found, np.arange(len(found))


def _shown(
    model: Any,
    asked: Any,
    row: int,
    name: str,
    samples: Any,
    near: Sequence[int],
    cosines: Sequence[float],
    said: Any,
) -> Alike:
    query, batch = asked.read([row]), samples.read(near)
    labels = [says for column, says in said.items() if column.startswith("label")]
    others = []
    for i, (other, cosine) in enumerate(zip(near, cosines, strict=True)):
        told = ", ".join(_text(says(other)) for says in labels)
        others.append((model.signal.picture(batch, i), called(samples, other), told, cosine))
    return Alike(name, model.signal.picture(query, 0), others)


def _text(value: Any) -> str:
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
