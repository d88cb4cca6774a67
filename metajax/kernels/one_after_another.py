"""Two computations, one after the other, where XLA:CPU would do both at once and may never finish.

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

  So does the gradient: that of `first` waits for what comes from `then`. A non-finite number in `first` makes `then`
  NaN on CPU.
  """
  return per_platform(lambda first, then: then, cpu=_waiting)(first, then)


def _waiting(first: PyTree, then: PyTree) -> PyTree:
  reals = [leaf for leaf in jax.tree.leaves(first) if jnp.issubdtype(leaf.dtype, jnp.floating) and leaf.size]
  if not reals:
    return then
  # Zero, but the compiler does not know: zero times a real may be NaN.
  zero = sum(0 * leaf.ravel()[0].astype(jnp.float32) for leaf in reals)
  return jax.tree.map(lambda leaf: leaf + zero.astype(leaf.dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf,
                      then)
