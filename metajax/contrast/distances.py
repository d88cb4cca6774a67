"""Distances phi between two task representations.

A representation is a pytree of real arrays read as one long vector `[D]`; a plain array is the simplest pytree. Sums
are taken in float32 or wider, also for leaves of a narrower type.

Wu et al., Learning to Learn with Contrastive Meta-Objective, 2025, https://arxiv.org/abs/2410.05975.

>>> import jax.numpy as jnp
>>> from metajax import distances
>>> east, north = jnp.array([1.0, 0.0]), jnp.array([0.0, 2.0])
>>> float(distances.cosine(east, north)), float(distances.squared_euclidean(east, north))
(1.0, 5.0)
"""

from dataclasses import dataclass
import functools
from typing import Callable

import jax
from jax import lax
import jax.numpy as jnp

from metajax.checks import check_real_arrays
from metajax.types import Array, PyTree

Distance = Callable[[PyTree, PyTree], Array]


@dataclass(frozen=True)
class Quadratic:
  """A squared Euclidean distance in some coordinates f: `phi(a, b) = scale |f(a) - f(b)|^2`.

  The mean of such a distance over all pairs of `T` vectors is a variance, so that it costs `O(T)`.

  difference: `(a, b) -> f(a) - f(b)`, accurate however close a and b are.
  """
  difference: Callable[[PyTree, PyTree], PyTree]
  scale: float

  def __call__(self, a: PyTree, b: PyTree) -> Array:
    return self.scale * squared_norm(self.difference(a, b))


def difference(a: PyTree, b: PyTree) -> PyTree:
  """Returns `a - b`, in float32 or wider.

  Raises:
    ValueError: if they are not real, or differ in structure or shape; nothing is broadcast.
  """
  check_real_arrays("representations", (a, b))
  shapes = [jax.tree.map(jnp.shape, tree) for tree in (a, b)]
  if shapes[0] != shapes[1]:
    raise ValueError(f"two representations must have the same structure and shape, but they are {shapes[0]} and "
                     f"{shapes[1]}.")
  return jax.tree.map(lambda x, y: _wide(x) - _wide(y), a, b)


def difference_of_directions(a: PyTree, b: PyTree) -> PyTree:
  """Returns `a/|a| - b/|b|`, accurate however close the two are; a zero vector stays zero.

  Adapted weights are the shared weights plus a small displacement. A plain difference of two unit vectors would
  consist of rounding errors. With `u` the direction of the shorter vector and `L` the longer norm, it equals
  `[(a - b) - (|a| - |b|) u] / L`, where `a - b` is exact for close vectors, and
  `|a| - |b| = (a - b).(a + b) / (|a| + |b|)` loses nothing.

  Raises:
    ValueError: as `difference`.
  """
  difference(a, b)  # for the checks
  return _difference_of_directions(*(jax.tree.map(_wide, tree) for tree in (a, b)))


@jax.custom_jvp
def _difference_of_directions(a: PyTree, b: PyTree) -> PyTree:
  norm_a, norm_b = norm(a), norm(b)
  longer, shorter = _nonzero(jnp.maximum(norm_a, norm_b)), _nonzero(jnp.minimum(norm_a, norm_b))
  gap = jax.tree.map(lambda x, y: (x - y) / longer, a, b)
  total = jax.tree.map(lambda x, y: (x + y) / longer, a, b)
  excess = dot(gap, total) / _nonzero((norm_a + norm_b) / longer)  # (|a| - |b|) / L
  return jax.tree.map(lambda g, x, y: g - excess * (jnp.where(norm_a < norm_b, x, y) / shorter), gap, a, b)


@_difference_of_directions.defjvp
def _derivative(primals, tangents):
  # The derivative of a direction u is that of the vector, projected orthogonally to u and divided by the norm.
  turned_a, turned_b = (_derivative_of_direction(x, dx) for x, dx in zip(primals, tangents))
  return _difference_of_directions(*primals), jax.tree.map(jnp.subtract, turned_a, turned_b)


def _derivative_of_direction(x: PyTree, dx: PyTree) -> PyTree:
  length = norm(x)
  rate = jnp.where(length > 0, 1 / _nonzero(length), jnp.zeros_like(length))  # a zero vector has no direction
  u, du = (jax.tree.map(lambda leaf: leaf * rate, tree) for tree in (x, dx))
  along = dot(u, du)
  return jax.tree.map(lambda d, e: d - along * e, du, u)


def norm(tree: PyTree) -> Array:
  """Returns `|a|`, a scalar in float32 or wider, with neither overflow nor underflow; at zero its gradient is zero."""
  largest = functools.reduce(jnp.maximum, [jnp.max(jnp.abs(_wide(leaf)), initial=0) for leaf in jax.tree.leaves(tree)])
  unit = _nonzero(lax.stop_gradient(largest))  # |a| = unit |a / unit| for any unit
  square = squared_norm(jax.tree.map(lambda leaf: _wide(leaf) / unit, tree))
  return jnp.where(square > 0, unit * jnp.sqrt(_nonzero(square)), jnp.zeros_like(square))


def squared_norm(tree: PyTree) -> Array:
  """Returns the sum of squares of all entries, a scalar in float32 or wider."""
  return dot(tree, tree)


def dot(a: PyTree, b: PyTree) -> Array:
  """Returns the inner product of two vectors, a scalar in float32 or wider."""
  # By default, a TPU multiplies in bfloat16.
  dots = jax.tree.map(lambda x, y: jnp.vdot(_wide(x), _wide(y), precision=lax.Precision.HIGHEST), a, b)
  return jax.tree.reduce(jnp.add, dots)


def sigmoid_squared(a: PyTree, b: PyTree) -> Array:
  """Returns the sigmoid of the squared Euclidean distance, in [0.5, 1): the paper's choice for in-context learners."""
  return jax.nn.sigmoid(squared_euclidean(a, b))


def _nonzero(x: Array) -> Array:
  """Returns the number, or one if it is zero: safe as a divisor and under a square root."""
  return jnp.where(x > 0, x, jnp.ones_like(x))


def _wide(x: Array) -> Array:
  x = jnp.asarray(x)
  return x if x.dtype in (jnp.float32, jnp.float64) else x.astype(jnp.float32)


# phi(a, b) = 1 - a.b / (|a| |b|), in [0, 2]: half the squared distance of the unit vectors. The distance of a zero
# vector, which has no direction, to any other is one half.
cosine = Quadratic(difference_of_directions, 0.5)

# phi(a, b) = |a - b|^2, in squared units of the representation.
squared_euclidean = Quadratic(difference, 1.0)
