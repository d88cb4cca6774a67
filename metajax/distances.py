"""Distances phi between two task representations.

A representation is a pytree of real arrays read as one long vector `[D]`; a plain array is the simplest pytree. No
leaf is ever flattened or concatenated. Sums are taken in float32 at least, whatever the leaves are.

Wu et al., Learning to Learn with Contrastive Meta-Objective, 2025, https://arxiv.org/abs/2410.05975.
"""

from dataclasses import dataclass
from typing import Callable

import jax
import jax.numpy as jnp

from metajax.types import Array, PyTree

Distance = Callable[[PyTree, PyTree], Array]


@dataclass(frozen=True)
class Quadratic:
  """A distance that is squared Euclidean in coordinates f of its own: `phi(a, b) = scale * |f(a) - f(b)|^2`.

  Any such distance has a mean over all pairs of `T` vectors that is a variance, so it costs `O(T)` and needs no
  `T x T` matrix (`contrast.inter_task_distance`).

  difference: `(a [D], b [D]) -> f(a) - f(b)`, accurate however close the two are.
  """
  difference: Callable[[PyTree, PyTree], PyTree]
  scale: float

  def __call__(self, a: PyTree, b: PyTree) -> Array:
    return self.scale * squared_norm(self.difference(a, b))


def squared_norm(tree: PyTree) -> Array:
  """Returns the sum of squares of all entries, a scalar in float32 or wider."""
  return _dot(tree, tree)


def sigmoid_squared(a: PyTree, b: PyTree) -> Array:
  """Returns the sigmoid of the squared Euclidean distance, in [0.5, 1): the paper's choice for in-context learners."""
  return jax.nn.sigmoid(squared_euclidean(a, b))


def _euclidean_difference(a: PyTree, b: PyTree) -> PyTree:
  return jax.tree.map(lambda x, y: _wide(x) - _wide(y), a, b)


@jax.custom_jvp
def _unit_difference(a: PyTree, b: PyTree) -> PyTree:
  """Returns `a / |a| - b / |b|` to full relative accuracy even where the two agree in all but their last digits.

  Adapted weights are theta plus a little, so the two unit vectors are nearly equal and their rounding errors would be
  all that is left of a plain subtraction. `a - b` is exact there; hence
  `a/|a| - b/|b| = [(a - b) + b s] / |a|` with `s = 1 - |a|/|b| = (b - a).(a + b) / (|b| (|a| + |b|))`.
  A zero vector has no direction and stays zero: its distance to any other is one half.
  """
  gap = jax.tree.map(jnp.subtract, a, b)
  square_a, square_b = squared_norm(a), squared_norm(b)
  norm_a, norm_b = _norm_or_one(square_a), _norm_or_one(square_b)
  shrink = -_dot(gap, jax.tree.map(jnp.add, a, b)) / (norm_b * (norm_a + norm_b))
  shrink = jnp.where((square_a > 0) & (square_b > 0), shrink, 1 - norm_a / norm_b)
  return jax.tree.map(lambda g, y: (g + y * shrink) / norm_a, gap, b)


@_unit_difference.defjvp
def _unit_difference_jvp(primals: tuple[PyTree, PyTree], tangents: tuple[PyTree, PyTree]) -> tuple[PyTree, PyTree]:
  # The derivative of a unit vector is simple, whatever care its value takes.
  return _unit_difference(*primals), jax.tree.map(jnp.subtract, *map(_unit_derivative, primals, tangents))


def _unit_derivative(a: PyTree, tangent: PyTree) -> PyTree:
  norm = _norm_or_one(squared_norm(a))
  unit = jax.tree.map(lambda x: x / norm, a)
  along = _dot(unit, tangent)
  return jax.tree.map(lambda t, u: (t - u * along) / norm, tangent, unit)


def _norm_or_one(square: Array) -> Array:
  # The square root is taken of a number that is never zero, so that its gradient is never infinite.
  return jnp.sqrt(jnp.where(square > 0, square, jnp.ones_like(square)))


def _dot(a: PyTree, b: PyTree) -> Array:
  # Sums of products, not jnp.vdot: a TPU would multiply in bfloat16.
  products = jax.tree.map(lambda x, y: jnp.sum(_wide(x) * _wide(y)), a, b)
  return jax.tree.reduce(jnp.add, products)


def _wide(x: Array) -> Array:
  x = jnp.asarray(x)
  return x if x.dtype in (jnp.float32, jnp.float64) else x.astype(jnp.float32)


# phi(a, b) = 1 - a.b / (|a| |b|), in [0, 2], as half the squared distance of the unit vectors.
cosine = Quadratic(lambda a, b: _unit_difference(jax.tree.map(_wide, a), jax.tree.map(_wide, b)), 0.5)

# phi(a, b) = |a - b|^2, in squared units of the representation.
squared_euclidean = Quadratic(_euclidean_difference, 1.0)
