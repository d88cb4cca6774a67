"""Views of a task: their examples and padding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metajax.examples import examples
from metajax.objectives import views

DRAWS = 200


def numbered(labels, mask=None, start=0):
  """Returns examples whose inputs are their indices, which identify the examples of a view."""
  labels = jnp.asarray(labels, jnp.int32)
  mask = None if mask is None else jnp.asarray(mask, bool)
  return examples(jnp.arange(start, start + labels.size, dtype=jnp.float32)[:, None], labels, mask)


SUPPORT = numbered([0, 1, 2, 0, 1], [1, 1, 0, 1, 1])
QUERY = numbered([2, 0, 1, 2, 0, 2], [1, 1, 1, 0, 1, 1], start=5)
LABELS = np.asarray([0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 2])
REAL = {0, 1, 3, 4, 5, 6, 7, 9, 10}  # 2 and 8 are padding; four of class 0, three of 1, two of 2


def drawn(strategy, support=SUPPORT, query=QUERY, draws=DRAWS, seed=0):
  """Returns `[draws, K, M]` indices and masks, after checking that targets match their inputs."""
  keys = jax.random.split(jax.random.key(seed), draws)
  subsets = jax.jit(jax.vmap(strategy, in_axes=(0, None, None)))(keys, support, query)
  assert subsets.inputs.shape == (*subsets.mask.shape, 1) and subsets.mask.dtype == jnp.bool_
  numbers = np.asarray(subsets.inputs[..., 0], int)
  np.testing.assert_array_equal(subsets.targets, np.concatenate([support.targets, query.targets])[numbers])
  return numbers, np.asarray(subsets.mask)


@pytest.mark.parametrize("size", [1, 4, 9])
def test_random_subsets_hold_that_many_different_real_examples(size):
  numbers, mask = drawn(views.random_subsets(3, size))
  assert numbers.shape == (DRAWS, 3, size) and mask.all()
  for subset in numbers.reshape(-1, size):
    assert len(set(subset)) == size and set(subset) <= REAL


def test_random_subsets_are_uniform_and_differ_per_view_and_key():
  numbers, _ = drawn(views.random_subsets(2, 4), draws=4000)
  frequencies = np.bincount(numbers.ravel(), minlength=11) / 8000
  expected = np.asarray([4 / 9 if number in REAL else 0 for number in range(11)])
  np.testing.assert_allclose(frequencies, expected, atol=0.03)  # 5 standard deviations
  sets = np.sort(numbers, axis=-1)
  assert 0.9 < (sets[:, 0] != sets[:, 1]).any(axis=-1).mean() < 1  # each view is one of 126 subsets
  assert len(np.unique(sets[:, 0], axis=0)) == 126


def test_random_subsets_of_too_few_are_all_of_them_and_padding():
  numbers, mask = drawn(views.random_subsets(2, 11))
  for subset, kept in zip(numbers.reshape(-1, 11), mask.reshape(-1, 11)):
    assert set(subset[kept]) == REAL and kept.sum() == 9


@pytest.mark.parametrize("shots", [1, 2, 3])
def test_balanced_subsets_hold_that_many_of_each_class(shots):
  numbers, mask = drawn(views.balanced_subsets(2, 3, shots))
  assert numbers.shape == (DRAWS, 2, 3 * shots)
  for subset, kept in zip(numbers.reshape(-1, 3 * shots), mask.reshape(-1, 3 * shots)):
    assert len(set(subset[kept])) == kept.sum() and set(subset[kept]) <= REAL
    np.testing.assert_array_equal(np.bincount(LABELS[subset[kept]], minlength=3), np.minimum([4, 3, 2], shots))
  assert {int(number) for number in numbers[mask]} == REAL  # all examples occur
  if shots < 3:
    assert (np.sort(numbers[:, 0]) != np.sort(numbers[:, 1])).any(axis=-1).mean() > 0.5


def test_a_class_that_a_task_lacks_is_padding():
  numbers, mask = drawn(views.balanced_subsets(1, 3, 1), numbered([0, 0]), numbered([2, 2], start=2))
  np.testing.assert_array_equal(mask[:, 0], [[True, False, True]] * DRAWS)
  assert set(numbers[:, 0, 0]) == {0, 1} and set(numbers[:, 0, 2]) == {2, 3}


@pytest.mark.parametrize("count", [6, 7])
def test_halves_are_disjoint_and_leave_at_most_one(count):
  numbers, mask = drawn(views.halves(), numbered([0] * 3), numbered([1] * (count - 3), start=3))
  assert numbers.shape == (DRAWS, 2, 3) and mask.all()
  for first, second in numbers:
    assert not set(first) & set(second) and len(set(first) | set(second)) == 6
  assert len(np.unique(np.sort(numbers[:, 0], axis=-1), axis=0)) >= 18  # shuffled, across support and query
  assert {int(number) for number in numbers.ravel()} == set(range(count))


def test_halves_share_the_padding():
  numbers, mask = drawn(views.halves(), numbered([0] * 4, [1, 0, 0, 1]), numbered([0] * 5, [0, 0, 1, 0, 1], start=4))
  for (first, second), (kept, also_kept) in zip(numbers, mask):
    assert kept.sum() == also_kept.sum() == 2
    assert sorted([*first[kept], *second[also_kept]]) == [0, 3, 6, 8]


def test_leave_one_out_leaves_one_of_each_class():
  labels = np.array([0, 1, 1, 2, 2, 0, 1])
  numbers, mask = drawn(views.leave_one_out(2, 4), numbered(labels[:4], [1, 1, 1, 1]),
                        numbered(labels[4:], [1, 1, 0], start=4))
  assert mask.shape == (DRAWS, 2, 7) and not mask[..., 6].any()  # padding stays padding
  left = ~mask[..., :6]
  for label, members in ((0, [0, 5]), (1, [1, 2]), (2, [3, 4])):  # class 3 has no examples
    assert (left[..., members].sum(axis=-1) == 1).all()
    assert set(np.argmax(left[..., members], axis=-1).ravel()) == {0, 1}
  assert (left[:, 0] != left[:, 1]).any()


@pytest.mark.parametrize("strategy", [views.random_subsets(2, 4), views.balanced_subsets(2, 3, 1), views.halves()])
def test_a_key_stands_for_its_views(strategy):
  one, same, other = drawn(strategy, draws=5), drawn(strategy, draws=5), drawn(strategy, draws=5, seed=1)
  np.testing.assert_array_equal(one, same)
  assert (one[0] != other[0]).any()


@pytest.mark.parametrize("make, arguments", [
  (views.random_subsets, (0, 3)), (views.random_subsets, (2, 0)), (views.balanced_subsets, (0, 3, 1)),
  (views.balanced_subsets, (1, 0, 1)), (views.balanced_subsets, (1, 3, 0)), (views.leave_one_out, (0, 3)),
  (views.leave_one_out, (1, 0))])
def test_a_task_without_examples_has_no_views(make, arguments):
  with pytest.raises(ValueError, match="at least 1 view"):
    make(*arguments)


@pytest.mark.parametrize("strategy", [views.random_subsets(1, 12), views.balanced_subsets(1, 3, 4)])
def test_a_view_larger_than_the_task_is_refused(strategy):
  with pytest.raises(ValueError, match="a view of 12 examples does not fit a task of 11"):
    strategy(jax.random.key(0), SUPPORT, QUERY)
