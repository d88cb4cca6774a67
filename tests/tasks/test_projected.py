"""Randomly projected tasks: geometry is preserved, coordinates and order are not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metajax.examples import examples
from metajax.tasks.projected import projected
from metajax.types import Episode, TaskDistribution

PIXELS, POINTS = 40, 12


def tasks(mask=None):
  """Returns tasks whose targets are the indices of the stored points: 8 in the support set, 4 in the query set."""
  stored = jnp.asarray(np.random.default_rng(0).normal(3, 2, (POINTS, 8, 5)), jnp.float32)
  mask = jnp.ones(POINTS, bool) if mask is None else mask

  def sample(data, key):
    del key
    order = jnp.arange(POINTS)
    return Episode(examples(data[:8], order[:8], mask[:8]), examples(data[8:], order[8:], mask[8:]))

  return TaskDistribution(sample, stored)


def draw(seed, width, mask=None):
  distribution = projected(tasks(mask), width)
  support, query = jax.jit(distribution.sample)(distribution.data, jax.random.key(seed))
  inputs, names = (np.concatenate([np.asarray(part[field]) for part in (support, query)]) for field in (0, 1))
  return inputs, names, (support, query)


def test_inner_products_are_those_of_the_standardised_inputs():
  inputs, names, _ = draw(0, 20_000)
  pixels = np.asarray(tasks().data).reshape(POINTS, PIXELS)
  pixels = (pixels - pixels.mean()) / pixels.std()
  expected = pixels[names] @ pixels[names].T / PIXELS
  np.testing.assert_allclose(inputs @ inputs.T / 20_000, expected, atol=0.05)


def test_every_task_has_its_own_projection_and_order():
  (one, names_one, (support, query)), (two, names_two, _) = draw(0, 6), draw(1, 6)
  assert support.inputs.shape == (8, 6) and query.inputs.shape == (4, 6)
  assert not np.allclose(one[np.argsort(names_one)], two[np.argsort(names_two)])
  assert sorted(names_one[:8]) == list(range(8)) and list(names_one[:8]) != list(range(8))
  assert list(names_one[:8]) != list(names_two[:8])


def test_padding_takes_no_part_and_stays_padding():
  mask = jnp.arange(POINTS) % 3 != 0
  inputs, names, (support, query) = draw(0, 20_000, mask)
  kept = np.concatenate([support.mask, query.mask])
  np.testing.assert_array_equal(kept, np.asarray(mask)[names])
  pixels = np.asarray(tasks().data).reshape(POINTS, PIXELS)
  used = pixels[np.asarray(mask)]
  pixels = (pixels - used.mean()) / used.std()
  np.testing.assert_allclose(inputs @ inputs.T / 20_000, pixels[names] @ pixels[names].T / PIXELS, atol=0.05)


def test_points_are_drawn_from_both_sets():
  distribution = projected(tasks(), 6, points=5)
  sample = jax.jit(jax.vmap(lambda key: distribution.sample(distribution.data, key)))
  support, query = sample(jax.random.split(jax.random.key(0), 500))
  assert support.inputs.shape == (500, 4, 6) and query.inputs.shape == (500, 1, 6)
  drawn = np.concatenate([support.targets, query.targets], axis=1)
  assert all(len(set(row)) == 5 for row in drawn)
  counts = np.stack([np.bincount(drawn[:, place], minlength=POINTS) for place in range(5)])
  assert np.all(np.abs(counts - 500 / POINTS) < 5 * np.sqrt(500 / POINTS))  # uniform at every position


@pytest.mark.parametrize("width, points, fault", [(0, None, "the width is 0"), (3, 1, "at least 2 points"),
                                                  (3, 13, "13 points cannot be drawn from tasks of 12")])
def test_invalid_arguments_are_rejected(width, points, fault):
  with pytest.raises(ValueError, match=fault):
    distribution = projected(tasks(), width, points)
    distribution.sample(distribution.data, jax.random.key(0))
