"""The list of recipes: each with what it needs and how long it takes."""

import json
from pathlib import Path

from absl import flags
from absl.testing import flagsaver
import pytest

from launch import command_line, recipes

_ROOT = Path(__file__).parents[2]
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
  page = recipes.read(tmp_path / "stones.py", tmp_path)
  assert page[1:] == ("Ridge regression on stones.", "one, two (more); three", "a quarry.", "not measured")
  (tmp_path / "stones.json").write_text(json.dumps({"minutes": 3.1, "machine": "two cores"}))
  assert recipes.read(tmp_path / "stones.py", tmp_path).takes == "3.1 min of training, measured on two cores"


def test_what_is_not_said_is_not_made_up(tmp_path):
  (tmp_path / "bare.py").write_text("def get_config():\n  pass\n\n\ndef build(config):\n  pass\n")
  assert recipes.read(tmp_path / "bare.py", tmp_path)[1:] == ("", "", "what its page says", "not measured")


def test_all_recipes_are_listed(capsys):
  with flagsaver.flagsaver(folder=str(_ROOT / "experiments"), results=str(_ROOT / "docs" / "results")):
    recipes.main([])
  out = capsys.readouterr().out
  names = [path.name for path in (_ROOT / "experiments").glob("*.py") if command_line.is_recipe(path)]
  assert len(names) > 10 and all(f"/{name}" in out for name in names) and "settings.py" not in out
  assert "omniglot.py:<learner>\n" in out and "needs: nothing but metajax" in out and "min of training" in out


def test_a_folder_without_recipes(tmp_path):
  with flagsaver.flagsaver(folder=str(tmp_path)), pytest.raises(ValueError, match="holds no recipe"):
    recipes.main([])


@pytest.mark.parametrize("name", ["quickstart", "omniglot", "sinusoid_maml", "icl_images", "icl_linear"])
def test_a_recipe_says_what_it_needs(name):
  page = recipes.read(_ROOT / "experiments" / f"{name}.py", _ROOT / "docs" / "results")
  assert page.title.endswith(".") and ("Omniglot" in page.needs or "metajax" in page.needs)
