"""`spike-compressor recipes`."""

from __future__ import annotations

import argparse
from typing import Any

from rich.console import Console
from rich.table import Table

from spike_compressor.cli.command import Command, register_command
from spike_compressor.shipped import about_recipe, recipe_names, recipe_path


@register_command("recipes")
class Recipes(Command):
    """List the recipes that come with the package, or print one.

    `--recipe` of the other commands takes their names as it takes files.
    """

    examples = """\
  spike-compressor recipes
  spike-compressor recipes rtn_w4_tclif_34 > mine.yaml"""

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("recipe", nargs="?", metavar="NAME", help="print this one")

    def run(self, args: argparse.Namespace) -> dict[str, Any]:
        if args.recipe is None:
            return {"recipes": [{"name": name, "about": about_recipe(name)} for name in recipe_names()]}
        path = recipe_path(args.recipe)
        return {"name": args.recipe, "path": str(path), "text": path.read_text(encoding="utf-8")}

    def show(self, result: dict[str, Any], args: argparse.Namespace) -> None:
        if args.recipe is not None:
            print(result["text"], end="")
            return
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        table.add_column(no_wrap=True)
        table.add_column()
        for recipe in result["recipes"]:
            table.add_row(recipe["name"], recipe["about"])
        Console(highlight=False).print(table)
