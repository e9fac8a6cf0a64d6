"""Where downloaded and unpacked data is kept between runs."""

import os
from pathlib import Path


def cache_dir() -> Path:
    """`$OPENJEPA_CACHE`, else `openjepa` in the user's XDG cache; not created here."""
    if given := os.environ.get("OPENJEPA_CACHE"):
        return Path(given).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "openjepa"
