"""Dissimilar tasks and small learners for tests, so that leaks between tasks or from padding are detected."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np

from metajax.examples import examples
from metajax.types import Episode, Examples, Network


@contextlib.contextmanager
def compiled_quickly():
  """A context in which programs compile fast, without optimisation."""
  jax.config.update("jax_disable_most_optimizations", True)
  try:
    yield
  finally:
    jax.config.update("jax_disable_most_optimizations", False)


def classification_episodes(num_tasks=3, ways=3, shots=2, queries=2, size=(4,), seed=0, dtype=np.float32, padding=0):
  """Returns episodes of dissimilar tasks, with `padding` masked examples shuffled into each set."""
  random = np.random.default_rng(seed)
  scales = np.arange(1, num_tasks + 1).reshape(-1, *[1] * (len(size) + 1))

  def part(per_class):
    count = ways * per_class
    labels = np.stack([random.permutation(np.repeat(np.arange(ways), per_class)) for _ in range(num_tasks)])
    centres = random.normal(size=(num_tasks, ways, *size))
    inputs = np.take_along_axis(centres, labels.reshape(num_tasks, count, *[1] * len(size)), 1) * scales
    inputs = inputs + 0.3 * random.normal(size=inputs.shape)
    return _padded(inputs.astype(dtype), labels.astype(np.int32), padding, random, ways)

  return Episode(part(shots), part(queries))


def regression_episodes(num_tasks=3, shots=5, queries=4, seed=0, dtype=np.float32, padding=0):
  """Returns episodes of dissimilar sinusoids."""
  random = np.random.default_rng(seed)
  amplitude, phase = random.uniform(0.5, 4, (num_tasks, 1, 1)), random.uniform(0, 3, (num_tasks, 1, 1))

  def part(count):
    inputs = random.uniform(-4, 4, (num_tasks, count, 1))
    return _padded(inputs.astype(dtype), (amplitude * np.sin(inputs - phase)).astype(dtype), padding, random, None)

  return Episode(part(shots), part(queries))


def _padded(inputs, targets, padding, random, ways) -> Examples:
  if not padding:
    return jax.vmap(examples)(jnp.asarray(inputs), jnp.asarray(targets))
  tasks, count = targets.shape[:2]
  mask = np.stack([random.permutation(np.arange(count + padding) < count) for _ in range(tasks)])
  wide_inputs = random.normal(size=(tasks, count + padding, *inputs.shape[2:])).astype(inputs.dtype) * 10
  if ways is None:
    wide_targets = random.normal(size=(tasks, count + padding, *targets.shape[2:])).astype(targets.dtype) * 10
  else:
    wide_targets = random.integers(0, ways, (tasks, count + padding)).astype(targets.dtype)
  wide_inputs[mask] = inputs.reshape(-1, *inputs.shape[2:])
  wide_targets[mask] = targets.reshape(-1, *targets.shape[2:])
  return Examples(jnp.asarray(wide_inputs), jnp.asarray(wide_targets), jnp.asarray(mask))


def filled(tree, mask, value):
  """Returns arrays with a value, such as NaN, in the rows that are masked out; integers are unchanged."""

  def fill(leaf):
    rows = jnp.reshape(mask, (*jnp.shape(mask), *[1] * (leaf.ndim - jnp.ndim(mask))))
    return jnp.where(rows, leaf, jnp.asarray(value, leaf.dtype)) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf

  return jax.tree.map(fill, tree)


def fill_padding(episode, value):
  """Returns an episode, or a meta-batch, with a value in all inputs and real targets of padding."""
  return Episode(*(Examples(*filled((part.inputs, part.targets), part.mask, value), part.mask) for part in episode))


def tanh_network(inputs: int, hidden: int, outputs: int, dtype=jnp.float32) -> Network:
  """Returns a two-layer network with `tanh`, smooth enough for finite differences."""

  def init(key, examples):
    del examples
    first, second = jax.random.split(key)
    return {"w1": jax.random.normal(first, (inputs, hidden), dtype) * 0.7,
            "b1": jnp.full((hidden,), 0.1, dtype),
            "w2": jax.random.normal(second, (hidden, outputs), dtype) * 0.7,
            "b2": jnp.full((outputs,), -0.2, dtype)}

  def apply(params, x, mask):
    del mask
    h = jnp.tanh(x.reshape(x.shape[0], -1) @ params["w1"] + params["b1"][None, :])
    return h @ params["w2"] + params["b2"][None, :]

  return Network(init, apply, independent=True)
