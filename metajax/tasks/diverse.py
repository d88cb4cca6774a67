"""Meta-batches of tasks unlike each other: of many that are drawn, a determinantal point process keeps as many as fit.

Kulesza & Taskar, k-DPPs: Fixed-Size Determinantal Point Processes, 2011, https://icml.cc/2011/papers/611_icmlpaper.pdf:
a set of `k` is drawn with a chance proportional to the determinant of its kernel, and a set of like tasks has little.
Whether diverse tasks teach more is disputed: Kumar, Deleu & Bengio, The Effect of Diversity in Meta-Learning, 2023,
https://arxiv.org/abs/2201.11775, find that they often do not.
"""

from typing import Callable

import jax
from jax import lax
import jax.numpy as jnp

from metajax.networks.mixture import mixed
from metajax.types import Array, Episode, PRNGKey, TaskDistribution

_LEAST = 1e-6  # an eigenvalue, and what is left of one: in float32 nothing smaller means anything


def diverse(tasks: TaskDistribution, *, num_tasks: int, candidates: int,
            describe: Callable[[Episode], Array] | None = None) -> TaskDistribution:
  """Returns tasks of which those of a meta-batch are chosen together, by a k-DPP, out of `candidates` drawn apart.

  Which they are is a function of the meta-batch's key, the same on all devices.

  Args:
    tasks: any. All candidates are drawn by each device, so sampling takes `candidates` times as long as of one task.
      Other plug-ins go first: what is chosen is a key, and a plug-in makes another task of it. They cannot be read
      ahead (`data.pipeline`).
    num_tasks: of a meta-batch, `k`. Tasks at later places, as of a list of test episodes, are drawn apart.
    candidates: at least as many.
    describe: from an episode to a vector; tasks are alike if theirs are. By default the mean of the class means of its
      support set's inputs.

  Raises:
    ValueError: for less than 2 tasks, or fewer candidates than tasks.
  """
  if not 2 <= num_tasks <= candidates:
    raise ValueError("a diverse meta-batch is of at least 2 tasks, chosen from as many candidates or more, but got "
                     f"num_tasks={num_tasks} and candidates={candidates}.")
  told = mean_of_class_means if describe is None else describe

  def keys(data, key, places):
    key_pool, key_choice = jax.random.split(key)
    pool = tasks.keys(data, key_pool, jnp.arange(candidates, dtype=jnp.int32))
    vectors = lax.map(lambda each: told(tasks.sample(data, each)), pool, batch_size=16)
    chosen = pool[k_dpp(key_choice, gaussian_kernel(vectors), num_tasks)]
    return jnp.where(places < num_tasks, chosen[jnp.minimum(places, num_tasks - 1)], tasks.keys(data, key, places))

  return tasks._replace(keys=keys)


def mean_of_class_means(episode: Episode) -> Array:
  """Returns `[D]`: of the support inputs `[N, ...]`, as vectors, the mean of the means of all classes present.

  A mixture of two inputs is taken as one.
  """
  support = episode.support
  inputs = mixed(support.inputs, 0).reshape(support.mask.shape[0], -1)
  alike = (support.targets[:, None] == support.targets[None, :]) & support.mask[None, :] & support.mask[:, None]
  size = jnp.maximum(jnp.sum(alike, axis=1), 1).astype(inputs.dtype)
  weights = jnp.where(support.mask, 1 / size, jnp.zeros_like(size))
  return weights @ inputs / jnp.maximum(jnp.sum(weights), 1)


def gaussian_kernel(vectors: Array) -> Array:
  """Returns the kernel `[M, M]` of `vectors [M, D]`, one where they are equal; its scale is their median distance."""
  gaps = jnp.sum(jnp.square(vectors[:, None, :] - vectors[None, :, :]), axis=-1)
  apart = ~jnp.eye(len(vectors), dtype=bool)
  scale = jnp.nanmedian(jnp.where(apart, gaps, jnp.nan))
  return jnp.exp(-gaps / jnp.maximum(scale, _LEAST))


def k_dpp(key: PRNGKey, kernel: Array, k: int) -> Array:
  """Returns `[k]` distinct integers in [0, M), drawn by the determinant of their part of the kernel `[M, M]`.

  Kulesza & Taskar, 2011, Algorithms 1 and 2; the kernel is symmetric and positive semi-definite, `k` at most `M`.
  """
  key_vectors, key_items = jax.random.split(key)
  values, vectors = jnp.linalg.eigh(kernel)
  logs = jnp.log(jnp.maximum(values, _LEAST))
  taken = _eigenvectors(key_vectors, logs, k)
  projection = (vectors * taken[None, :].astype(kernel.dtype)) @ vectors.T  # of the k eigenvectors taken

  def item(carry, step_and_key):
    left, columns = carry  # what each item has left of its length [M], and the columns taken away so far [M, k]
    step, each = step_and_key
    index = jax.random.categorical(each, jnp.log(left))
    column = (projection[:, index] - columns @ columns[index]) * lax.rsqrt(jnp.maximum(left[index], _LEAST))
    # Drawn once, and those that are left can be, whatever the rounding.
    left = jnp.where(left > 0, jnp.maximum(left - jnp.square(column), _LEAST), 0).at[index].set(0)
    return (left, columns.at[:, step].set(column)), index

  start = jnp.maximum(jnp.diagonal(projection), _LEAST), jnp.zeros((len(values), k), kernel.dtype)
  return lax.scan(item, start, (jnp.arange(k), jax.random.split(key_items, k)))[1]


def _eigenvectors(key: PRNGKey, logs: Array, k: int) -> Array:
  """Returns which `k` of the eigenvectors `[M]` are taken, by the elementary symmetric polynomials of the values."""
  start = jnp.full((k + 1,), -jnp.inf, logs.dtype).at[0].set(0)

  def polynomial(sums, log):  # sums[l]: the logarithm of the l-th polynomial of the values so far
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
