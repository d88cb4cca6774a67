"""Losses and scores against NumPy, on distinct numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metajax import losses

LOGITS = np.asarray([[2.0, -1.0, 0.5], [0.1, 0.2, 4.0], [-3.0, 7.0, 6.5], [1.0, 1.5, -2.0]])
CLASSES = np.asarray([0, 1, 2, 1])


def test_cross_entropy_is_in_nats_of_the_target_class(x64):
  probabilities = np.exp(LOGITS) / np.exp(LOGITS).sum(1, keepdims=True)
  actual = losses.softmax_cross_entropy(jnp.asarray(LOGITS), jnp.asarray(CLASSES))
  np.testing.assert_allclose(actual, -np.log(probabilities[np.arange(4), CLASSES]), rtol=1e-12)


def test_cross_entropy_of_large_logits_is_finite():
  value, gradient = jax.value_and_grad(lambda logits: losses.softmax_cross_entropy(logits, jnp.asarray([1]))[0])(
    jnp.asarray([[1e4, -1e4, 0.0]]))
  assert float(value) == pytest.approx(2e4)
  np.testing.assert_allclose(gradient, [[1, -1, 0]], atol=1e-6)


@pytest.mark.parametrize("shape", [(4,), (4, 1), (4, 3), (4, 2, 3)])
def test_squared_error_is_the_mean_over_all_axes_but_the_first(shape, x64):
  random = np.random.default_rng(0)
  outputs, targets = random.normal(size=(2, *shape))
  expected = [np.mean((a - b) ** 2) for a, b in zip(outputs, targets)]
  actual = losses.squared_error(jnp.asarray(outputs), jnp.asarray(targets))
  assert actual.shape == (4,)
  np.testing.assert_allclose(actual, expected, rtol=1e-12)


def test_accuracy_is_one_where_the_largest_logit_is_the_target():
  actual = losses.accuracy(jnp.asarray(LOGITS, jnp.float32), jnp.asarray(CLASSES))
  assert actual.dtype == jnp.float32 and actual.tolist() == [1, 0, 0, 1]


@pytest.mark.parametrize("measure, outputs, targets", [
  (losses.softmax_cross_entropy, (4, 3), (4, 3)), (losses.softmax_cross_entropy, (4,), (4,)),
  (losses.accuracy, (4, 3), (4, 1)), (losses.accuracy, (3,), (3,)),
  (losses.squared_error, (4, 1), (4,)), (losses.squared_error, (4, 1), (4, 4))])
def test_shapes_that_would_broadcast_are_refused(measure, outputs, targets):
  with pytest.raises(ValueError):
    measure(jnp.zeros(outputs), jnp.zeros(targets, jnp.float32 if measure is losses.squared_error else jnp.int32))


@pytest.mark.parametrize("measure", [losses.softmax_cross_entropy, losses.squared_error, losses.accuracy])
def test_an_example_is_measured_by_itself(measure):
  outputs = jnp.asarray(LOGITS, jnp.float32)
  targets = jnp.asarray(LOGITS[::-1].copy(), jnp.float32) if measure is losses.squared_error else jnp.asarray(CLASSES)
  one_by_one = [measure(outputs[i:i + 1], targets[i:i + 1])[0] for i in range(4)]
  np.testing.assert_allclose(measure(outputs, targets), one_by_one, rtol=1e-6)
