"""Keeps the compiler from fusing computations."""

from jax import lax

from metajax.types import PyTree


def apart(tree: PyTree) -> PyTree:
  """Returns the arrays unchanged, behind a barrier that the compiler does not optimise across.

  Computations on the result share no operation with computations on the originals. A metric that is only measured
  therefore changes no bit of the training. All derivatives are defined.
  """
  return lax.optimization_barrier(tree)
