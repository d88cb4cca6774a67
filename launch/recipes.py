"""Lists the recipes: what each does, what it needs, and how long it takes.

  python -m launch.recipes                    recipes of metajax, by the names for --config=
  python -m launch.recipes --folder=mine      recipes in a folder of yours
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

from launch import command_line, find

_FOLDER = flags.DEFINE_string("folder", None, "the folder of the recipes; by default that of metajax")
_RESULTS = flags.DEFINE_string("results", str(find.ROOT / "docs" / "results"),
                               "the folder of measured times, written by benchmarks.results")


class Page(NamedTuple):
  """The description of a recipe."""
  name: str  # for --config=
  title: str  # the first sentence of its docstring
  arguments: str  # possible arguments after a colon, if the docstring lists them, otherwise ''
  needs: str
  takes: str


def read(name: str, path: Path, results: Path) -> Page:
  """Returns the description of a recipe, without importing it.

  Args:
    name: the name of the recipe.
    path: the recipe, a Python file with a docstring.
    results: the folder of measured results, `<recipe>.json`, each with `minutes` and `machine`.
  """
  page = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
  measured = results / f"{path.stem}.json"
  takes = "not measured"
  if measured.exists():
    result = json.loads(measured.read_text(encoding="utf-8"))
    takes = f"{result['minutes']} min of training, measured on {result['machine']}"
  return Page(name, _paragraph(page, r"\A"), _paragraph(page, r"^Learners: ").rstrip("."),
              _paragraph(page, r"^Needs: ") or "see its docstring", takes)


def extras(page: Page) -> str:
  """Returns the extras of metajax that a recipe of metajax needs: those that read data need `data`."""
  return "lab" if page.needs == "nothing but metajax." else "lab,data"


def main(_: list[str]) -> None:
  if _FOLDER.value is None:
    known = find.recipes()
  else:
    known = {str(path): path for path in sorted(Path(_FOLDER.value).glob("*.py")) if find.is_recipe(path)}
  if not known:
    raise ValueError(f"folder {_FOLDER.value} holds no recipe, a file that defines get_config() and build(config); "
                     "give another --folder, or none for the recipes of metajax.")
  width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 120
  for name, path in known.items():
    page = read(name, path, Path(_RESULTS.value))
    # Only recipes of metajax are imported; code in other folders is not run just to be listed.
    learners = page.arguments or (", ".join(command_line.learners(name)) if _FOLDER.value is None else "")
    print(f"{name}{':<learner>' if learners else ''}")
    install = f"pip install 'metajax[{extras(page)}]'" if _FOLDER.value is None else ""
    for what, said in (("", page.title), ("learners: ", learners), ("needs: ", page.needs), ("install: ", install),
                       ("takes: ", page.takes)):
      if said:
        print(textwrap.fill(what + said, width, initial_indent="  ", subsequent_indent="    "))
  first = next(iter(known))
  print(f"\nRun one:         python -m launch.train --config={first}\n"
        f"All its fields:  python -m launch.train --config={first} --help\n"
        f"What it costs:   python -m launch.train --config={first} --dry_run")


def _paragraph(page: str, start: str) -> str:
  """Returns the text after `start`, up to the next paragraph or `Title: `, as one line."""
  found = re.search(start + r"(.*?)(?=\n\s*\n|\n[A-Z][\w ]*: |\Z)", page, re.M | re.S)
  return " ".join(found.group(1).split()) if found else ""


if __name__ == "__main__":
  command_line.run(main)
