"""Randomly projected tasks: inputs are flattened, standardised and multiplied by a random matrix per task.

With new coordinates in every task, a learner cannot memorise what images look like; it has to learn how to learn from
examples. Kirsch et al., General-Purpose In-Context Learning by Meta-Learning Transformers, 2022,
https://arxiv.org/abs/2212.04458, section 3.
"""

import jax
import jax.numpy as jnp

from metajax.checks import check_integers
from metajax.examples import union
from metajax.types import Array, Episode, Examples, PRNGKey, TaskDistribution


def projected(tasks: TaskDistribution, width: int, points: int | None = None) -> TaskDistribution:
  """Returns the same tasks with inputs `[., width]` and the examples of each set in random order, as prompts need.

  The inputs of an episode are standardised by their joint mean and variance, and multiplied by a matrix drawn from
  `N(0, 1 / pixels)`, so that projected inputs have about unit variance.

  Args:
    tasks: with inputs `[., ...]`, a single array.
    width: the dimension `d` of the projected inputs, at least 1.
    points: draw this many examples from support and query together; the last one is the query, the others the support
      set. If every class has equally many examples, the labels of a prompt can be predicted by counting, and a learner
      would learn to count; drawing a few of many examples prevents this. None keeps the two sets.

  Raises:
    ValueError: if the width is not positive or there are fewer than 2 points; when sampled, if there are more points
      than examples.
  """
  check_integers(width=width, **({} if points is None else {"points": points}))
  if width < 1:
    raise ValueError(f"inputs must be projected to at least 1 dimension, but the width is {width}.")
  if points is not None and points < 2:
    raise ValueError(f"a prompt needs at least 2 points, but got {points}.")

  def sample(data, key):
    key_task, key_matrix, key_support, key_query = jax.random.split(key, 4)
    support, query = tasks.sample(data, key_task)
    if points is None:
      support, query = _shuffled(key_support, support), _shuffled(key_query, query)
    else:
      drawn = _shuffled(key_support, union(support, query))
      if points > drawn.mask.shape[0]:
        raise ValueError(f"prompts of {points} points cannot be drawn from tasks of {drawn.mask.shape[0]} examples.")
      support, query = (jax.tree.map(lambda leaf: leaf[part], drawn)
                        for part in (slice(points - 1), slice(points - 1, points)))
    project = _projection(key_matrix, support, query, width)
    return Episode(support._replace(inputs=project(support.inputs)), query._replace(inputs=project(query.inputs)))

  return tasks._replace(sample=sample)


def _projection(key: PRNGKey, support: Examples, query: Examples, width: int):
  flat = lambda inputs: inputs.reshape(inputs.shape[0], -1)
  pixels = jnp.concatenate([flat(support.inputs), flat(query.inputs)])
  used = jnp.concatenate([support.mask, query.mask])[:, None]
  mean, spread = jnp.mean(pixels, where=used), jnp.std(pixels, where=used)
  matrix = jax.random.normal(key, (pixels.shape[1], width), pixels.dtype) / pixels.shape[1]**0.5
  return lambda inputs: (flat(inputs) - mean) / (spread + 1e-6) @ matrix


def _shuffled(key: PRNGKey, part: Examples) -> Examples:
  order: Array = jax.random.permutation(key, part.mask.shape[0])
  return jax.tree.map(lambda leaf: leaf[order], part)
