"""The table of learners: consequences of its rows. No other file needs to name a learner."""

import re

import pytest

from experiments import learner_table
from experiments.learner_table import TABLE
from experiments.regression import sinusoid
from launch import find
from metajax import learners
from tests.learners.table import ROWS

# Places that may name a learner: its file, its line in learners/__init__.py, its rows in the contract table and here.
_PLACES = 4
_OWN_PAGE = "a baseline with its own recipes and objectives, the example of docstrings, the default of recipes"
# The learners that may be named elsewhere, and why. A new learner needs no entry here.
_EXCEPTED = {
    "maml": f"{_OWN_PAGE}; others build on its inner loop", "protonet": f"{_OWN_PAGE}; others build on its prototypes",
    "ridge": "the example of docstrings, the default of recipes",
    "in_context": "a kind of recipe, with its own folder and objective"}
_FILES = [*(find.ROOT / "metajax").rglob("*.py"), *(find.ROOT / "experiments").rglob("*.py"),
          find.ROOT / "tests" / "learners" / "table.py"]
_TEXTS = {str(path.relative_to(find.ROOT)): path.read_text(encoding="utf-8") for path in _FILES}


def _naming(name):
  """Returns the files that mention a learner by name."""
  return [path for path, text in _TEXTS.items() if re.search(rf"\b{name}\b", text)]


@pytest.mark.parametrize("name", [name for name in TABLE if name not in _EXCEPTED])
def test_a_learner_is_named_in_four_files(name):
  assert len(_naming(name)) <= _PLACES, _naming(name)


@pytest.mark.parametrize("name", _EXCEPTED)
def test_every_exception_is_needed(name):
  assert name in TABLE and len(_naming(name)) > _PLACES


def test_every_learner_of_the_library_is_offered_and_tested():
  combinators = {"with_projection"}  # a learner built from another learner
  library = {name for name in vars(learners) if callable(getattr(learners, name))} - combinators
  assert library <= set(TABLE) and library <= {name for each in ROWS for name in TABLE if each.startswith(name)}


def test_every_row_is_offered_by_an_existing_kind():
  kinds = {"sinusoids", "images", "vectors"}
  for name, row in TABLE.items():
    assert kinds & set(row.offered) and set(row.offered) <= {*kinds, "photographs"}, name
    assert not (row.classes_only and "sinusoids" in row.offered), name


def test_settings_are_merged_group_by_group():
  one = {"filters": 64, "training": {"steps": 1, "learning_rate": 0.1}}
  assert learner_table.merged(one, {}, {"training": {"steps": 2}, "shots": 3}) == {
      "filters": 64, "training": {"steps": 2, "learning_rate": 0.1}, "shots": 3}
  assert one["training"]["steps"] == 1  # the rows are unchanged


def test_settings_of_a_row_take_precedence_over_those_of_a_trait():
  found = learner_table.defaults("vectors", lambda row: {"inner_steps": 7, "hidden": (3,)} if row.implicit else {})
  assert found["imaml"] == {"inner_steps": 5, "test_inner_steps": 5, "hidden": (3,)} and found["cnp"] == {}
  assert list(found) == list(learner_table.offered("vectors"))


def test_a_learner_of_another_kind_is_unknown():
  with pytest.raises(ValueError, match="config.learner='cnaps' is not known; choose one of maml, fomaml, "):
    learner_table.check(sinusoid.Config(learner="cnaps"), "sinusoids")
