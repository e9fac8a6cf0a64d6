"""Licences of released weights: what a folder's card says, else what is known of a name."""

import re
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from openjepa.common import plain
from openjepa.errors import UserError, warn

CARD = "README.md"
MOST_BYTES = 2**20
"""Of a card that is read."""
RELEASED = {
    "facebook/ijepa_*": "cc-by-nc-4.0",
    "jmtzt/ijepa_*": "cc-by-nc-4.0",
    "facebook/jepa-wms*": "cc-by-nc-4.0",
}
"""Weights by the names under which they are published, for folders without a card."""
META_IJEPA = "cc-by-nc-4.0"
"""Of all weights that were released with I-JEPA's code."""


def licence_of(folder: Path, name: str = "") -> str | None:
    """The licence that the folder's card states, else that of the weights published under `name`; `None`: not known."""
    stated = front_matter(folder / CARD).get("license")
    if isinstance(stated, str) and stated:
        return stated
    return next((licence for known, licence in RELEASED.items() if fnmatch(name, known)), None)


def front_matter(card: Path) -> dict[str, Any]:
    """What stands between the two lines `---` at the top of a model card; empty where nothing can be read."""
    try:
        if not card.is_file() or card.stat().st_size > MOST_BYTES:
            return {}
        found = re.match(r"---\n(.*?)\n---", card.read_text(encoding="utf-8"), re.S)
        data = plain.parse(found[1]) if found else {}
    except (OSError, UnicodeDecodeError, UserError):
        return {}
    return data if isinstance(data, dict) else {}


def stated(licence: str) -> str:
    """A card that says a licence and nothing else."""
    return f"---\nlicense: {licence}\n---\n"


def is_non_commercial(licence: str) -> bool:
    """Whether a licence, by its identifier, forbids commercial use."""
    return re.search(r"(?:^|-)nc(?:-|$)|non-?commercial", licence.lower()) is not None


def tell(source: str, licence: str | None) -> None:
    """Warn where weights may not be used commercially."""
    if licence and is_non_commercial(licence):
        warn(
            f"{source} is licensed {licence}: its weights, and what is trained from them, are for non-commercial use"
        )
