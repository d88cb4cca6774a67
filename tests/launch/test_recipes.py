"""The list of recipes, with their requirements and training times."""

import ast
import json
import re

from absl import flags
from absl.testing import flagsaver
import pytest

from launch import find, recipes
from tests.test_import_law import SOURCES

_PAGE = '''"""Ridge regression
on stones.

Learners: one, two (more);
three.
Needs: a quarry.
Command: none
"""


def get_config():
  raise RuntimeError("imported")


def build(config):
  pass
'''


@pytest.fixture(autouse=True)
def parsed():
  flags.FLAGS.mark_as_parsed()


def test_a_page_is_read_without_importing_it(tmp_path):
  (tmp_path / "stones.py").write_text(_PAGE)
  page = recipes.read("stones", tmp_path / "stones.py", tmp_path)
  assert page == ("stones", "Ridge regression on stones.", "one, two (more); three", "a quarry.", "not measured")
  (tmp_path / "stones.json").write_text(json.dumps({"minutes": 3.1, "machine": "two cores"}))
  assert recipes.read("stones", tmp_path / "stones.py", tmp_path).takes == "3.1 min of training, measured on two cores"


def test_what_is_not_said_is_not_made_up(tmp_path):
  (tmp_path / "bare.py").write_text("def get_config():\n  pass\n\n\ndef build(config):\n  pass\n")
  assert recipes.read("bare", tmp_path / "bare.py", tmp_path)[1:] == ("", "", "see its docstring", "not measured")


def test_all_recipes_are_listed(capsys):
  recipes.main([])
  out = capsys.readouterr().out
  listed = re.findall(r"^(\w+)(?::<learner>)?$", out, re.M)
  assert listed == list(find.recipes()) and len(listed) > 10 and "settings" not in listed
  assert "omniglot:<learner>\n" in out and "learners: maml, fomaml, " in out and "learners: ridge, " not in out
  assert "needs: nothing but metajax" in out and "min of training" in out
  assert "install: pip install 'metajax[lab]'" in out and "install: pip install 'metajax[lab,data]'" in out


def test_recipes_of_another_folder_are_listed_and_not_run(tmp_path, capsys):
  (tmp_path / "stones.py").write_text(_PAGE)
  with flagsaver.flagsaver(folder=str(tmp_path)):
    recipes.main([])
  assert f"{tmp_path}/stones.py:<learner>\n  Ridge regression on stones.\n" in capsys.readouterr().out


def test_a_folder_without_recipes(tmp_path):
  with flagsaver.flagsaver(folder=str(tmp_path)), pytest.raises(ValueError, match="holds no recipe"):
    recipes.main([])


@pytest.mark.parametrize("name", find.recipes())
def test_a_recipe_says_what_it_needs(name):
  page = recipes.read(name, find.recipes()[name], find.ROOT / "docs" / "results")
  assert page.title.endswith(".") and page.needs != "see its docstring"


def _loaded(module, seen):
  """Adds to `seen` what importing a module imports: itself, and by its imports outside of functions."""
  if module in SOURCES and module not in seen:
    seen.add(module)
    _loaded(module.rpartition(".")[0], seen)
    for node in ast.parse(SOURCES[module]).body:
      if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
      elif isinstance(node, ast.ImportFrom):
        names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
      else:
        continue
      for name in names:
        _loaded(name, seen)


@pytest.mark.parametrize("name", find.recipes())
def test_a_recipe_says_which_extras_it_needs(name):
  seen: set = set()
  _loaded(".".join(find.recipes()[name].relative_to(find.ROOT).with_suffix("").parts), seen)
  assert {"experiments.settings", "metajax.lab"} <= seen
  extras = recipes.extras(recipes.read(name, find.recipes()[name], find.ROOT / "docs" / "results"))
  assert extras == ("lab,data" if "metajax.data" in seen else "lab")
