"""Losses and scores, one value per example.

Every function takes the outputs and targets of `Q` examples and returns `[Q]`; objectives average over the examples
that are not padding.
"""

import jax.numpy as jnp
import optax

from metajax.checks import check_real_arrays
from metajax.types import Array


def softmax_cross_entropy(outputs: Array, targets: Array) -> Array:
  """Returns `[Q]` cross-entropies in nats of logits `[Q, C]` against integer classes `[Q]` in [0, C).

  The cross-entropy of an out-of-range class is NaN; a negative class does not index from the end.

  >>> import jax.numpy as jnp
  >>> from metajax import losses
  >>> logits, classes = jnp.array([[0.0, 0.0], [9.0, -9.0]]), jnp.array([1, 0])
  >>> print(losses.softmax_cross_entropy(logits, classes).round(3))  # the first is a guess: log 2
  [0.693 0.   ]
  >>> losses.accuracy(logits, classes).tolist()
  [0.0, 1.0]
  """
  _check_classes(outputs, targets)
  entropies = optax.losses.softmax_cross_entropy_with_integer_labels(outputs, targets)
  return jnp.where((targets >= 0) & (targets < outputs.shape[1]), entropies, jnp.full_like(entropies, jnp.nan))


def squared_error(outputs: Array, targets: Array) -> Array:
  """Returns `[Q]` squared errors, in squared units of the target, averaged over all axes but the first.

  There is no factor of one half: the mean over examples is the mean squared error that the MAML paper reports.
  """
  check_real_arrays("outputs and targets", (outputs, targets))
  if jnp.shape(outputs) != jnp.shape(targets) or jnp.ndim(outputs) == 0:
    raise ValueError("outputs and targets must have the same shape [examples, ...], but they are "
                     f"{list(jnp.shape(outputs))} and {list(jnp.shape(targets))}; give both the same trailing axes.")
  errors = optax.losses.squared_error(outputs, targets)
  return jnp.mean(errors.reshape(errors.shape[0], -1), axis=1)


def accuracy(outputs: Array, targets: Array) -> Array:
  """Returns `[Q]`: 1 where the largest of the logits `[Q, C]` is at the target `[Q]`, 0 elsewhere."""
  _check_classes(outputs, targets)
  return (jnp.argmax(outputs, axis=-1) == targets).astype(outputs.dtype)


def _check_classes(outputs: Array, targets: Array) -> None:
  check_real_arrays("logits", outputs)
  shapes = jnp.shape(outputs), jnp.shape(targets)
  if len(shapes[0]) != 2 or shapes[1] != shapes[0][:1] or not jnp.issubdtype(targets.dtype, jnp.integer):
    raise ValueError("classification needs logits [examples, classes] and integer targets [examples], but they are "
                     f"{outputs.dtype}{list(shapes[0])} and {targets.dtype}{list(shapes[1])}.")
