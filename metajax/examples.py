"""Labelled sets with padding: build them, join them, index them, and average over them.

Unequal shots, random subsets, and the union of support and query are arrays of static shape with a mask, so that one
compiled program handles them all. `N` is the number of examples; False in the mask marks padding, which must not affect
any result.
"""

import jax
import jax.numpy as jnp

from metajax.types import Array, Episode, Examples, PyTree


def examples(inputs: PyTree, targets: Array, mask: Array | None = None) -> Examples:
  """Returns the labelled set of `inputs [N, ...]` and `targets [N, ...]`; without a mask, there is no padding.

  >>> import jax.numpy as jnp
  >>> from metajax.examples import examples, masked_mean, union
  >>> measured = examples(jnp.array([[1.0], [2.0]]), jnp.array([1.0, 2.0]))
  >>> padded = examples(jnp.array([[3.0], [9.0]]), jnp.array([3.0, 9.0]), jnp.array([True, False]))
  >>> both = union(measured, padded)
  >>> both.inputs.shape, float(masked_mean(both.targets, both.mask))
  ((4, 1), 2.0)
  """
  if mask is None:
    mask = jnp.ones(jnp.shape(targets)[:1], bool)
  return Examples(inputs, targets, mask)


def union(first: Examples, second: Examples) -> Examples:
  """Returns the examples of both sets, those of `first` before those of `second`."""
  return jax.tree.map(lambda a, b: jnp.concatenate([a, b]), first, second)


def take(all_examples: Examples, indices: Array) -> Examples:
  """Returns the `M` examples at `indices [M]`."""
  return jax.tree.map(lambda leaf: leaf[indices], all_examples)


def zero_padding(some: Examples) -> Examples:
  """Returns the examples with the inputs and targets of padding set to zero, even where they are NaN or Inf."""
  return some._replace(inputs=zero_rows(some.inputs, some.mask), targets=zero_rows(some.targets, some.mask))


def zero_rows(tree: PyTree, mask: Array) -> PyTree:
  """Returns arrays `[N, ...]` with the rows where `mask [N]` is false set to zero."""

  def zeroed(leaf):
    rows = jnp.reshape(mask, (-1, *[1] * (jnp.ndim(leaf) - 1)))
    return jnp.where(rows, leaf, jnp.zeros_like(leaf))

  return jax.tree.map(zeroed, tree)


def masked_mean(values: Array, mask: Array) -> Array:
  """Returns the mean of `values [N]` where `mask [N]` is true, or zero if it is true nowhere."""
  total = jnp.sum(jnp.where(mask, values, jnp.zeros_like(values)))
  return total / jnp.maximum(jnp.sum(mask), 1).astype(values.dtype)


def check_episodes(episodes: Episode) -> int:
  """Checks that a meta-batch of episodes is well formed, and returns its number of tasks `T`.

  Only shapes and dtypes are checked, so this costs nothing at run time.

  Raises:
    ValueError: if support or query lack a task axis or have no examples, if their leading axes disagree, if a mask is
      not boolean, if inputs or targets are not numbers, or if support and query examples differ in shape or dtype.
  """
  sizes = set()
  for name, part in zip(Episode._fields, episodes):
    if jnp.ndim(part.mask) != 2 or part.mask.dtype != jnp.bool_:
      raise ValueError(f"{name}.mask must be booleans of shape [tasks, examples], but it is "
                       f"{part.mask.dtype}{list(part.mask.shape)}; add the task axis or cast the mask.")
    if part.mask.shape[1] == 0:
      raise ValueError(f"{name} holds no examples: its mask has shape {list(part.mask.shape)}; "
                       "a task needs at least one support and one query example.")
    for path, leaf in jax.tree_util.tree_leaves_with_path((part.inputs, part.targets)):
      where = ("inputs" if path[0].idx == 0 else "targets") + jax.tree_util.keystr(path[1:])
      if not (jnp.issubdtype(leaf.dtype, jnp.number) or leaf.dtype == jnp.bool_):
        raise ValueError(f"{name}.{where} must be numbers, but it is of type {leaf.dtype}; encode it first.")
      if leaf.shape[:2] != part.mask.shape:
        raise ValueError(f"{name}.{where} must begin with the axes [tasks, examples] = {list(part.mask.shape)} of "
                         f"its mask, but its shape is {list(leaf.shape)}.")
    sizes.add(part.mask.shape[0])
  if len(sizes) > 1:
    raise ValueError(f"support and query must hold the same tasks, but they hold "
                     f"{episodes.support.mask.shape[0]} and {episodes.query.mask.shape[0]}.")
  for name in ("inputs", "targets"):
    support, query = (jax.tree.map(lambda leaf: f"{leaf.dtype}{list(leaf.shape[2:])}", getattr(part, name))
                      for part in episodes)
    if support != query:
      raise ValueError(f"support and query examples must have the same shape and dtype, but their {name} are {support} "
                       f"and {query}; give both the same trailing axes and type.")
  return sizes.pop()
