"""Gradients that XLA:CPU computes once and keeps, where it would compute them anew for each number that reads them."""

import math

import jax
import jax.numpy as jnp

from metajax.types import Array, PyTree

_FEW = 1024  # numbers of a task


def gradient_stored(tree: PyTree) -> PyTree:
  """Returns the arrays `[T, ...]` as they are; what is done with their gradient on CPU reads it from memory.

  XLA:CPU computes what is cheap wherever it is read, and an array that is made of scalars counts as cheap however many
  there are. ConML's gradient with respect to a bias is: through a batch of images, which all read it, some hundred
  scalars were added up for every pixel of each. No barrier keeps XLA:CPU from it. A division does, which counts as
  dear, and a choice, which cannot be joined to the sum that reads it. Weights of many numbers are read by products,
  which read memory only: for these the choice is enough, and spares the array that the division would need.

  Where an array is NaN, the gradient is zero; its value still tells.
  """
  if jax.default_backend() != "cpu":  # accelerators do better with everything joined
    return tree
  return jax.tree.map(_stored, tree)


@jax.custom_jvp
def _stored(x: Array) -> Array:
  return x


@_stored.defjvp
def _stored_derivative(primals, tangents):
  (x,), (tangent,) = primals, tangents
  number = x == x  # always, but for all that XLA knows it could be NaN
  if math.prod(x.shape[1:]) <= _FEW:
    tangent = tangent / jnp.where(number, jnp.ones_like(x), jnp.full_like(x, 2))
  return x, jnp.where(number, tangent, jnp.zeros_like(x))
