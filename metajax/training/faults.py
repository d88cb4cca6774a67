"""Numbers that are none: where the first of them is, what a run says of it, and optimizers that can bear some.

A NaN in a gradient makes parameters NaN, and these everything that follows; so each step looks at all that it computed,
in the order of the computation, and keeps the number of the first leaf that is not finite.
"""

import functools
from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp
import optax

from metajax.types import Array, Metrics, Params, PyTree

FINE = -1  # in place of the number of a leaf: all are finite


class Checked(NamedTuple):
  """What a step computes, in the order in which a fault spreads."""
  metrics: Metrics
  gradient: Params
  norm: Array  # of the gradient
  opt_state: PyTree
  params: Params


class NonFinite(FloatingPointError):
  """A step computed a number that is none. `step` counts from 1; `path` is the first leaf, in order of computation."""

  def __init__(self, step: int, path: str):
    self.step, self.path = step, path
    super().__init__(f"{path} stopped being finite at step {step}; lower the learning rate, clip the gradient "
                     "(config.training.clip_gradient), skip such updates (config.training.skip_nonfinite), or look at "
                     "the tasks of that step.")


def first_fault(checked: Checked) -> Array:
  """Returns the number of the first leaf that is not finite, a scalar int32, or `FINE`.

  Of a step that `guard`'s optimizer skipped, metrics and gradient do not count: nothing of them went into the state.
  """
  return lax.cond(_all_finite(checked), lambda: jnp.int32(FINE), lambda: _locate(checked))


def _all_finite(checked: Checked) -> Array:
  """Returns whether every number is finite, by a few sums, which cost less than a look at each leaf.

  Zero times a number is zero, or NaN if the number is none. Leaves of one shape, as gradient, weights and the
  optimizer's moments are, go into one sum.
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
  counts = jnp.any(bad)
  skipped = was_skipped(checked.opt_state)
  if skipped is not None:
    counts = jnp.where(skipped, jnp.any(bad[before:]), counts)
  return jnp.where(counts, first, jnp.int32(FINE))


def path_of(number: int, checked: Checked) -> str:
  """Returns the path of a leaf by its number, such as `gradient/dense/kernel`; the leaves may be of any value."""
  return jax.tree_util.keystr(_reals(checked)[number][0], simple=True, separator="/")


def was_skipped(opt_state: PyTree) -> Array | None:
  """Returns whether the last update was skipped, a scalar bool; None if the optimizer never skips."""
  finite = optax.tree.get(opt_state, "last_finite", None)
  return None if finite is None else ~finite


def guard(optimizer: optax.GradientTransformation, *, clip: float = 0.0, skip: int = 0) -> optax.GradientTransformation:
  """Returns the optimizer behind a guard; with neither setting, itself.

  Args:
    optimizer: any.
    clip: the largest norm of a gradient, over all its leaves; longer ones are shortened to it. 0: not clipped.
    skip: how many updates in a row may be skipped because their gradient is not finite; the next one after them is
      applied, which ends the run. 0: none is skipped.
  """
  if clip:
    optimizer = optax.chain(optax.clip_by_global_norm(clip), optimizer)
  return optax.apply_if_finite(optimizer, skip) if skip else optimizer


def _reals(tree: PyTree) -> list[tuple[tuple, Array]]:
  return [(path, leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
          if jnp.issubdtype(leaf.dtype, jnp.inexact)]
