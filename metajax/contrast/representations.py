"""Checks of representations: `full [T, D]` and `views [T, K, D]`, as pytrees."""

import jax
from jax import lax
import jax.numpy as jnp

from metajax.checks import check_real_arrays
from metajax.types import PyTree


def check_views(full: PyTree, views: PyTree) -> None:
  """Raises ValueError unless every task has views, with the structure and shape of its full representation."""
  tasks = tasks_here(full)
  tasks_here(views)
  if str(jax.tree.structure(full)) != str(jax.tree.structure(views)):
    raise ValueError(f"views must be a pytree with the structure of full, but they are {jax.tree.structure(views)} and "
                     f"{jax.tree.structure(full)}.")
  for whole, part in zip(jax.tree.leaves(full), jax.tree.leaves(views), strict=True):
    if part.ndim != whole.ndim + 1 or part.shape[0] != tasks or part.shape[2:] != whole.shape[1:]:
      raise ValueError(f"views must be [T, K, ...] where full is [T, ...], but they are {list(part.shape)} "
                       f"and {list(whole.shape)}.")
    if part.shape[1] == 0:
      raise ValueError("there are no views to compare with the full representations: K must be at least 1.")


def tasks_in_all(full: PyTree, axis_name: str | None) -> int:
  """Returns the number of tasks in the meta-batch, over all devices; raises ValueError if it is one."""
  everywhere = tasks_here(full) * (1 if axis_name is None else lax.axis_size(axis_name))
  if everywhere < 2:
    raise ValueError("D_out compares different tasks, but the meta-batch holds only 1: use at least 2 tasks per step, "
                     "or disable the discrimination term.")
  return everywhere


def tasks_here(tree: PyTree) -> int:
  """Returns the number of tasks on this device; raises ValueError if the representations disagree on it."""
  check_real_arrays("representations", tree)
  sizes = {jnp.shape(leaf)[0] if jnp.ndim(leaf) else 0 for leaf in jax.tree.leaves(tree)}
  if len(sizes) != 1 or 0 in sizes:
    raise ValueError("representations must be a pytree of arrays with one leading axis of tasks, but the leaves have "
                     f"shapes {[list(jnp.shape(leaf)) for leaf in jax.tree.leaves(tree)]}.")
  return sizes.pop()
