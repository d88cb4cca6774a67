"""Non-finite values (NaN or Inf): finding the first one, reporting it, and optimizers that tolerate some.

A NaN in the gradient spreads to the parameters, and from there to all later steps. So each step checks everything that
it computed, in the order of computation, and records the index of the first non-finite leaf.
"""

import functools
from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp
import optax

from metajax.types import Array, Metrics, Params, PyTree

FINE = -1  # instead of the index of a leaf: all leaves are finite


class Checked(NamedTuple):
  """Everything that a step computes, in the order in which non-finite values spread."""
  metrics: Metrics
  gradient: Params
  norm: Array  # of the gradient
  opt_state: PyTree
  params: Params


ADVICE = "lower the learning rate, clip the gradient (optax.clip_by_global_norm), or look at the tasks of that step"


class NonFinite(FloatingPointError):
  """A step computed a non-finite value. `step` counts from 1; `path` is the first such leaf in order of computation."""

  def __init__(self, step: int, path: str, advice: str = ADVICE):
    """`advice` is what the message says to do, unless the first loss points to the data."""
    self.step, self.path = step, path
    if step == 1 and path.startswith("metrics/"):
      advice = ("nothing was learned yet, so the likely cause is the data: labels outside the learner's classes "
                "(num_classes), or inputs that are not finite; otherwise, " + advice)
    super().__init__(f"{path} stopped being finite at step {step}; {advice}.")


def first_fault(checked: Checked) -> Array:
  """Returns the index of the first non-finite leaf, a scalar int32, or `FINE`.

  If the optimizer of `guard` skipped the update, metrics and gradient are not checked, as they did not enter the state.
  """
  return lax.cond(_all_finite(checked), lambda: jnp.int32(FINE), lambda: _locate(checked))


def _all_finite(checked: Checked) -> Array:
  """Returns whether all values are finite, by a few sums, which is cheaper than a check of each leaf.

  Zero times a value is zero if the value is finite, and NaN otherwise. Leaves of equal shape, such as a gradient, its
  weights and the optimizer's moments, are added up first.
  """
  alike: dict[tuple, Array] = {}
  for _, leaf in _reals(checked):
    zero = leaf * jnp.zeros_like(leaf)
    kind = leaf.shape, leaf.dtype
    alike[kind] = alike[kind] + zero if kind in alike else zero
  return functools.reduce(jnp.logical_and, [jnp.sum(zeros) == 0 for zeros in alike.values()])


def _locate(checked: Checked) -> Array:
  bad = jnp.stack([~jnp.all(jnp.isfinite(leaf)) for _, leaf in _reals(checked)])
  before = len(_reals(checked[:3]))
  first = jnp.argmax(bad).astype(jnp.int32)
  found = jnp.any(bad)
  skipped = was_skipped(checked.opt_state)
  if skipped is not None:
    found = jnp.where(skipped, jnp.any(bad[before:]), found)
  return jnp.where(found, first, jnp.int32(FINE))


def path_of(number: int, checked: Checked) -> str:
  """Returns the path of the leaf at an index, such as `gradient/dense/kernel`; the values of leaves do not matter."""
  return jax.tree_util.keystr(_reals(checked)[number][0], simple=True, separator="/")


def was_skipped(opt_state: PyTree) -> Array | None:
  """Returns whether the last update was skipped, a scalar bool; None if the optimizer never skips."""
  finite = optax.tree.get(opt_state, "last_finite", None)
  return None if finite is None else ~finite


def guard(optimizer: optax.GradientTransformation, *, clip: float = 0.0, skip: int = 0) -> optax.GradientTransformation:
  """Returns the optimizer with gradient clipping and skipping of non-finite updates; with neither, itself.

  Args:
    optimizer: any optimizer.
    clip: the maximum global norm of a gradient; larger gradients are scaled down to it. 0 means no clipping.
    skip: the maximum number of consecutive updates that may be skipped because their gradient is non-finite. The next
      update is applied, which ends the run. 0 means that none is skipped.
  """
  if clip:
    optimizer = optax.chain(optax.clip_by_global_norm(clip), optimizer)
  return optax.apply_if_finite(optimizer, skip) if skip else optimizer


def _reals(tree: PyTree) -> list[tuple[tuple, Array]]:
  return [(path, leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
          if jnp.issubdtype(leaf.dtype, jnp.inexact)]
