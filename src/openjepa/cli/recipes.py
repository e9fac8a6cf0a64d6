"""`openjepa recipes`."""

import argparse
import json

from openjepa.cli.options import Commands, add_json, command


def add(commands: Commands) -> None:
    parser = command(commands, "recipes", run, "list the recipes: each a paper, a row of six choices")
    parser.add_argument("--markdown", action="store_true", help="as the table in the README")
    add_json(parser, "with all presets, for machines")


def run(args: argparse.Namespace) -> None:
    from openjepa.recipes.table import as_dicts, as_markdown, as_text

    print(json.dumps(as_dicts(), indent=2) if args.json else as_markdown() if args.markdown else as_text())
