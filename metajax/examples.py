"""Labelled sets with padding: how to make them, join them, thin them, and average over them.

Unequal shots, random subsets and the union of support and query are all one static shape with a mask, so that one
compiled program serves them all. `N` examples; a False in the mask is padding, which no result may depend on.
"""

import jax
import jax.numpy as jnp

from metajax.types import Array, Episode, Examples, PyTree


def examples(inputs: PyTree, targets: Array, mask: Array | None = None) -> Examples:
  """Returns the labelled set of `inputs [N, ...]` and `targets [N, ...]`; without a mask nothing is padding.

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
  """Returns all examples of both sets, `first` before `second`."""
  return jax.tree.map(lambda a, b: jnp.concatenate([a, b]), first, second)


def take(all_examples: Examples, indices: Array) -> Examples:
  """Returns the examples at `indices [M]`, as a set of `M`."""
  return jax.tree.map(lambda leaf: leaf[indices], all_examples)


def zero_padding(some: Examples) -> Examples:
  """Returns the examples with zeros for whatever inputs and targets padding has, be it NaN or infinity."""
  return some._replace(inputs=zero_rows(some.inputs, some.mask), targets=zero_rows(some.targets, some.mask))


def zero_rows(tree: PyTree, mask: Array) -> PyTree:
  """Returns arrays `[N, ...]` with zeros in the rows where `mask [N]` is false."""

  def zeroed(leaf):
    rows = jnp.reshape(mask, (-1, *[1] * (jnp.ndim(leaf) - 1)))
    return jnp.where(rows, leaf, jnp.zeros_like(leaf))

  return jax.tree.map(zeroed, tree)


def masked_mean(values: Array, mask: Array) -> Array:
  """Returns the mean of `values [N]` where `mask [N]` is true, and zero where it is true nowhere."""
  total = jnp.sum(jnp.where(mask, values, jnp.zeros_like(values)))
  return total / jnp.maximum(jnp.sum(mask), 1).astype(values.dtype)


def check_episodes(episodes: Episode) -> int:
  """Returns `T`, the number of tasks in a meta-batch of episodes, having checked that they are well-formed.

  Raises:
    ValueError: if support or query lack a task axis or an example, if their leading axes disagree, if a mask is not
      boolean or anything else no number, or if an example of the one is not of the form of an example of the other.
      Shapes and dtypes only: it costs nothing at run time.
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
      raise ValueError(f"an example of support and one of query must be alike, but their {name} are {support} and "
                       f"{query}; give both the same trailing axes and type.")
  return sizes.pop()
