"""Seeds as an axis: each seed trains as it would alone, for any group size; interruptions change nothing."""

import jax
import numpy as np
import pytest

from experiments.regression import sinusoid
from metajax.lab import run as runs
from metajax.lab import seeds as seeds_lib
from metajax.lab.recipe import Test as Lists
from metajax.lab.recipe import Training

_SEEDS = (3, 4, 5)


def build(*, steps=6, seed=0):
  config = sinusoid.Config(
      shots=3, queries=3, hidden=(4,), seed=seed, test=Lists(episodes=4, val_episodes=2),
      training=Training(steps=steps, tasks_per_step=4, steps_per_row=2, steps_per_dispatch=2, rows_per_checkpoint=1))
  return sinusoid.build(config)


def train(folder, recipe=None, group=3, seeds=_SEEDS, **options):
  return seeds_lib.train(recipe or build(), seeds, folder, group=group, say=lambda sentence: None, **options)


def assert_close(first, second):
  for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


@pytest.fixture(scope="module")
def together(tmp_path_factory):
  return train(tmp_path_factory.mktemp("together"))


def test_a_seed_is_the_run_of_that_seed(together, tmp_path):
  alone = runs.train(build(seed=4)._replace(val_tasks=None), tmp_path, say=lambda sentence: None)
  assert_close(alone.params, jax.tree.map(lambda leaf: leaf[1], together.params))
  assert not np.allclose(together.params["Dense_0"]["kernel"][0], together.params["Dense_0"]["kernel"][1], atol=1e-3)


def test_the_group_size_changes_nothing(together, tmp_path):
  apart = train(tmp_path, group=2)  # two, then a single one, which is not vmapped
  assert_close(together.params, apart.params)
  assert together.metrics.keys() == apart.metrics.keys() >= {"step", "loss", "d_in", "d_out"}
  assert_close(together.metrics, apart.metrics)
  np.testing.assert_array_equal(together.metrics["step"], [2, 4, 6])
  assert together.metrics["loss"].shape == (3, 3)
  assert together.seconds > 0 and together.memory > 0


@pytest.mark.parametrize("vmapped", [False, True])
def test_seeds_share_a_device(tmp_path, monkeypatch, vmapped):
  devices = jax.devices()[:2]
  monkeypatch.setattr(jax, "devices", lambda: devices)  # two seeds on each of two
  seeds = (3, 4, 5, 6)
  found = train(tmp_path, build(steps=2), group=4, seeds=seeds, vmapped=vmapped)
  alone = train(tmp_path / "alone", build(steps=2), group=1, seeds=seeds[3:])
  assert_close(jax.tree.map(lambda leaf: leaf[3:], found.params), alone.params)


def test_an_interrupted_training_resumes(together, tmp_path):
  train(tmp_path, build(steps=4))
  assert_close(together.params, train(tmp_path).params)
  again = train(tmp_path)
  assert_close(together.metrics, again.metrics)  # nothing is left to train
  # Earlier training counts: of three rows, with two steps of three seeds, two take the median time or longer.
  assert again.total > 0.99 * 2 * 2 * 3 * again.seconds > 0


def test_small_networks_are_trained_together():
  assert seeds_lib.at_once(build(), 8) == 8
  large = sinusoid.build(sinusoid.Config(hidden=(200, 200)))
  assert seeds_lib.at_once(large, 8) == 1


def test_invalid_arguments():
  with pytest.raises(ValueError, match="at least one seed"):
    train(None, seeds=())
  with pytest.raises(ValueError, match="at least one seed"):
    train(None, group=0)
