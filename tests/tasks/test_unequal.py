"""Classes of unequal size: small ones have fewer queries, and the rest is padding."""

import chex
import jax
import numpy as np
import pytest

from metajax.tasks.class_data import ClassData, take_classes
from metajax.tasks.classes import class_tasks
from metajax.tasks.ragged import ragged_tasks

SIZES = (2, 3, 9, 4, 30)


def unlike():
  """Five classes of unlike sizes; an example is `[class, index]`."""
  rows = np.asarray([[number, index] for number, size in enumerate(SIZES) for index in range(size)], np.float32)
  return ClassData(rows, np.asarray(SIZES, np.int32), tuple("abcde"), "made up")


@pytest.mark.parametrize("shots, queries", [(1, 1), (1, 4), (1, 40)])
def test_a_small_class_has_fewer_queries(shots, queries):
  tasks = class_tasks(unlike(), ways=3, shots=shots, queries=queries, unequal=True)
  draw = jax.jit(jax.vmap(tasks.sample, (None, 0)))
  support, query = jax.tree.map(np.asarray, draw(tasks.data, jax.random.split(jax.random.key(0), 100)))
  assert support.mask.all() and query.mask.shape == (100, 3 * queries)
  seen = set()
  for task in range(100):
    for label in range(3):
      shot, = support.inputs[task][support.targets[task] == label]
      asked = query.inputs[task][(query.targets[task] == label) & query.mask[task]]
      number = int(shot[0])
      assert len(asked) == min(queries, SIZES[number] - shots) and (asked[:, 0] == number).all()
      assert len({shot[1], *asked[:, 1]}) == len(asked) + shots
      seen |= {(number, index) for index in asked[:, 1]}
  assert queries < 40 or seen == {(number, index) for number, size in enumerate(SIZES) for index in range(size)}


def test_large_classes_are_drawn_as_without_padding():
  data = take_classes(unlike(), [2, 4])
  shape = {"ways": 2, "shots": 2, "queries": 5}
  one, other = (class_tasks(data, unequal=unequal, **shape) for unequal in (False, True))
  key = jax.random.key(3)
  chex.assert_trees_all_equal(one.sample(one.data, key), other.sample(other.data, key))
  with pytest.raises(ValueError, match="shots=2 plus queries=1 is 3, more than the 2 examples of class 'a'"):
    class_tasks(unlike(), ways=2, shots=2, queries=9, unequal=True)
  with pytest.raises(ValueError, match="1 query, but got ways=2, shots=1, queries=0"):
    class_tasks(unlike(), ways=2, shots=1, queries=0, unequal=True)


@pytest.mark.parametrize("balanced", [True, False])
def test_ragged_tasks_keep_a_query_of_each_class(balanced):
  tasks = ragged_tasks(unlike(), ways=(2, 4), shots=(1, 5), queries=6, balanced=balanced, unequal=True)
  draw = jax.jit(jax.vmap(tasks.sample, (None, 0)))
  support, query = jax.tree.map(np.asarray, draw(tasks.data, jax.random.split(jax.random.key(0), 200)))
  drawn = {number: set() for number in range(5)}
  for task in range(200):
    for label in set(support.targets[task][support.mask[task]]):
      shots = support.inputs[task][(support.targets[task] == label) & support.mask[task]]
      asked = query.inputs[task][(query.targets[task] == label) & query.mask[task]]
      number = int(shots[0, 0])
      assert 1 <= len(shots) <= 5 and len(asked) == min(6, SIZES[number] - len(shots)) > 0
      assert len({(*row,) for row in (*shots, *asked)}) == len(shots) + len(asked)
      assert {row[0] for row in (*shots, *asked)} == {number}
      drawn[number].add(len(shots))
  assert [max(shots) for shots in drawn.values()] == [1, 2, 5, 3, 5]
  large = take_classes(unlike(), [4, 4])
  same = [ragged_tasks(large, ways=(2, 2), shots=(1, 5), queries=6, unequal=unequal) for unequal in (False, True)]
  chex.assert_trees_all_equal(*(each.sample(each.data, jax.random.key(1)) for each in same))
  with pytest.raises(ValueError, match="up to 2 shots plus queries=1 is more than the 2 examples of class 'a'"):
    ragged_tasks(unlike(), ways=(2, 2), shots=(2, 3), queries=4, unequal=True)
