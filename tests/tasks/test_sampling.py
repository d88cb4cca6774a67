"""An episode is a function of data, key and index only, not of the rest of the meta-batch."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metajax.tasks.class_data import ClassData
from metajax.tasks.classes import class_tasks
from metajax.tasks.sampling import sample_tasks
from metajax.tasks.sinusoids import sinusoids

CLASSES = ClassData(np.arange(60, dtype=np.float32)[:, None], np.asarray([10, 20, 30], np.int32), ("a", "b", "c"), "")
TASKS = {"classes": class_tasks(CLASSES, ways=2, shots=2, queries=3), "sinusoids": sinusoids(2, 3)}
each_kind = pytest.mark.parametrize("kind", TASKS)


SAMPLERS = {kind: jax.jit(functools.partial(sample_tasks, tasks)) for kind, tasks in TASKS.items()}


def sample(kind, places, seed=0):
  episodes = SAMPLERS[kind](TASKS[kind].data, jax.random.key(seed), jnp.asarray(places))
  return jax.tree.map(np.asarray, episodes)


def same(one, other):
  assert jax.tree.structure(one) == jax.tree.structure(other)
  for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other)):
    np.testing.assert_array_equal(a, b)


@each_kind
def test_an_episode_does_not_depend_on_the_other_places(kind):
  whole = sample(kind, range(8))
  for places in ([3], [5, 0, 3], [7, 7, 2, 1, 0, 4, 5, 3]):
    same(sample(kind, places), jax.tree.map(lambda leaf: leaf[np.asarray(places)], whole))


@each_kind
def test_places_and_keys_stand_for_different_episodes(kind):
  inputs = sample(kind, range(8)).query.inputs.reshape(8, -1)
  assert len(np.unique(inputs, axis=0)) == 8
  assert not (sample(kind, range(8), seed=1).query.inputs.reshape(8, -1) == inputs).all(axis=1).any()


@each_kind
def test_jit_is_eager(kind):
  tasks = TASKS[kind]
  eager = sample_tasks(tasks, tasks.data, jax.random.key(0), jnp.arange(2))
  for a, b in zip(jax.tree.leaves(sample(kind, range(2))), jax.tree.leaves(eager)):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_data_is_an_argument():
  tasks = TASKS["classes"]
  shifted = tasks.data._replace(examples=tasks.data.examples + 1000)
  one, other = (SAMPLERS["classes"](data, jax.random.key(0), jnp.arange(8)) for data in (tasks.data, shifted))
  np.testing.assert_array_equal(other.query.inputs, one.query.inputs + 1000)
