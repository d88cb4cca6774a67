"""Scores of a whole query set that are not a mean over its examples.

Every function takes the outputs and targets of `Q` examples and a mask, and returns a scalar; evaluation averages over
tasks.
"""

import jax.numpy as jnp

from metajax.types import Array


def average_precision(scores: Array, targets: Array, mask: Array) -> Array:
  """Returns the area under the precision-recall curve by the step rule, as scikit-learn does, ties included.

  It is the mean, over positive examples, of the fraction of positives among all examples that score at least as high.

  Args:
    scores: `[Q]`, higher for examples more likely to be positive.
    targets: `[Q]` integers, 1 for positive and 0 for negative.
    mask: `[Q]`, False for padding.

  Returns:
    A scalar; NaN if no example is positive.
  """
  scores = jnp.where(mask, scores, jnp.full_like(scores, -jnp.inf))
  positive = ((targets == 1) & mask).astype(scores.dtype)
  order = jnp.argsort(scores)
  rising = scores[order]
  # Sorted examples from index `first` on score at least as high; ties count together.
  first = jnp.searchsorted(rising, scores, side="left")
  positives_from = jnp.cumsum(positive[order][::-1])[::-1]
  precision = positives_from[first] / (scores.shape[0] - first).astype(scores.dtype)
  return jnp.sum(positive * precision) / jnp.sum(positive)


def delta_average_precision(outputs: Array, targets: Array, mask: Array) -> Array:
  """Returns the average precision of two logits `[Q, 2]` minus that of a random classifier, the fraction of positives.

  FS-Mol's delta-AUPRC (Stanley et al., 2021, https://openreview.net/forum?id=701FtuyLlAd).

  Raises:
    ValueError: if there are not two logits per example.
  """
  if jnp.ndim(outputs) != 2 or outputs.shape[1] != 2:
    raise ValueError(f"average precision needs two classes, with logits [examples, 2], but the outputs are "
                     f"{list(jnp.shape(outputs))}.")
  positives = jnp.sum((targets == 1) & mask) / jnp.sum(mask)
  return average_precision(outputs[:, 1] - outputs[:, 0], targets, mask) - positives.astype(outputs.dtype)
