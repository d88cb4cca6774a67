"""Diverse meta-batches: a determinantal point process selects dissimilar tasks from a larger pool of candidates.

Kulesza & Taskar, k-DPPs: Fixed-Size Determinantal Point Processes, 2011, https://icml.cc/2011/papers/611_icmlpaper.pdf:
a set of `k` tasks is drawn with probability proportional to the determinant of its kernel, which is small for similar
tasks. Whether task diversity helps is disputed: Kumar, Deleu & Bengio, The Effect of Diversity in Meta-Learning, 2023,
https://arxiv.org/abs/2201.11775, find that it often does not.
"""

from typing import Callable

import jax
from jax import lax
import jax.numpy as jnp

from metajax.networks.mixture import mixed
from metajax.types import Array, Episode, PRNGKey, TaskDistribution

_LEAST = 1e-6  # lower bound on eigenvalues and residuals; smaller values are rounding errors in float32


def diverse(tasks: TaskDistribution, *, num_tasks: int, candidates: int,
            describe: Callable[[Episode], Array] | None = None) -> TaskDistribution:
  """Returns tasks whose meta-batches are selected jointly, by a k-DPP, from `candidates` independent draws.

  The selection is a function of the meta-batch's key and is the same on all devices.

  Args:
    tasks: any task distribution. Each device draws all candidates, so sampling takes as long as `candidates` tasks.
      Apply other plug-ins first: `diverse` selects keys, and a plug-in applied later would turn a key into another
      task. Diverse tasks cannot be read ahead (`training.pipeline`).
    num_tasks: `k`, the size of a meta-batch. Tasks at later indices, such as in a list of test episodes, are drawn
      independently.
    candidates: the number of candidates, at least `num_tasks`.
    describe: maps an episode to a vector; tasks with similar vectors are similar. By default the mean of the class
      means of the support inputs.

  Raises:
    ValueError: for fewer than 2 tasks, or fewer candidates than tasks.
  """
  if not 2 <= num_tasks <= candidates:
    raise ValueError("a diverse meta-batch needs at least 2 tasks, and at least as many candidates, but got "
                     f"num_tasks={num_tasks} and candidates={candidates}.")
  to_vector = mean_of_class_means if describe is None else describe

  def keys(data, key, indices):
    key_pool, key_choice = jax.random.split(key)
    pool = tasks.keys(data, key_pool, jnp.arange(candidates, dtype=jnp.int32))
    vectors = lax.map(lambda each: to_vector(tasks.sample(data, each)), pool, batch_size=16)
    chosen = pool[k_dpp(key_choice, gaussian_kernel(vectors), num_tasks)]
    return jnp.where(indices < num_tasks, chosen[jnp.minimum(indices, num_tasks - 1)], tasks.keys(data, key, indices))

  return tasks._replace(keys=keys)


def mean_of_class_means(episode: Episode) -> Array:
  """Returns the mean `[D]` of the class means of the support inputs `[N, ...]`, flattened, over the classes present.

  Mixtures of two inputs are mixed first.
  """
  support = episode.support
  inputs = mixed(support.inputs, 0).reshape(support.mask.shape[0], -1)
  alike = (support.targets[:, None] == support.targets[None, :]) & support.mask[None, :] & support.mask[:, None]
  size = jnp.maximum(jnp.sum(alike, axis=1), 1).astype(inputs.dtype)
  weights = jnp.where(support.mask, 1 / size, jnp.zeros_like(size))
  return weights @ inputs / jnp.maximum(jnp.sum(weights), 1)


def gaussian_kernel(vectors: Array) -> Array:
  """Returns the Gaussian kernel `[M, M]` of `vectors [M, D]`, scaled by their median squared distance."""
  gaps = jnp.sum(jnp.square(vectors[:, None, :] - vectors[None, :, :]), axis=-1)
  apart = ~jnp.eye(len(vectors), dtype=bool)
  scale = jnp.nanmedian(jnp.where(apart, gaps, jnp.nan))
  return jnp.exp(-gaps / jnp.maximum(scale, _LEAST))


def k_dpp(key: PRNGKey, kernel: Array, k: int) -> Array:
  """Returns a sample of a k-DPP: `[k]` distinct integers in [0, M), given the kernel `[M, M]`.

  Kulesza & Taskar, 2011, Algorithms 1 and 2; the kernel is symmetric and positive semi-definite, `k` at most `M`.
  """
  key_vectors, key_items = jax.random.split(key)
  values, vectors = jnp.linalg.eigh(kernel)
  logs = jnp.log(jnp.maximum(values, _LEAST))
  taken = _eigenvectors(key_vectors, logs, k)
  projection = (vectors * taken[None, :].astype(kernel.dtype)) @ vectors.T  # onto the k selected eigenvectors

  def item(carry, step_and_key):
    left, columns = carry  # each item's residual squared norm [M], and the orthogonal columns so far [M, k]
    step, each = step_and_key
    index = jax.random.categorical(each, jnp.log(left))
    column = (projection[:, index] - columns @ columns[index]) * lax.rsqrt(jnp.maximum(left[index], _LEAST))
    # An item is drawn at most once, and rounding never excludes the others.
    left = jnp.where(left > 0, jnp.maximum(left - jnp.square(column), _LEAST), 0).at[index].set(0)
    return (left, columns.at[:, step].set(column)), index

  start = jnp.maximum(jnp.diagonal(projection), _LEAST), jnp.zeros((len(values), k), kernel.dtype)
  return lax.scan(item, start, (jnp.arange(k), jax.random.split(key_items, k)))[1]


def _eigenvectors(key: PRNGKey, logs: Array, k: int) -> Array:
  """Returns which `k` of the eigenvectors are selected, `[M]` bool, by elementary symmetric polynomials."""
  start = jnp.full((k + 1,), -jnp.inf, logs.dtype).at[0].set(0)

  def polynomial(sums, log):  # sums[l]: the logarithm of the l-th polynomial of the eigenvalues so far
    longer = jnp.logaddexp(sums, jnp.concatenate([jnp.full((1,), -jnp.inf, logs.dtype), sums[:-1] + log]))
    return longer, (sums, longer)

  _, (before, after) = lax.scan(polynomial, start, logs)

  def choose(needed, each):
    log, sums, longer, key = each
    chance = jnp.exp(log + sums[jnp.maximum(needed - 1, 0)] - longer[needed])
    taken = (needed > 0) & (jax.random.uniform(key) < chance)
    return needed - taken.astype(needed.dtype), taken

  keys = jax.random.split(key, len(logs))
  return lax.scan(choose, jnp.int32(k), (logs, before, after, keys), reverse=True)[1]
