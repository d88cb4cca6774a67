"""Finds the file of a recipe that is given with `--config=`, and its canonical name.

Recipes of this checkout are named by their file, from any working directory: `sinusoid_maml`, or with a learner
`omniglot:ridge`. Any other recipe is named by the path of its file. Former paths of recipes, as in older workdirs and
pages, are accepted too: `experiments/omniglot.py:ridge`.
"""

import difflib
import importlib
import importlib.util
import os
from pathlib import Path
import sys
from types import ModuleType

ROOT = Path(__file__).resolve().parents[1]  # in this checkout
_FOLDER = ROOT / "experiments"


def recipes() -> dict[str, Path]:
  """Returns the files of the recipes of this checkout, by bare name."""
  return {path.stem: path for path in sorted(_FOLDER.glob("*/*.py"), key=lambda path: path.stem) if is_recipe(path)}


def is_recipe(path: Path) -> bool:
  """Returns whether a file defines both functions of a recipe."""
  text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
  return "def get_config(" in text and "def build(" in text


def split(recipe: str) -> tuple[str, list[str]]:
  """Returns a recipe without its argument, and a list of its argument, the text after the first colon, if any."""
  word, *argument = recipe.split(":", 1)
  return word, argument


def locate(recipe: str) -> Path:
  """Returns the file of a recipe that is given by bare name or by path.

  Raises:
    ValueError: if there is no such recipe (similar names are suggested), or the file is not a recipe.
  """
  word, _ = split(recipe)
  own, ours = Path(os.path.expanduser(word)), recipes()
  path = own if own.is_file() and word not in ours else ours.get(_bare(own))
  if path is None:
    raise ValueError(_missing(word, own, ours))
  if not is_recipe(path):
    raise ValueError(f"{word} is not a recipe: it must define get_config() and build(config).")
  return path


def name(recipe: str) -> str:
  """Returns the canonical name of a recipe, with its argument: bare if it is in this checkout, otherwise its path.

  Raises:
    ValueError: as in `locate`.
  """
  path = locate(recipe)
  bare = path.stem if path.resolve() in recipes().values() else str(path)
  return ":".join([bare, *split(recipe)[1]])


def same(one: str, other: str) -> bool:
  """Returns whether two names refer to the same recipe with the same argument; either may be a former path."""
  try:
    return one == other or name(one) == name(other)
  except ValueError:  # one of them no longer exists
    return False


def load(recipe: str) -> ModuleType:
  """Returns the module of a recipe.

  Raises:
    ValueError: as in `locate`.
  """
  path = locate(recipe)
  if path.resolve() in recipes().values():
    return importlib.import_module(".".join(path.resolve().relative_to(ROOT).with_suffix("").parts))
  spec = importlib.util.spec_from_file_location(path.stem, path)
  assert spec is not None and spec.loader is not None
  module = importlib.util.module_from_spec(spec)
  sys.modules.setdefault(path.stem, module)  # dataclasses look up their module
  spec.loader.exec_module(module)
  return module


def _bare(path: Path) -> str:
  """Returns the bare name of a path: a name without suffix, or that of a file now or formerly in experiments."""
  if path.suffix != ".py":
    return str(path)
  return path.stem if _FOLDER.name in (path.parent.name, path.parent.parent.name) else ""


def _missing(word: str, path: Path, ours: dict[str, Path]) -> str:
  beside = {other.stem: str(other) for other in sorted(path.parent.glob("*.py")) if is_recipe(other)}
  known = {**{bare: bare for bare in ours}, **beside}
  close = [known[each] for each in difflib.get_close_matches(path.stem, known, n=3)]
  where = "" if path.is_absolute() or path.suffix != ".py" else f" in {Path.cwd()}, the working directory"
  hint = f"; did you mean {' or '.join(close)}?" if close else f"; there are {', '.join(known.values())}."
  return f"recipe {word} does not exist{where}{hint}"
