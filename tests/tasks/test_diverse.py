"""Diverse meta-batches: probabilities match the determinants, and tasks are less similar."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metajax.tasks.augmentation import augmented, flip
from metajax.tasks.class_data import from_arrays
from metajax.tasks.classes import class_tasks
from metajax.tasks.diverse import diverse, k_dpp, mean_of_class_means
from metajax.tasks.sampling import sample_tasks
from metajax.tasks.task_augmentation import interpolated

pytestmark = pytest.mark.usefixtures("compiled_quickly")

RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_a_set_is_as_likely_as_its_determinant(k):
  vectors = RANDOM.normal(size=(5, 4)).astype(np.float32)
  kernel = vectors @ vectors.T + 0.1 * np.eye(5, dtype=np.float32)
  draws = 20_000
  found = np.asarray(jax.jit(jax.vmap(lambda key: k_dpp(key, kernel, k)))(jax.random.split(jax.random.key(k), draws)))
  sets = list(itertools.combinations(range(5), k))
  weights = np.asarray([np.linalg.det(kernel[np.ix_(each, each)].astype(np.float64)) for each in sets])
  counts = np.asarray([(np.sort(found, axis=1) == each).all(axis=1).sum() for each in sets])
  assert counts.sum() == draws  # distinct, always
  chances = weights / weights.sum()
  np.testing.assert_allclose(counts / draws, chances, atol=4.5 * np.sqrt(chances.max() / draws))
  assert np.abs(np.bincount(found[:, 0], minlength=5) - np.bincount(found[:, -1], minlength=5)).max() < 0.03 * draws


def test_all_candidates_can_be_selected():
  kernel = np.ones((4, 4), np.float32)  # of rank one: all determinants of two are zero up to rounding
  found = jax.jit(jax.vmap(lambda key: k_dpp(key, kernel, 4)))(jax.random.split(jax.random.key(0), 50))
  np.testing.assert_array_equal(np.sort(found, axis=1), [[0, 1, 2, 3]] * 50)


def tasks():
  random = np.random.default_rng(1)
  centres = random.normal(size=(12, 1, 4, 4, 1))
  centres[:9] *= 0.1  # most classes, and therefore most tasks, are similar
  images = centres + 0.1 * random.normal(size=(12, 5, 4, 4, 1))
  data = from_arrays(images.reshape(60, 4, 4, 1).astype(np.float32), np.repeat(np.arange(12), 5))
  return class_tasks(data, ways=2, shots=2, queries=2)


def test_tasks_of_a_meta_batch_are_less_alike():
  plain = tasks()
  chosen = diverse(plain, num_tasks=4, candidates=24)
  keys, places = jax.random.split(jax.random.key(1), 60), jnp.arange(4, dtype=jnp.int32)

  def apart(some):
    def one(key):
      vectors = jax.vmap(mean_of_class_means)(sample_tasks(some, some.data, key, places))
      return jnp.mean(jnp.var(vectors, axis=0))

    return np.asarray(jax.jit(lambda keys: jax.lax.map(one, keys))(keys)).mean()

  assert apart(chosen) > 1.1 * apart(plain)


def test_a_task_is_a_function_of_its_place():
  chosen = diverse(interpolated(augmented(tasks(), flip), stages=2), num_tasks=4, candidates=8)
  draw = jax.jit(lambda places: sample_tasks(chosen, chosen.data, jax.random.key(2), places))
  whole = draw(jnp.arange(6, dtype=jnp.int32))
  for place in range(6):  # the tasks at 4 and 5 are sampled separately
    alone = draw(jnp.full(6, place, jnp.int32))
    jax.tree.map(lambda one, all_of_them, place=place: np.testing.assert_array_equal(one[0], all_of_them[place]),
                 alone, whole)
  assert len({task.tobytes() for task in np.asarray(whole.support.inputs.one)}) == 6


def test_classes_have_equal_weight_for_any_shots():
  episode = jax.tree.map(lambda leaf: leaf, tasks().sample(tasks().data, jax.random.key(0)))
  support = episode.support._replace(inputs=jnp.asarray([[1.0], [5.0], [9.0], [7.0]]),
                                     targets=jnp.asarray([0, 0, 1, 1]), mask=jnp.asarray([True, True, True, False]))
  np.testing.assert_allclose(mean_of_class_means(episode._replace(support=support)), [6.0], rtol=1e-6)


@pytest.mark.parametrize("settings", [{"num_tasks": 1, "candidates": 4}, {"num_tasks": 5, "candidates": 4}])
def test_invalid_arguments_are_rejected(settings):
  with pytest.raises(ValueError, match="at least 2 tasks, and at least as many candidates"):
    diverse(tasks(), **settings)
