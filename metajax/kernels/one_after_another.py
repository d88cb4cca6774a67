"""Makes one computation wait for another, where XLA:CPU would run both at once and might never finish.

jaxlib 0.10 divides a batch of LAPACK calls among the threads of its pool, from a thread of the pool, and waits for
them. Two such calls at the same time on a pool of two threads wait for each other for ever (two cores: a small virtual
machine, a notebook). ConML learns two models of a task that do not depend on each other, so a learner that solves
linear systems, such as ridge, would run into this.
"""

import jax
import jax.numpy as jnp

from metajax.kernels.platform import per_platform
from metajax.types import PyTree


def one_after_another(first: PyTree, then: PyTree) -> PyTree:
  """Returns `then`, unchanged, such that on CPU everything computed from it waits for `first`.

  So does the gradient: that of `first` waits for that of `then`.
  """
  return per_platform(lambda first, then: then, cpu=_waiting)(first, then)


def _waiting(first: PyTree, then: PyTree) -> PyTree:
  reals = [leaf for leaf in jax.tree.leaves(first) if jnp.issubdtype(leaf.dtype, jnp.floating) and leaf.size]
  if not reals:
    return then
  # Zero, but the compiler does not know: zero times a real may be NaN.
  ones = [leaf.ravel()[0].astype(jnp.float32) for leaf in reals]
  zero = sum((0 * jnp.where(jnp.isfinite(one), one, jnp.zeros_like(one)) for one in ones), start=jnp.float32(0))
  return jax.tree.map(lambda leaf: leaf + zero.astype(leaf.dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf,
                      then)
