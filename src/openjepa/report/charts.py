"""Line charts, a stacked area and the map of samples. matplotlib, without pyplot, is imported when one is drawn.

Charts are inline SVG whose colours are the page's CSS variables, so that they follow its light and dark themes.
"""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

INK, FAINT = "#010203", "#040506"
SERIES = ("#0b7a75", "#d9822b", "#3f6fb5", "#a23b72", "#7a8b3a", "#7d6b91")
"""Marker colours: each becomes a CSS variable in the page."""
DASHES = {"": "solid", "dashed": (0, (4, 2)), "dotted": (0, (1, 1.5))}
"""By which lines beyond the sixth are told from those of their colour; names for legends."""
VARIABLES = {INK: "--muted", FAINT: "--line", **{colour: f"--s{i + 1}" for i, colour in enumerate(SERIES)}}
BINS = 240
"""Points of a curve; longer ones are averaged in bins, with their range shaded."""
LOG_FROM = 30
"""Positive values that span more than this factor get a logarithmic axis."""


@dataclass(frozen=True)
class CurveLine:
    """One curve: its name, steps and values, and optionally a band `(low, high)` around it.

    Without any step it is not drawn, and keeps its colour from the next one.
    """

    name: str
    steps: Sequence[float]
    values: Sequence[float]
    band: tuple[Sequence[float], Sequence[float]] | None = None


@dataclass(frozen=True)
class Chart:
    """A chart before it is drawn.

    Attributes:
        title: what is plotted, with its unit.
        caption: how to read it.
        lines: at least one.
        stacked: the lines are shares that add up to 1.
        level: a dashed reference height and its name.
        top: where the axis ends; by default where the lines do.
    """

    title: str
    caption: str
    lines: list[CurveLine]
    stacked: bool = False
    level: tuple[float, str] | None = None
    top: float | None = None


def draw(chart: Chart, name: str) -> str:
    """The chart as inline SVG; `name` keeps its element ids apart from those of other charts on the page."""
    from matplotlib import rc_context, ticker
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with rc_context(_STYLE | {"svg.hashsalt": name}):
        figure = Figure(figsize=(3.7, 2.05), layout="constrained")
        axes = figure.add_subplot()
        _draw_stacked(axes, chart) if chart.stacked else _draw_lines(axes, chart)
        axes.margins(x=0.01)
        axes.tick_params(length=0)
        axes.xaxis.set_major_locator(ticker.MaxNLocator(5, integer=True))
        axes.xaxis.set_major_formatter(ticker.EngFormatter(sep=""))
        buffer = io.BytesIO()
        FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None, "Creator": None})
    return _themed(buffer.getvalue().decode(), f"{chart.title}: {summary(chart)}")


def summary(chart: Chart) -> str:
    """The last value of each line, for legends and for people who do not see the picture."""
    return ", ".join(f"{line.name} {short(line.values[-1])}" for line in chart.lines if len(line.steps))


def short(value: float) -> str:
    """Three significant digits."""
    if not np.isfinite(value):
        return "not finite"
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        digits = f"{value:.3g}"
        return f"{float(digits):,.0f}" if "e" in digits else digits
    return f"{value:.1e}".replace(".0e", "e").replace("e-0", "e-").replace("e+0", "e")


def scatter(points: NDArray[np.floating], colours: Sequence[str]) -> bytes:
    """A PNG `[N, 2]` of points without axes, transparent; x and y of the unit square span its sides."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.6), dpi=140, facecolor="none")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.scatter(points[:, 0], points[:, 1], c=list(colours), s=9, linewidths=0, alpha=0.75)
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.set_axis_off()
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer, pil_kwargs={"optimize": True})
    return _quantised(buffer.getvalue())


_STYLE: Any = {
    "svg.fonttype": "none",
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": FAINT,
    "grid.linewidth": 0.7,
    "lines.linewidth": 1.7,
    "lines.solid_capstyle": "round",
    "path.simplify": True,
}


def _draw_lines(axes: Any, chart: Chart) -> None:
    for i, (line, colour) in enumerate(zip(chart.lines, _colours(chart), strict=True)):
        if not len(line.steps):
            continue
        steps, values, low, high = _binned(line)
        axes.fill_between(steps, low, high, color=colour, alpha=0.15, linewidth=0)
        dots = {"marker": "o", "markersize": 3.5} if len(steps) < 3 else {}
        axes.plot(steps, values, color=colour, linestyle=DASHES[dash_of(i)], **dots)
    everything = [value for line in chart.lines for value in line.values]
    if chart.level:
        axes.axhline(chart.level[0], color=INK, linewidth=1, linestyle=(0, (4, 3)))
        everything.append(chart.level[0])
    finite = np.array([value for value in everything if np.isfinite(value)])
    if chart.top is not None:
        axes.set_ylim(0, chart.top)
    elif len(finite) and finite.min() > 0 and finite.max() > LOG_FROM * finite.min():
        axes.set_yscale("log")
        axes.minorticks_off()
    elif len(finite) and finite.min() >= 0:
        axes.set_ylim(0, max(axes.get_ylim()[1], 1.05 * finite.max()))


def _draw_stacked(axes: Any, chart: Chart) -> None:
    values = np.array([line.values for line in chart.lines], float)
    axes.stackplot(
        chart.lines[0].steps, np.nan_to_num(values), colors=_colours(chart), alpha=0.85, linewidth=0
    )
    axes.set_ylim(0, 1)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "25 %", "50 %", "75 %", "100 %"])


def colour_of(number: int) -> str:
    """The CSS variable of a chart's line of this number."""
    return VARIABLES[SERIES[number % len(SERIES)]]


def dash_of(number: int) -> str:
    """How a chart's line of this number is dashed, by the names of `DASHES`."""
    return list(DASHES)[number // len(SERIES) % len(DASHES)]


def _colours(chart: Chart) -> list[str]:
    return [SERIES[i % len(SERIES)] for i in range(len(chart.lines))]


def _binned(line: CurveLine) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    """Steps, means, lows and highs of at most `BINS` bins; the line's own band where it has one."""
    steps, values = np.asarray(line.steps, float), np.asarray(line.values, float)
    low, high = (values, values) if line.band is None else (np.asarray(b, float) for b in line.band)
    if len(steps) <= BINS:
        return steps, values, low, high
    parts = np.array_split(np.arange(len(steps)), BINS)

    def each(rule: Any, of: NDArray) -> NDArray:
        return np.array([rule(of[part]) for part in parts])

    return each(np.mean, steps), each(np.mean, values), each(np.min, low), each(np.max, high)


def _themed(svg: str, label: str) -> str:
    """matplotlib's file as an element of the page: no prologue, no sizes, colours by CSS variable."""
    from html import escape

    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<!--.*?-->|\n\s*", " ", svg, flags=re.DOTALL)
    box = re.search(r'viewBox="([^"]+)"', svg)
    assert box is not None, "matplotlib writes a viewBox"
    svg = f'<svg role="img" aria-label="{escape(label)}" viewBox="{box[1]}">' + svg[svg.index(">") + 1 :]
    svg = svg.replace('xlink:href="#', 'href="#')
    used = set(re.findall(r'(?:href="|url\()#([^")]+)', svg))
    svg = re.sub(r' id="([^"]+)"', lambda found: found[0] if found[1] in used else "", svg)
    for colour, variable in VARIABLES.items():
        svg = svg.replace(colour, f"var({variable})")
    return svg


def _quantised(png: bytes) -> bytes:
    """The same picture with 256 colours: a third of the size."""
    from PIL import Image

    buffer = io.BytesIO()
    picture = Image.open(io.BytesIO(png)).convert("RGBA")
    picture.quantize(255, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(
        buffer, "PNG", optimize=True
    )
    return buffer.getvalue()
