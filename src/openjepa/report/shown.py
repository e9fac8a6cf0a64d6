"""What a page is made of: a run as its files tell it, its model, samples to look at; and one section of the page."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import jinja2
from markupsafe import Markup

from openjepa.jepa import JEPA
from openjepa.report.record import Record
from openjepa.signals.base import Labels

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        html: safe to include.
        links: anchors in it and what the navigation calls them.
    """

    html: Markup
    links: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, eq=False)
class Shown:
    """What sections are made from.

    Attributes:
        record: the run as its files tell it.
        model: `None` where it cannot be loaded.
        samples: what to look at; `None` where there is nothing.
        labels: of these, where enough are known.
        missing: why there is no model or nothing to look at, in a sentence.
        data: what the user named to look at.
        limit: how many samples are looked at, at most; `None`: as many as is quick.
    """

    record: Record
    model: JEPA | None
    samples: Any = None
    labels: Labels | None = None
    missing: str = ""
    data: Any = None
    limit: int | None = None
    progress: Progress | None = None
    cache: dict[str, Any] = field(default_factory=dict, repr=False)

    def once(self, name: str, make: Callable[[], Any]) -> Any:
        """What several sections need, made when the first asks for it."""
        if name not in self.cache:
            self.cache[name] = make()
        return self.cache[name]

    @property
    def of_episodes(self) -> bool:
        """Whether the run is a world model's."""
        return self.record.signal == "frames"

    @property
    def noun(self) -> str:
        """What the run's samples are called, in the plural."""
        return self.record.noun if self.samples is None else self.samples.noun


def one_of(noun: str) -> str:
    """A sample's name in the singular."""
    return noun if noun.endswith("series") else noun.removesuffix("s")


def with_article(noun: str) -> str:
    """`an image`, `a clip`."""
    return f"{'an' if noun[:1] in 'aeio' else 'a'} {noun}"


def render(template: str, **values: Any) -> Markup:
    """A template of `report/templates`, filled."""
    return Markup(_environment().get_template(f"{template}.html.j2").render(**values))


def section(template: str, title: str, **values: Any) -> Section:
    """A section whose anchor is its template's name."""
    return Section(render(template, **values), [(template, title)] if title else [])


@cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("openjepa.report", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
