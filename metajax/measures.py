"""What predictions score on a query set as a whole, where no mean over its examples says it.

Every function takes the outputs and targets of `Q` examples and a mask, and returns a scalar; evaluation averages over
tasks.
"""

import jax.numpy as jnp

from metajax.types import Array


def average_precision(scores: Array, targets: Array, mask: Array) -> Array:
  """Returns the area under the curve of precision over recall, as steps: that of scikit-learn, equal scores included.

  The mean, over the positive examples, of the share of positives among all that score no less.

  Args:
    scores: `[Q]`, higher for what is more likely positive.
    targets: `[Q]` integers, 1 for positive and 0 for negative.
    mask: `[Q]`, False where there is no example.

  Returns:
    A scalar; NaN where no example is positive.
  """
  scores = jnp.where(mask, scores, jnp.full_like(scores, -jnp.inf))
  positive = ((targets == 1) & mask).astype(scores.dtype)
  order = jnp.argsort(scores)
  rising = scores[order]
  # Of the sorted examples, those from `first` on score no less: all that are equal count together.
  first = jnp.searchsorted(rising, scores, side="left")
  positives_from = jnp.cumsum(positive[order][::-1])[::-1]
  precision = positives_from[first] / (scores.shape[0] - first).astype(scores.dtype)
  return jnp.sum(positive * precision) / jnp.sum(positive)


def delta_average_precision(outputs: Array, targets: Array, mask: Array) -> Array:
  """Returns the average precision of two logits `[Q, 2]` less what guessing gets, the share of positives.

  FS-Mol's delta-AUPRC (Stanley et al., 2021, https://openreview.net/forum?id=701FtuyLlAd).

  Raises:
    ValueError: if the outputs are not two logits an example.
  """
  if jnp.ndim(outputs) != 2 or outputs.shape[1] != 2:
    raise ValueError(f"average precision is of two classes, with logits [examples, 2], but the outputs are "
                     f"{list(jnp.shape(outputs))}.")
  share = jnp.sum((targets == 1) & mask) / jnp.sum(mask)
  return average_precision(outputs[:, 1] - outputs[:, 0], targets, mask) - share.astype(outputs.dtype)
