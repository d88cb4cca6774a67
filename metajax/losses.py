"""What a prediction costs and what it scores, one value an example.

Every function takes the outputs and targets of `Q` examples and returns `[Q]`; objectives average over the examples
that are not padding.
"""

import chex
import jax.numpy as jnp
import optax

from metajax.types import Array


def softmax_cross_entropy(outputs: Array, targets: Array) -> Array:
  """Returns `[Q]` cross-entropies in nats of logits `[Q, C]` against integer classes `[Q]` in [0, C)."""
  chex.assert_rank([outputs, targets], [2, 1])
  return optax.losses.softmax_cross_entropy_with_integer_labels(outputs, targets)


def squared_error(outputs: Array, targets: Array) -> Array:
  """Returns `[Q]` squared errors, in squared units of the target, averaged over all axes but the first.

  No factor of one half: the mean over examples is the mean squared error that MAML's paper reports.
  """
  chex.assert_equal_shape([outputs, targets])
  errors = optax.losses.squared_error(outputs, targets)
  return jnp.mean(errors.reshape(errors.shape[0], -1), axis=1)


def accuracy(outputs: Array, targets: Array) -> Array:
  """Returns `[Q]` ones where the largest of the logits `[Q, C]` is the target `[Q]`, zeros elsewhere (a fraction)."""
  chex.assert_rank([outputs, targets], [2, 1])
  return (jnp.argmax(outputs, axis=-1) == targets).astype(outputs.dtype)
