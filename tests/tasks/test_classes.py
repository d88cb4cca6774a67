"""Class tasks: distinct and uniform, and each example has the class of its label."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metajax.tasks.class_data import ClassData
from metajax.tasks.classes import choose, class_tasks, unit_range

COUNTS = (6, 9, 5, 12, 7)


def source(counts=COUNTS, dtype=np.uint8):
  """Images `[2, 2, 1]` whose pixels encode the class, the row within it, and a corner that shows rotation."""
  images = [[[[number], [row]], [[200], [100]]] for number, count in enumerate(counts) for row in range(count)]
  return ClassData(np.asarray(images, dtype), np.asarray(counts, np.int32), tuple("abcdefgh"[:len(counts)]), "made up")


def sample(tasks, num_tasks, seed=0):
  """Returns episodes with their inputs as stored, `[T, N, 2, 2]`."""
  episodes = jax.jit(jax.vmap(tasks.sample, in_axes=(None, 0)))(tasks.data, jax.random.split(jax.random.key(seed),
                                                                                           num_tasks))
  return jax.tree.map(np.asarray, episodes)


@pytest.fixture(scope="module")
def drawn():
  """Tasks of 3 ways, 2 shots and 3 queries, and 300 episodes of them."""
  tasks = class_tasks(source(), ways=3, shots=2, queries=3)
  return tasks, sample(tasks, 300)


def stored(part):
  return np.rint(part.inputs[..., 0] * 255).astype(int)


def draws(count, population, num, seed=0):
  keys = jax.random.split(jax.random.key(seed), count)
  return np.asarray(jax.jit(jax.vmap(lambda key: choose(key, jnp.int32(population), num)))(keys))


def test_every_ordered_choice_is_equally_likely():
  count = 60_000
  drawn = draws(count, 5, 3)
  observed = {triple: 0 for triple in itertools.permutations(range(5), 3)}
  for triple, times in zip(*np.unique(drawn, axis=0, return_counts=True)):
    observed[tuple(triple)] += times  # a KeyError means a repetition, or out of range
  chi_square = sum((times - count / 60) ** 2 / (count / 60) for times in observed.values())
  # 59 degrees of freedom: the mean is 59, the standard deviation 10.9; 1 in 20,000 seeds exceeds 111.
  assert 25 < chi_square < 111


@pytest.mark.parametrize("population, num", [(1, 1), (4, 4), (7, 7), (1000, 20), (9, 8)])
def test_choices_are_distinct_and_in_range(population, num):
  drawn = draws(300, population, num)
  assert drawn.shape == (300, num) and drawn.dtype == np.int32
  assert drawn.min() >= 0 and drawn.max() < population
  assert all(len(set(row)) == num for row in drawn)
  if num > 1:
    assert len(np.unique(drawn, axis=0)) > 23  # not the same order each time


def test_population_may_be_traced_and_differ_under_vmap():
  populations = np.asarray([3, 5, 200], np.int32)
  keys = jax.random.split(jax.random.key(1), 500)
  drawn = jax.jit(jax.vmap(lambda key: jax.vmap(lambda each: choose(key, each, 3))(populations)))(keys)
  for index, population in enumerate(populations):
    assert drawn[:, index].max() == population - 1 if population < 10 else drawn[:, index].max() > 150
    assert all(len(set(row)) == 3 for row in np.asarray(drawn[:, index]))


def test_shapes_labels_and_masks(drawn):
  tasks, (support, query) = drawn
  assert tasks.data.examples.dtype == jnp.uint8 and support.inputs.dtype == np.float32
  assert support.inputs.shape == (300, 6, 2, 2, 1) and query.inputs.shape == (300, 9, 2, 2, 1)
  np.testing.assert_array_equal(support.targets, [[0, 0, 1, 1, 2, 2]] * 300)
  np.testing.assert_array_equal(query.targets, [[0, 0, 0, 1, 1, 1, 2, 2, 2]] * 300)
  assert np.issubdtype(support.targets.dtype, np.integer)
  assert support.mask.all() and query.mask.all()


def test_every_example_is_of_its_class_and_none_is_seen_twice(drawn):
  _, (support, query) = drawn
  seen = set()
  for index in range(300):
    pixels = np.concatenate([stored(support)[index], stored(query)[index]])
    labels = np.concatenate([support.targets[index], query.targets[index]])
    classes = [set(pixels[labels == label, 0, 0]) for label in range(3)]
    assert all(len(each) == 1 for each in classes)  # one class per label
    assert len(set.union(*classes)) == 3  # one label per class
    rows = [(number, row) for number, row in pixels[:, 0]]
    assert len(set(rows)) == len(rows)  # support and query are disjoint, and neither repeats
    seen.update(rows)
  # Every row of every class occurs, for all class sizes, and no row beyond its end.
  assert seen == {(number, row) for number, count in enumerate(COUNTS) for row in range(count)}


def test_the_classes_of_a_task_come_in_every_order(drawn):
  _, (support, _) = drawn
  pairs = {tuple(pair) for pair in stored(support)[:, [0, 2], 0, 0]}  # the first two classes of a task
  assert pairs == set(itertools.permutations(range(5), 2))


def test_rotations_make_four_classes_of_each_turned_alike_within_a_task():
  data = source((2, 3))
  support, query = sample(class_tasks(data, ways=8, shots=1, queries=1, rotations=True), 40)
  images = np.concatenate([stored(support), stored(query)], axis=1)
  for index in range(40):
    turned = {}
    for label, image in zip(np.concatenate([support.targets[index], query.targets[index]]), images[index]):
      turns = [quarter for quarter in range(4) if np.rot90(image, -quarter)[1].tolist() == [200, 100]]
      assert len(turns) == 1  # a rotation of a stored image, not its mirror image
      original = np.rot90(image, -turns[0])
      assert original[0, 1] < data.counts[original[0, 0]]
      turned.setdefault(label, set()).add((original[0, 0], turns[0]))
    assert all(len(each) == 1 for each in turned.values())  # support and query of a class are turned alike
    assert set.union(*turned.values()) == {(number, turn) for number in range(2) for turn in range(4)}


def test_one_turn_turns_all_classes_of_a_task_alike():
  tasks = class_tasks(source((2, 3)), ways=2, shots=1, queries=1, rotations=True, one_turn=True)
  support, query = sample(tasks, 40)
  turned = [{quarter for image in images for quarter in range(4) if np.rot90(image, -quarter)[1].tolist() == [200, 100]}
         for images in np.concatenate([stored(support), stored(query)], axis=1)]
  assert all(len(turns) == 1 for turns in turned)
  assert set.union(*turned) == {0, 1, 2, 3}
  with pytest.raises(ValueError, match="ways=3 is more than the 2 available classes"):
    class_tasks(source((2, 3)), ways=3, shots=1, queries=1, rotations=True, one_turn=True)
  with pytest.raises(ValueError, match="needs rotations=True"):
    class_tasks(source((2, 3)), ways=2, shots=1, queries=1, one_turn=True)


def test_without_rotations_nothing_is_turned(drawn):
  _, (support, _) = drawn
  assert (stored(support)[:, :, 1] == [200, 100]).all()


def test_bytes_become_numbers_in_the_unit_range():
  np.testing.assert_allclose(unit_range(jnp.asarray([0, 51, 255], jnp.uint8)), [0, 0.2, 1], rtol=1e-6)
  assert unit_range(jnp.zeros(2, jnp.uint8)).dtype == jnp.float32
  np.testing.assert_array_equal(unit_range(jnp.asarray([-3.0, 300.0])), [-3, 300])
  asked = class_tasks(source(), ways=2, shots=1, queries=1, prepare=lambda images: images.astype(jnp.float32) + 7)
  assert sample(asked, 2).query.inputs[..., 1, 0, 0].min() == 207


def test_a_key_stands_for_one_task(drawn):
  tasks, one = drawn
  same, other = sample(tasks, 300), sample(tasks, 300, seed=4)
  np.testing.assert_array_equal(one.support.inputs, same.support.inputs)
  np.testing.assert_array_equal(one.query.inputs, same.query.inputs)
  assert not (one.support.inputs == other.support.inputs).all(axis=(1, 2, 3, 4)).any()
  assert len(np.unique(one.support.inputs.reshape(300, -1), axis=0)) > 295


@pytest.mark.parametrize("settings, sentence", [
  ({"ways": 6}, "ways=6 is more than the 5 available classes"),
  ({"ways": 21, "rotations": True}, "ways=21 is more than the 20 available classes"),
  ({"ways": 1}, "at least 2 ways"),
  ({"shots": 0}, "shots=0"),
  ({"queries": 0}, "queries=0"),
  ({"shots": 3, "queries": 3}, "6, more than the 5 examples of class 'c'"),
])
def test_impossible_tasks_are_refused_in_a_sentence(settings, sentence):
  with pytest.raises(ValueError, match=sentence):
    class_tasks(source(), **{"ways": 2, "shots": 2, "queries": 2, **settings})


@pytest.mark.parametrize("shape", [(10, 4, 6, 1), (10, 4)])
def test_only_square_images_can_be_turned(shape):
  data = ClassData(np.zeros(shape, np.uint8), np.asarray([5, 5], np.int32), ("a", "b"), "made up")
  with pytest.raises(ValueError, match="square"):
    class_tasks(data, ways=2, shots=1, queries=1, rotations=True)


def test_all_examples_of_the_smallest_class_may_be_used():
  support, query = sample(class_tasks(source((3, 3)), ways=2, shots=1, queries=2), 3)
  for pixels in np.concatenate([stored(support), stored(query)], axis=1):
    assert sorted(map(tuple, pixels[:, 0])) == [(number, row) for number in range(2) for row in range(3)]
