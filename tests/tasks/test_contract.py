"""Every task distribution satisfies every law."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metajax.tasks.sampling import listed_task, meta_batch, sample_tasks
from tests.tasks.table import ROWS

pytestmark = pytest.mark.usefixtures("compiled_quickly")
every_distribution = pytest.mark.parametrize("name", ROWS)
KEY = jax.random.key(5)


@functools.cache
def many(name, count=300):
  tasks = ROWS[name].make()
  keys = jax.random.split(KEY, count)
  return jax.tree.map(np.asarray, jax.jit(jax.vmap(tasks.sample, (None, 0)))(tasks.data, keys))


def equal(found, wanted):
  jax.tree.map(np.testing.assert_array_equal, found, wanted)


@every_distribution
def test_a_task_is_a_function_of_its_key(name):
  tasks = ROWS[name].make()
  sample = jax.jit(tasks.sample)
  equal(sample(tasks.data, KEY), sample(tasks.data, KEY))
  other = sample(tasks.data, jax.random.key(6))
  assert any((a != b).any() for a, b in zip(jax.tree.leaves(sample(tasks.data, KEY)), jax.tree.leaves(other)))


@every_distribution
def test_a_task_does_not_depend_on_the_rest_of_the_batch(name):
  tasks = ROWS[name].make()
  batch = jax.jit(lambda indices: meta_batch(tasks, tasks.data, KEY, jnp.int32(7), indices))
  whole, part = batch(jnp.arange(3, dtype=jnp.int32)), batch(jnp.arange(2, 3, dtype=jnp.int32))
  equal(jax.tree.map(lambda leaf: leaf[2:], whole), part)


@every_distribution
def test_shapes_are_static_and_an_example_is_what_parameters_are_made_for(name):
  tasks = ROWS[name].make()
  one = jax.eval_shape(tasks.sample, tasks.data, KEY)
  listed = jax.eval_shape(lambda key: listed_task(tasks, tasks.data, key, jnp.int32(1)), KEY)
  several = jax.eval_shape(lambda key: sample_tasks(tasks, tasks.data, key, jnp.arange(2)), KEY)
  shapes = lambda tree: jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)
  assert shapes(one) == shapes(listed) == shapes(jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(
      leaf.shape[1:], leaf.dtype), several))
  assert shapes(tasks.example(one)) == shapes(one.support.inputs)


@every_distribution
def test_numbers_are_finite_masks_boolean_and_labels_in_range(name):
  row, tasks = ROWS[name], many(name)
  for part in tasks:
    assert part.mask.dtype == bool and part.mask.any(axis=1).all()
    reals = [leaf for leaf in jax.tree.leaves((part.inputs, part.targets)) if leaf.dtype.kind == "f"]
    assert reals and all(np.isfinite(leaf).all() for leaf in reals)
    if row.classes:
      kept = part.targets[part.mask]
      assert part.targets.dtype == np.int32 and kept.min() >= 0 and kept.max() < row.classes


@every_distribution
def test_support_and_query_share_no_example(name):
  if not ROWS[name].disjoint:
    pytest.skip("inputs are projected and standardised, so repeated examples cannot be recognised")
  tasks = many(name)
  for index in range(50):
    support, query = ({np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(part.inputs)[0][index][part.mask[index]]}
                      for part in tasks)
    assert not support & query


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.uniform])
def test_classes_and_groups_are_equally_likely(name):
  row, support = ROWS[name], many(name).support
  seen = np.bincount(row.uniform(support.inputs)[support.mask], minlength=row.kinds)
  assert len(seen) == row.kinds
  # Five standard deviations of a multinomial count with independent draws and three examples per class.
  share = seen.sum() / row.kinds
  assert np.abs(seen - share).max() < 5 * np.sqrt(3 * share)
