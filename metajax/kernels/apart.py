"""Computations that the compiler must not join."""

from jax import lax

from metajax.types import PyTree


def apart(tree: PyTree) -> PyTree:
  """Returns the arrays as they are; what is computed from them shares no operation with what is made of the originals.

  So that a number which is only measured changes no bit of what is trained. It has all derivatives.
  """
  return lax.optimization_barrier(tree)
