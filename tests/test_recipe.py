"""Whole runs in miniature: what they leave, how they go on, and that every recipe runs with ConML and without."""

import csv
import dataclasses
import importlib
import json
from pathlib import Path

import numpy as np
import pytest

from experiments import sinusoid_maml
from metajax import recipe as recipe_lib
from metajax.checkpoints import Checkpoints
from metajax.data import glyphs
from metajax.recipe import Test as Lists
from metajax.recipe import Training


def build_sinusoid(*, steps=8, conml=True, pictures=False):
  """Returns a sinusoid recipe of `steps` steps, a row every 2 and a checkpoint every 4."""
  config = sinusoid_maml.Config(
      shots=3, queries=3, test_queries=5, hidden=(4,), conml=conml, test=Lists(episodes=6, val_episodes=4),
      training=Training(steps=steps, tasks_per_step=8, steps_per_row=2, steps_per_dispatch=2, rows_per_checkpoint=2))
  built = sinusoid_maml.build(config)
  return built if pictures else built._replace(pictures=lambda params, key: {})


def run(built, workdir):
  """Runs a recipe; returns what it said and its results."""
  said = []
  return said, recipe_lib.run(built, workdir, say=said.append)


def rows(workdir):
  with open(workdir / "metrics.csv", newline="") as file:
    return list(csv.DictReader(file))


def episodes(workdir, name="test"):
  with np.load(workdir / f"{name}_episodes.npz") as arrays:
    return {key: arrays[key] for key in arrays}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
  """The workdir, words and results of a run that nothing interrupted, pictures and all."""
  workdir = tmp_path_factory.mktemp("whole")
  return workdir, *run(build_sinusoid(pictures=True), workdir)


def test_a_run_leaves_what_it_promises(whole):
  workdir, said, results = whole
  for name in ("metrics.csv", "test.json", "test_episodes.npz", "curves.png", "fit.png", "task_map.png"):
    assert (workdir / name).stat().st_size > 0, name
  assert all((workdir / f"{name}.png").read_bytes().startswith(b"\x89PNG") for name in ("curves", "fit", "task_map"))
  assert list((workdir / "tensorboard").glob("events.out.tfevents.*"))
  with Checkpoints(workdir / "checkpoints", read_only=True) as checkpoints:
    assert checkpoints.steps() == [4, 8]
  assert not (workdir / "checkpoints-damaged").exists()

  table = rows(workdir)
  assert [row["step"] for row in table] == ["2", "4", "6", "8"]
  assert {"loss", "episodic_loss", "contrastive_loss", "d_in", "d_out", "gradient_norm", "val_loss"} <= set(table[0])
  assert [bool(row["val_loss"]) for row in table] == [False, True, False, True]

  summary = json.loads((workdir / "test.json").read_text())
  values = episodes(workdir)["loss"]
  assert summary["episodes"] == 6 == len(values) and summary["test_seed"] == 0
  np.testing.assert_allclose(summary["results"]["loss"]["mean"], values.mean(dtype=np.float64), rtol=1e-12)
  np.testing.assert_allclose(summary["results"]["loss"]["interval_95"],
                             1.96 * values.astype(np.float64).std(ddof=1) / np.sqrt(6), rtol=1e-12)
  assert results["loss"].mean == summary["results"]["loss"]["mean"]
  assert summary["notes"] in said and "Sinusoids" in summary["notes"]


def test_an_ended_run_is_not_trained_again(whole, monkeypatch):
  workdir, _, _ = whole
  before, values = {name: (workdir / name).read_bytes() for name in ("metrics.csv", "test.json")}, episodes(workdir)
  monkeypatch.setattr(recipe_lib, "make_advance", None)  # whoever compiles a step fails
  said, _ = run(build_sinusoid(), workdir)
  assert any(sentence.startswith("Resuming after step 8") for sentence in said)
  assert {name: (workdir / name).read_bytes() for name in before} == before
  np.testing.assert_array_equal(episodes(workdir)["loss"], values["loss"], strict=True)


class _Interrupted(Exception):
  pass


@pytest.mark.parametrize("seen", [1, 2, 3])
def test_interrupted_and_resumed_is_the_same_to_the_byte(whole, tmp_path, monkeypatch, seen):
  unbroken, _, _ = whole
  real = recipe_lib.fit

  def interrupted(*arguments, hooks, **options):
    left = iter(range(seen))

    def stop(step, state, metrics):
      del step, state, metrics
      if next(left) == seen - 1:
        raise _Interrupted

    return real(*arguments, hooks=[*hooks, stop], **options)

  monkeypatch.setattr(recipe_lib, "fit", interrupted)
  with pytest.raises(_Interrupted):
    run(build_sinusoid(), tmp_path)
  assert len(rows(tmp_path)) == seen and not (tmp_path / "test.json").exists()
  monkeypatch.setattr(recipe_lib, "fit", real)
  said, _ = run(build_sinusoid(), tmp_path)
  assert any("Resuming after step 4" in sentence for sentence in said) == (seen > 1)  # 4 is the first checkpoint
  assert (tmp_path / "metrics.csv").read_bytes() == (unbroken / "metrics.csv").read_bytes()
  assert (tmp_path / "test.json").read_bytes() == (unbroken / "test.json").read_bytes()
  for name, values in episodes(unbroken).items():
    np.testing.assert_array_equal(episodes(tmp_path)[name], values, strict=True)


def test_a_longer_run_goes_on_from_a_shorter_one(whole, tmp_path):
  unbroken, _, _ = whole
  run(build_sinusoid(steps=4), tmp_path)
  run(build_sinusoid(steps=8), tmp_path)
  assert (tmp_path / "metrics.csv").read_bytes() == (unbroken / "metrics.csv").read_bytes()


def test_restore_gives_the_trained_state(whole, tmp_path):
  workdir, _, _ = whole
  state = recipe_lib.restore(build_sinusoid(), workdir)
  assert int(state.step) == 8
  again = recipe_lib.test(build_sinusoid(), state.params, tmp_path, name="again", say=lambda _: None)
  np.testing.assert_array_equal(again["loss"].values, episodes(workdir)["loss"])
  with pytest.raises(ValueError, match="has no checkpoint yet; train first"):
    recipe_lib.restore(build_sinusoid(), tmp_path)
  assert not (tmp_path / "checkpoints").exists()


def test_check_refuses_what_cannot_be_traced():
  built = build_sinusoid()
  recipe_lib.check(built)

  def refuses(params, episodes, key):
    raise ValueError("this cannot be")

  with pytest.raises(ValueError, match="this cannot be"):
    recipe_lib.check(built._replace(objective=refuses))


_SMALL = {"filters": 4, "hidden": (4,), "queries": 1, "test_queries": 1, "train_ways": 5, "train_queries": 1,
          "norm": "none"}


def _small(config, **changes):
  names = {field.name for field in dataclasses.fields(config)}
  small = {name: value for name, value in {**_SMALL, **changes}.items() if name in names}
  # A checkpoint costs more than both steps, so there is one, at the end.
  training = dataclasses.replace(config.training, steps=2, tasks_per_step=2, steps_per_row=1, rows_per_checkpoint=2)
  return dataclasses.replace(config, training=training, test=Lists(episodes=2, val_episodes=2), **small)


@pytest.fixture(scope="module")
def _cache(tmp_path_factory):
  """A cache of its own, not the user's."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv("METAJAX_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
    yield


@pytest.fixture
def _data(request, _cache):
  """The data of a recipe, or a loud skip."""
  recipe = request.getfixturevalue("name")
  if recipe.startswith("omniglot"):
    request.getfixturevalue("data_dir")
  if recipe == "quickstart":
    try:
      glyphs.load("train")
    except FileNotFoundError as error:
      pytest.skip(f"the quickstart goes UNTESTED: {error}")


@pytest.mark.usefixtures("_data")
@pytest.mark.parametrize("conml", [True, False])
@pytest.mark.parametrize("name", ["sinusoid_maml", "quickstart", "omniglot_maml", "omniglot_protonet", "icl_linear",
                                  "icl_sparse", "icl_tree", "icl_network"])
def test_every_recipe_runs(name, conml, tmp_path):
  module = importlib.import_module(f"experiments.{name}")
  built = module.build(_small(module.get_config(), conml=conml, data="glyphs"))
  recipe_lib.check(built)
  if not conml:
    built = built._replace(pictures=lambda params, key: {})  # drawn with ConML, and the same without
  said, results = run(built, tmp_path)
  table = rows(tmp_path)
  assert len(table) == 2 and ("d_out" in table[0]) == conml
  assert set(results) == {"loss", *built.scores} and all(np.isfinite(result.mean) for result in results.values())
  assert len(list(tmp_path.glob("*.png"))) == (1 if not conml else 2 if name.startswith("icl") else 3)
  assert built.notes in said


def test_every_recipe_is_tested_here():
  files = {path.stem for path in Path(sinusoid_maml.__file__).parent.glob("*.py")
           if "def get_config(" in path.read_text()}
  tested = next(mark for mark in test_every_recipe_runs.pytestmark if mark.args[0] == "name").args[1]
  assert files == set(tested)
