"""The table of systems, printed from the recipes themselves."""

from typing import Any

from openjepa.common.text import aligned
from openjepa.recipes.base import registered

CHOICES = ("signal", "hiding", "condition", "target", "energy", "guard")


def as_dicts() -> list[dict[str, Any]]:
    """A row per recipe: name, paper, idea, the six choices at the paper's values, what was measured, presets."""
    rows = []
    for name, cls in registered().items():
        config = cls.model_validate({})
        choices = {choice: getattr(config, choice).kind for choice in CHOICES}
        module = __import__(cls.__module__, fromlist=["__doc__"])
        idea = (module.__doc__ or "").split("\n", 1)[0].split(": ", 1)[-1].rstrip(".")
        rows.append(
            {
                "recipe": name,
                "idea": idea,
                "paper": cls.paper,
                **choices,
                "measured": cls.measured or "not yet",
                "presets": list(cls.presets),
            }
        )
    return rows


def as_markdown() -> str:
    """For the README."""
    columns = ("recipe", "idea", *CHOICES, "measured", "paper")
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    lines += ["| " + " | ".join(str(row[c]) for c in columns) + " |" for row in as_dicts()]
    return "\n".join(lines)


def as_text() -> str:
    """For a terminal: aligned columns, then the presets."""
    rows = as_dicts()
    columns = ("recipe", *CHOICES)
    cells = [columns, *([str(row[c]) for c in columns] for row in rows)]
    lines = aligned(cells)
    for row in rows:
        lines += [
            "",
            f"{row['recipe']}: {row['idea']}",
            f"  {row['paper']}",
            f"  measured: {row['measured']}",
            f"  presets: {', '.join(row['presets'])}",
        ]
    return "\n".join(lines)
