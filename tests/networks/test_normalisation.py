"""Normalisation against NumPy; padding and other examples are excluded."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metajax.networks import normalisation

EPSILON = 1e-5
MASKS = {"whole": [True] * 5, "masked": [True, False, True, True, False], "one": [False, False, False, True, False]}
each_mask = pytest.mark.parametrize("mask", MASKS)


def activations(shape=(5, 3, 4, 6), seed=0):
  random = np.random.default_rng(seed)
  return random.normal(size=shape) * random.uniform(0.5, 3, shape[-1]) + random.normal(size=shape[-1]) * 4


@each_mask
def test_batch_statistics_are_those_of_the_examples_kept(mask, x64):
  x, kept = activations(), np.asarray(MASKS[mask])
  mean, variance = x[kept].mean((0, 1, 2)), x[kept].var((0, 1, 2))
  actual = normalisation.batch_statistics(jnp.asarray(x), jnp.asarray(kept))
  np.testing.assert_allclose(actual, (x - mean) / np.sqrt(variance + EPSILON), rtol=1e-10, atol=1e-10)


def test_a_large_mean_costs_no_digits():
  x = activations()
  actual = normalisation.batch_statistics(jnp.asarray(x + 1000, jnp.float32), jnp.ones(5, bool))
  expected = normalisation.batch_statistics(jnp.asarray(x, jnp.float32), jnp.ones(5, bool))
  np.testing.assert_allclose(actual, expected, atol=2e-3)  # the mean of squares minus the squared mean: wrong by 1


def test_a_padded_example_changes_nothing():
  mask = jnp.asarray(MASKS["masked"])
  x = activations().astype(np.float32)

  def loss(x):
    kept = normalisation.batch_statistics(x, mask)[mask]
    return jnp.sum(jnp.sin(kept) * jnp.arange(6.0).reshape(1, 1, 1, -1)), kept

  (_, outputs), gradient = jax.value_and_grad(loss, has_aux=True)(jnp.asarray(x))
  for garbage in (0.0, 1e4, np.inf, np.nan):
    padded = np.where(np.asarray(mask)[:, None, None, None], x, np.float32(garbage))
    (_, same), same_gradient = jax.value_and_grad(loss, has_aux=True)(jnp.asarray(padded))
    np.testing.assert_array_equal(same, outputs)
    if np.isfinite(garbage):
      np.testing.assert_array_equal(same_gradient[mask], gradient[mask])
      assert not same_gradient[~mask].any()
  alone = normalisation.batch_statistics(jnp.asarray(x)[mask], jnp.ones(3, bool))
  np.testing.assert_allclose(outputs, alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("normalise", [normalisation.batch_statistics, normalisation.group(2)])
@each_mask
def test_gradients_at_constant_activations_are_finite(normalise, mask):
  x = jnp.full((5, 2, 2, 4), 3.0)
  loss = lambda x: jnp.sum(jnp.sin(normalise(x, jnp.asarray(MASKS[mask]))) * jnp.arange(80.0).reshape(x.shape))
  gradient = jax.grad(loss)(x)
  assert jnp.isfinite(gradient).all()
  assert jnp.isfinite(jax.grad(lambda x: jnp.sum(jax.grad(loss)(x) ** 2))(x)).all()


def test_no_example_at_all_is_not_a_division_by_zero():
  assert jnp.isfinite(normalisation.batch_statistics(jnp.ones((2, 2, 2, 3)), jnp.zeros(2, bool))).all()


@pytest.mark.parametrize("num_groups", [1, 2, 3, 6])
def test_group_normalises_neighbouring_channels_of_one_example(num_groups, x64):
  x = activations()
  expected = np.empty_like(x)
  width = 6 // num_groups
  for example in range(5):
    for start in range(0, 6, width):
      part = x[example, :, :, start:start + width]
      expected[example, :, :, start:start + width] = (part - part.mean()) / np.sqrt(part.var() + EPSILON)
  actual = normalisation.group(num_groups)(jnp.asarray(x), jnp.ones(5, bool))
  np.testing.assert_allclose(actual, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("normalise", [normalisation.group(3), normalisation.none])
def test_examples_do_not_interact(normalise):
  x, other = (jnp.asarray(activations(seed=seed), jnp.float32) for seed in (0, 1))
  mixed = normalise(x.at[1:].set(other[1:]), jnp.asarray(MASKS["masked"]))
  np.testing.assert_array_equal(mixed[0], normalise(x, jnp.ones(5, bool))[0])


def test_groups_must_divide_the_channels():
  with pytest.raises(ValueError, match="divides the 6 channels, but got 4"):
    normalisation.group(4)(jnp.ones((1, 2, 2, 6)), jnp.ones(1, bool))


def test_none_is_the_identity():
  x = jnp.asarray(activations(), jnp.float32)
  np.testing.assert_array_equal(normalisation.none(x, jnp.ones(5, bool)), x)


@pytest.mark.parametrize("normalise", [normalisation.batch_statistics, normalisation.group(3), normalisation.none])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_the_dtype_is_kept(normalise, dtype):
  outputs = normalise(jnp.asarray(activations(), dtype), jnp.asarray(MASKS["masked"]))
  assert outputs.dtype == dtype and outputs.shape == (5, 3, 4, 6)


@pytest.mark.parametrize("channels, groups", [(4, 1), (6, 1), (12, 3), (16, 8), (20, 5), (32, 8)])
def test_groups_may_be_fitted_to_the_channels(channels, groups):
  x = jax.random.normal(jax.random.key(0), (3, 2, 2, channels))
  mask = jnp.ones(3, bool)
  np.testing.assert_array_equal(normalisation.group(8, fitted=True)(x, mask), normalisation.group(groups)(x, mask))
