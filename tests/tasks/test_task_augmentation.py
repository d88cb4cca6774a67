"""Augmentation of whole tasks: what it changes, how often, and what it preserves."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metajax.tasks.class_data import from_arrays
from metajax.tasks.classes import class_tasks
from metajax.tasks.sinusoids import sinusoids
from metajax.tasks.task_augmentation import hardest_of, interpolated, noisy_labels, permuted_labels
from metajax.types import TaskDistribution
from tests.helpers import fill_padding, regression_episodes

pytestmark = pytest.mark.usefixtures("compiled_quickly")

ROWS = np.asarray([[number, place] for number in range(4) for place in range(5)], np.float32)
TASKS = class_tasks(from_arrays(ROWS, np.repeat(np.arange(4), 5)), ways=3, shots=2, queries=3)


def sample(tasks, count=400):
  keys = jax.random.split(jax.random.key(0), count)
  return jax.tree.map(np.asarray, jax.jit(jax.vmap(tasks.sample, (None, 0)))(tasks.data, keys))


def test_labels_are_permuted_alike_in_support_and_query():
  support, query = sample(permuted_labels(TASKS, 3))
  orders = set()
  for index in range(400):
    order = support.targets[index][::2]
    np.testing.assert_array_equal(support.targets[index], np.repeat(order, 2))
    np.testing.assert_array_equal(query.targets[index], np.repeat(order, 3))
    orders.add(tuple(order.tolist()))
  assert orders == set(itertools.permutations(range(3))) and support.targets.dtype == np.int32


def test_a_share_of_the_labels_is_wrong():
  support, query = sample(noisy_labels(TASKS, 3, support=0.3))
  np.testing.assert_array_equal(query.targets, [[0] * 3 + [1] * 3 + [2] * 3] * 400)
  right = np.asarray([0, 0, 1, 1, 2, 2])
  wrong = support.targets != right
  assert abs(wrong.mean() - 0.3) < 0.04  # 2,400 labels: standard error 0.01
  others = (support.targets - right) % 3
  assert abs((others[wrong] == 1).mean() - 0.5) < 0.09 and set(np.unique(support.targets)) == {0, 1, 2}


def test_a_share_of_the_tasks_is_mixed_class_by_class():
  support, query = sample(interpolated(TASKS, share=0.5))
  np.testing.assert_array_equal(support.targets, [[0, 0, 1, 1, 2, 2]] * 400)
  assert support.mask.all() and query.mask.all()
  number = support.inputs[..., 0]
  np.testing.assert_allclose(number[:, ::2], number[:, 1::2], atol=1e-6)  # the same mixture for both shots of a class
  plain = (support.inputs == np.rint(support.inputs)).all(axis=(1, 2))
  assert 0.3 < plain.mean() < 0.7
  assert (np.abs(number[~plain] - np.rint(number[~plain])) > 0.01).any(axis=1).mean() > 0.5


def test_real_targets_are_mixed_too():
  tasks = sinusoids(4, 4)
  key = jax.random.key(5)
  mixed = interpolated(tasks, share=1.0).sample((), key).support
  key_one, key_other, _, _ = jax.random.split(key, 4)
  one, other = (tasks.sample((), each).support for each in (key_one, key_other))
  weight = (mixed.inputs - other.inputs) / (one.inputs - other.inputs)
  np.testing.assert_allclose(weight, np.full((4, 1), weight[0, 0]), rtol=1e-3)
  np.testing.assert_allclose(mixed.targets, weight * one.targets + (1 - weight) * other.targets, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("stages", [1, 2])
@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
def test_contents_of_padding_are_never_mixed_in(value, stages):
  both = fill_padding(regression_episodes(num_tasks=2, padding=2), value)
  either = lambda data, key: jax.tree.map(lambda leaf: leaf[jax.random.randint(key, (), 0, 2)], data)
  for part in sample(interpolated(TaskDistribution(either, both), share=0.5, stages=stages), 50):
    kept = jax.tree.map(lambda leaf: leaf[part.mask], (part.inputs, part.targets))
    assert all(np.abs(leaf).max() < 100 for leaf in jax.tree.leaves(kept))


def test_the_hardest_of_many_is_kept():
  difficulty = lambda episode: -jnp.sum(jnp.abs(episode.support.targets))
  flat = sample(hardest_of(sinusoids(5, 5), 8, difficulty)).support.targets
  plain = sample(sinusoids(5, 5)).support.targets
  assert np.abs(flat).mean() < 0.4 * np.abs(plain).mean()


@pytest.mark.parametrize("make, sentence", [
    (lambda: permuted_labels(TASKS, 1), "ways is 1"),
    (lambda: noisy_labels(TASKS, 3, support=1.1), "support set must be"),
    (lambda: interpolated(TASKS, share=-1), "share of mixed tasks"),
    (lambda: interpolated(TASKS, concentration=0), "must be positive"),
    (lambda: hardest_of(TASKS, 1, None), "at least 2 tasks")])
def test_invalid_arguments_are_rejected(make, sentence):
  with pytest.raises(ValueError, match=sentence):
    make()


def test_tasks_are_mixed_at_a_random_layer():
  tasks = interpolated(TASKS, share=1.0, stages=3)
  support, query = sample(tasks, 300)
  stage = support.inputs.stage
  np.testing.assert_array_equal(stage, np.broadcast_to(stage[:, :1], stage.shape))  # one per task
  np.testing.assert_array_equal(stage[:, 0], query.inputs.stage[:, 0])
  assert np.abs(np.bincount(stage[:, 0]) - 100).max() < 35  # standard deviation 8
  at_input = sample(interpolated(TASKS, share=1.0), 300).support  # the same draw, mixed at once
  weight = support.inputs.weight[..., None]
  np.testing.assert_allclose(at_input.inputs, weight * support.inputs.one + (1 - weight) * support.inputs.other,
                             atol=1e-5)
  with pytest.raises(ValueError, match="stages is 0"):
    interpolated(TASKS, stages=0)
