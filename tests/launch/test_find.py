"""A recipe is found by its bare name, its path and its former path, and has one canonical name."""

import pytest

from launch import command_line, find
from metajax.lab import workdir

_MINE = "def get_config(learner='one'):\n  return learner\n\n\ndef build(config):\n  pass\n"


@pytest.fixture
def mine(tmp_path, monkeypatch):
  """A user's recipe in the working directory."""
  monkeypatch.chdir(tmp_path)
  (tmp_path / "mine.py").write_text(_MINE)
  return tmp_path / "mine.py"


def test_a_bare_name_is_of_one_file():
  files = [path for path in (find.ROOT / "experiments").rglob("*.py") if find.is_recipe(path)]
  assert len(find.recipes()) == len(files) > 10


@pytest.mark.parametrize("bare, older", [
    ("sinusoid_maml", "experiments/sinusoid_maml.py"), ("omniglot:ridge", "experiments/omniglot.py:ridge"),
    ("few_shot:maml", "/elsewhere/experiments/few_shot.py:maml"),
    ("icl_linear", "experiments/in_context/icl_linear.py"), ("table", str(find.ROOT / "experiments" / "table.py")),
    ("lake", str(find.ROOT / "experiments" / "few_shot" / "lake.py"))])
def test_all_names_of_a_recipe_are_one_from_any_folder(mine, bare, older):
  assert find.name(older) == find.name(bare) == bare and find.same(older, bare)
  assert find.locate(older).resolve() == find.recipes()[bare.split(":")[0]]
  assert command_line.run_name(bare) == bare.replace(":", "_")


def test_a_recipe_of_ones_own_is_a_path(mine, monkeypatch):
  assert find.name("mine.py:two") == "mine.py:two" and find.load("mine.py").get_config("two") == "two"
  monkeypatch.setenv("HOME", str(mine.parent))
  assert find.name("~/mine.py") == str(mine) and not find.same("~/mine.py:one", "~/mine.py:two")


def test_a_file_that_is_there_comes_before_a_path_of_old(mine):
  (mine.parent / "experiments").mkdir()
  mine.rename(mine.parent / "experiments" / "sinusoid.py")
  assert find.name("experiments/sinusoid.py") == "experiments/sinusoid.py"
  assert find.name("sinusoid") == "sinusoid"


@pytest.mark.bad_input
@pytest.mark.parametrize("typed, sentence", [
    ("omniglot_mamal:x", "recipe omniglot_mamal does not exist; did you mean omniglot_maml"),
    ("main.py", "recipe main.py does not exist in .*, the working directory; did you mean mine.py"),
    ("zzzz", "recipe zzzz does not exist; there are cifar_fs, clinc150, .*, vectors, mine.py"),
    ("settings", "recipe settings does not exist"), ("", "does not exist"),
    ("\x00", "does not exist"), ("~nobody-of-that-name/a.py", "does not exist"),
    (str(find.ROOT / "experiments" / "settings.py"), "settings.py is not a recipe")])
def test_what_cannot_be_found(mine, typed, sentence):
  with pytest.raises(ValueError, match=sentence):
    find.name(typed)


@pytest.mark.parametrize("older", ["experiments/sinusoid.py:ridge", "/gone/experiments/sinusoid.py:ridge"])
def test_a_workdir_under_an_older_path_is_the_same_run(tmp_path, older):
  workdir.claim(tmp_path / "run", older, {"seed": 0})
  for typed in (older, "sinusoid:ridge", "experiments/regression/sinusoid.py:ridge"):
    workdir.claim(tmp_path / "run", command_line.recorded(tmp_path / "run", find.name(typed)), {"seed": 0})
  assert command_line.recorded(tmp_path / "new", "sinusoid:ridge") == "sinusoid:ridge"
  for other in ("sinusoid:maml", "omniglot:ridge"):
    with pytest.raises(ValueError, match="recipe was '.*experiments/sinusoid.py:ridge' and is now"):
      workdir.claim(tmp_path / "run", command_line.recorded(tmp_path / "run", other), {"seed": 0})


def test_a_workdir_of_a_recipe_that_is_no_more_is_another_run(tmp_path):
  workdir.claim(tmp_path / "run", "gone.py", {})
  assert command_line.recorded(tmp_path / "run", "sinusoid:ridge") == "sinusoid:ridge"
