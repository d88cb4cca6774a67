"""Small comparisons: paired results, files, resuming, and arms that cannot be compared."""

import dataclasses
import functools
import json
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.in_context import icl_linear
from experiments.regression import sinusoid
from launch import arms as words
from metajax.lab import compare as compare_lib
from metajax.lab import seeds as seeds_lib
from metajax.lab.compare import Arm, Sweep, compare
from metajax.lab.recipe import Test as Lists
from metajax.lab.recipe import Training
from metajax.tasks.sampling import sample_tasks
from metajax.training.evaluation import make_evaluate

_CONFIG = sinusoid.Config(
    shots=3, queries=3, test_queries=5, hidden=(4,), test=Lists(episodes=6),
    training=Training(steps=4, tasks_per_step=4, steps_per_row=2, steps_per_dispatch=2, rows_per_checkpoint=1))
_SWEEPS = [Sweep("test_shots", (2, 4), {"others": {4: 0.5}})]


def arms(text="none,both", config=_CONFIG):
  build = lambda own, changes: sinusoid.build(words.changed(own, changes))
  return [Arm(name, functools.partial(build, own)) for name, own in words.parse(config, text).items()]


def run(folder, text="none,both,config.contrast.weight=0", **options):
  options = {"seeds": (0, 1), "sweeps": _SWEEPS, "say": lambda sentence: None, **options}
  return compare(arms(text, options.pop("config", _CONFIG)), folder=folder, **options)


def assert_same(folder, whole):
  """Asserts that the measurements of two comparisons are identical bit for bit, except times."""
  for arm in ("none", "both"):
    with np.load(folder / arm / "arm.npz") as found, np.load(whole / arm / "arm.npz") as wanted:
      assert set(found) == set(wanted)
      for key in set(wanted) - {"seconds", "minutes"}:
        np.testing.assert_array_equal(found[key], wanted[key], err_msg=key)


@pytest.fixture(scope="module", autouse=True)
def few_models():
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(compare_lib, "_NUM_MODELS", 10)
    yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
  folder = tmp_path_factory.mktemp("whole")
  return folder, run(folder, about={"command": "x"})


def test_files_of_a_comparison(whole):
  folder, results = whole
  assert json.loads((folder / "results.json").read_text()) == results
  assert results["command"] == "x" and results["seeds"] == [0, 1] and results["reference"] == "none"
  assert list(results["arms"]) == ["none", "both", "contrast.weight=0"]
  page = (folder / "report.html").read_text()
  assert page.count('src="data:image/png;base64,') == page.count('src="') == 7
  assert "<script" not in page and "<link" not in page
  both = results["arms"]["both"]
  assert set(both["models"]) == {"d_in", "d_out", "silhouette", "calinski_harabasz"}
  assert both["step_ratio"] > 0 and both["memory_ratio"] > 1 and both["diverged_trainings"] == 0
  assert "difference" not in results["arms"]["none"]["test"]["loss"]


def test_numbers_are_those_of_the_trained_models(whole, tmp_path):
  folder, results = whole
  recipe = sinusoid.build(dataclasses.replace(_CONFIG, conml=False, test_shots=4))
  trained = seeds_lib.train(recipe, (0, 1), tmp_path, group=1, say=lambda sentence: None)
  evaluate = make_evaluate(recipe.test_learner, recipe.loss, {}, recipe.test_tasks, num_episodes=6,
                           key=jax.random.key(0))
  wanted = [evaluate(jax.tree.map(lambda leaf: leaf[seed], trained.params))["loss"].mean for seed in (0, 1)]
  row = results["sweeps"]["test_shots"]["arms"]["none"][1]["loss"]
  np.testing.assert_allclose(row["by_seed"], wanted, rtol=1e-4)
  assert row["over_seeds"]["mean"] == pytest.approx(np.mean(wanted), rel=1e-4)
  assert results["sweeps"]["test_shots"]["values"] == [2, 4]
  assert results["sweeps"]["test_shots"]["references"] == {"others": [None, 0.5]}


def test_arms_are_paired(whole):
  _, results = whole
  same = results["arms"]["contrast.weight=0"]["test"]["loss"]  # ConML without a weight is the plain objective
  assert abs(same["difference"]["over_seeds"]["mean"]) < 1e-6
  np.testing.assert_allclose(same["by_seed"], results["arms"]["none"]["test"]["loss"]["by_seed"], rtol=1e-5)
  found = [np.load(whole[0] / name / "arm.npz")["test/loss"] for name in ("none", "both")]
  gap = results["arms"]["both"]["test"]["loss"]["difference"]
  assert gap["over_seeds"]["mean"] == pytest.approx(np.mean(found[1].astype(float) - found[0]), rel=1e-5, abs=1e-9)


def test_gains_along_a_sweep():
  costs = {name: np.array(1.0) for name in ("seconds", "memory", "diverged_trainings")} | {"minutes": np.ones(2)}
  curve = lambda losses: {"test/loss": np.ones((2, 3)), **costs, **{
      f"sweep/test_points/{place}/loss": np.full((2, 3), loss) for place, loss in enumerate(losses)}}
  found = {"none": curve([4, 2, 1]), "both": curve([4, 1, 0.5])}
  sweep = Sweep("test_points", (2, 3, 5))
  gains = compare_lib.summarise(found, [sweep])["sweeps"]["test_points"]["gains"]["both"]
  assert gains["relative_minimum"].mean == 0.5 and gains["spared"].mean == -2
  rising = {"none": curve([1, 2, 4]), "both": curve([1, 2, 3])}
  assert compare_lib.summarise(rising, [sweep])["sweeps"]["test_points"]["gains"]["both"] is None


def test_finished_arms_are_not_repeated(whole, monkeypatch, tmp_path):
  folder, results = whole
  monkeypatch.setattr(seeds_lib, "train", None)
  again = run(folder, about={"command": "x"})
  assert again == results
  with pytest.raises(TypeError):  # other comparisons have work left
    run(tmp_path)


def test_an_interrupted_comparison_resumes_bit_for_bit(whole, tmp_path):
  class Stop(Exception):
    pass

  saved = seeds_lib.Checkpoints.save

  def save_and_stop(checkpoints, step, *rest):
    saved(checkpoints, step, *rest)
    raise Stop  # after the first two of four steps

  def stop(*_):
    raise Stop  # when everything is trained and nothing is written

  for where, name, instead in ((seeds_lib.Checkpoints, "save", save_and_stop), (compare_lib, "_measure", stop)):
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stop):
      patch.setattr(where, name, instead)
      run(tmp_path, "none,both")
  assert not list(tmp_path.glob("*/arm.npz"))
  run(tmp_path, "none,both")
  assert_same(tmp_path, whole[0])


@pytest.mark.slow
def test_a_killed_comparison_resumes_bit_for_bit(tmp_path):
  settings = {"steps": 600, "steps_per_row": 20, "steps_per_dispatch": 20, "rows_per_checkpoint": 1}
  command = [sys.executable, "-m", "launch.compare", "--config=sinusoid:maml", "--seeds=2",
             "--arms=none,both", "--sweeps=none", "--config.test.episodes=20",
             *(f"--config.training.{name}={value}" for name, value in settings.items())]
  subprocess.run([*command, f"--workdir={tmp_path / 'whole'}"], check=True, capture_output=True)
  for arm in ("none", "both"):
    with subprocess.Popen([*command, f"--workdir={tmp_path / 'killed'}"]) as process:
      metrics = tmp_path / "killed" / arm / "seeds_0_to_1" / "checkpoints"
      while process.poll() is None and len(list(metrics.glob("[0-9]*"))) < 1:
        time.sleep(0.02)
      process.kill()
    assert process.returncode == -signal.SIGKILL and not (tmp_path / "killed" / arm / "arm.npz").exists()
  subprocess.run([*command, f"--workdir={tmp_path / 'killed'}"], check=True, capture_output=True)
  assert_same(tmp_path / "killed", tmp_path / "whole")


def test_more_seeds_train_only_the_missing_ones(tmp_path, monkeypatch):
  run(tmp_path / "grown", "none,both", group=1)
  trained, real = [], seeds_lib._row
  monkeypatch.setattr(seeds_lib, "_row", lambda *arguments: (trained.append(1), real(*arguments))[1])
  results = run(tmp_path / "grown", "none,both", group=1, seeds=(0, 1, 2))
  assert results["seeds"] == [0, 1, 2] and len(trained) == 2 * 2  # two rows of the third seed, in two arms
  run(tmp_path / "whole", "none,both", group=1, seeds=(0, 1, 2))
  assert_same(tmp_path / "grown", tmp_path / "whole")
  before = (tmp_path / "grown" / "none" / "arm.npz").read_bytes()
  for seeds in ((0, 1), (0, 2, 3, 4)):
    with pytest.raises(ValueError, match=r"compares arms over the seeds \[0, 1, 2\], but the given seeds are"):
      run(tmp_path / "grown", "none,both", group=1, seeds=seeds)
  assert (tmp_path / "grown" / "none" / "arm.npz").read_bytes() == before


def test_incomparable_arms_are_rejected(tmp_path):
  with pytest.raises(ValueError, match="other test episodes"):
    run(tmp_path, "none,config.test_shots=7")
  with pytest.raises(ValueError, match="at least 2 arms and 2 seeds"):
    run(tmp_path, "none")
  with pytest.raises(ValueError, match="at least 2 arms and 2 seeds"):
    run(tmp_path, seeds=(0,))
  with pytest.raises(ValueError, match="need different names"):
    compare([*arms(), *arms()], seeds=(0, 1), folder=tmp_path)
  with pytest.raises(ValueError, match="config.test_shots=0"):
    run(tmp_path, sweeps=[Sweep("test_shots", (2, 0))])
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("field, value", [("patience", 3), ("keep_best", "-val_loss")])
def test_a_run_that_chooses_its_own_step_is_not_compared(field, value):
  config = dataclasses.replace(_CONFIG, training=dataclasses.replace(_CONFIG.training, **{field: value}))
  with pytest.raises(ValueError, match=f"config.training.{field}=.* comparison.*; leave it"):
    compare_lib.check(arms(config=config), [0, 1])


def test_a_diverged_training_is_reported(tmp_path):
  results = run(tmp_path, "none,config.training.learning_rate=1e38", sweeps=())
  arm = results["arms"]["training.learning_rate=1e38"]
  assert arm["diverged_trainings"] == 2 and arm["test"]["loss"]["diverged"] == 1.0
  assert arm["test"]["loss"]["over_seeds"]["mean"] is None and "inconclusive" in (
      tmp_path / "report.html").read_text()


def test_references_along_a_prompt():
  config = dataclasses.replace(icl_linear.get_config(), points=4, dimensions=2, test=Lists(episodes=3))
  found = icl_linear.compared_with(config)["test_points"]
  assert all(set(curve) == {1, 2, 3, 4} for curve in found.values()) and {"least squares", "averaging"} <= set(found)
  assert found["least squares"][4] < 1e-9 < found["least squares"][2]  # in two dimensions, three examples suffice
  tasks = icl_linear.build(config).test_tasks
  first = sample_tasks(tasks, tasks.data, jax.random.key(config.test.seed), jnp.arange(3)).support.targets[:, 0, 0]
  assert found["averaging"][1] == pytest.approx(float(jnp.mean(first**2)), rel=1e-5)  # without an example: zero
  shorter = icl_linear.build(dataclasses.replace(config, test_points=2)).test_tasks
  episode = shorter.sample(shorter.data, jax.random.key(0))
  assert episode.support.inputs.shape == (1, 2) and episode.query.inputs.shape == (1, 2)
  for points in (1, 5):
    with pytest.raises(ValueError, match=f"config.test_points={points} must be 0, or 2 to config.points=4"):
      icl_linear.build(dataclasses.replace(config, test_points=points))


def test_psi_may_be_the_change_of_the_weights():
  learner = sinusoid.build(dataclasses.replace(_CONFIG, psi="change")).learner
  params, adapted = {"w": np.ones(2, np.float32)}, {"w": np.full(2, 3.0, np.float32)}
  np.testing.assert_array_equal(learner.represent(params, adapted, jax.random.key(0))["w"], [2.0, 2.0])
