"""Measures of a whole query set, against scikit-learn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from metajax.measures import average_precision, delta_average_precision

_RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize("levels", [2, 5, 1000])  # few levels, so that many scores are equal
def test_average_precision_is_that_of_scikit_learn(levels):
  measure = jax.jit(average_precision)
  for _ in range(5):
    scores = _RANDOM.integers(levels, size=40).astype(np.float32) - levels / 2
    targets, mask = _RANDOM.integers(2, size=40).astype(np.int32), _RANDOM.random(40) < 0.7
    targets[:2], mask[:2] = (0, 1), True
    wanted = average_precision_score(targets[mask], scores[mask])
    np.testing.assert_allclose(measure(scores, targets, mask), wanted, rtol=1e-5)


def test_padding_may_hold_anything():
  scores, targets = jnp.array([1.0, jnp.nan, 2.0, jnp.inf]), jnp.array([1, 1, 0, 7])
  assert average_precision(scores, targets, jnp.array([True, False, True, False])) == 0.5


def test_delta_is_above_guessing():
  targets, mask = jnp.array([0, 1, 1, 0, 1]), jnp.array([True, True, True, True, False])
  logits = jnp.stack([jnp.zeros(5), jnp.array([0.0, 3.0, 2.0, 1.0, -9.0])], axis=1)
  assert delta_average_precision(logits, targets, mask) == 0.5
  assert delta_average_precision(jnp.zeros((5, 2)), targets, mask) == 0.0
  assert jnp.isnan(delta_average_precision(logits, jnp.zeros(5, jnp.int32), mask))
  with pytest.raises(ValueError, match=r"logits \[examples, 2\]"):
    delta_average_precision(jnp.zeros((5, 3)), targets, mask)
