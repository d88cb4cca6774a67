"""Lists the recipes: what each is, what it needs, and how long it takes.

  python -m launch.recipes                    all of them
  python -m launch.recipes --folder=mine      those of another folder
"""

import ast
import json
from pathlib import Path
import re
import shutil
import sys
import textwrap
from typing import NamedTuple

from absl import flags

from launch import command_line

_FOLDER = flags.DEFINE_string("folder", "experiments", "where the recipes are")
_RESULTS = flags.DEFINE_string("results", "docs/results", "where what they took is, as benchmarks.results keeps it")


class Page(NamedTuple):
  """What there is to say of a recipe before it is run."""
  path: Path
  title: str  # the first sentence of its page
  arguments: str  # what may follow a colon; '' if nothing
  needs: str
  takes: str


def read(path: Path, results: Path) -> Page:
  """Returns the page of a recipe, without importing it.

  Args:
    path: the recipe, a Python file with a docstring.
    results: the folder of measured results, `<recipe>.json`, each with `minutes` and `machine`.
  """
  page = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
  measured = results / f"{path.stem}.json"
  takes = "not measured"
  if measured.exists():
    result = json.loads(measured.read_text(encoding="utf-8"))
    takes = f"{result['minutes']} min of training, measured on {result['machine']}"
  return Page(path, _paragraph(page, r"\A"), _paragraph(page, r"^Learners: ").rstrip("."),
              _paragraph(page, r"^Needs: ") or "what its page says", takes)


def main(_: list[str]) -> None:
  folder = Path(_FOLDER.value)
  paths = sorted(path for path in folder.glob("*.py") if command_line.is_recipe(path))
  if not paths:
    raise ValueError(f"folder {folder} holds no recipe, a file that defines get_config() and build(config); start this "
                     "where the recipes are, or name their folder: --folder=<folder>.")
  width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 120
  for path in paths:
    page = read(path, Path(_RESULTS.value))
    print(f"{page.path}{':<learner>' if page.arguments else ''}")
    for what, said in (("", page.title), ("learners: ", page.arguments), ("needs: ", page.needs),
                       ("takes: ", page.takes)):
      if said:
        print(textwrap.fill(what + said, width, initial_indent="  ", subsequent_indent="    "))
  print(f"\nRun one:         python -m launch.train --config={paths[0]}\n"
        f"All its fields:  python -m launch.train --config={paths[0]} --help\n"
        f"What it costs:   python -m launch.train --config={paths[0]} --dry_run")


def _paragraph(page: str, start: str) -> str:
  """Returns what follows `start` up to the next line that begins another matter, on one line."""
  found = re.search(start + r"(.*?)(?=\n\s*\n|\n[A-Z][\w ]*: |\Z)", page, re.M | re.S)
  return " ".join(found.group(1).split()) if found else ""


if __name__ == "__main__":
  command_line.run(main)
