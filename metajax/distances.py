"""Distances phi between two task representations.

A representation is a pytree of real arrays read as one long vector `[D]`; a plain array is the simplest pytree. No
leaf is ever flattened or concatenated. Sums are taken in float32 at least, whatever the leaves are.

Wu et al., Learning to Learn with Contrastive Meta-Objective, 2025, https://arxiv.org/abs/2410.05975.
"""

from dataclasses import dataclass
from typing import Callable, NamedTuple

import jax
from jax import lax
from jax.custom_derivatives import SymbolicZero
import jax.numpy as jnp

from metajax.types import Array, PyTree

Distance = Callable[[PyTree, PyTree], Array]


@dataclass(frozen=True)
class Quadratic:
  """A distance that is squared Euclidean in coordinates f of its own: `phi(a, b) = scale * |f(a) - f(b)|^2`.

  Any such distance has a mean over all pairs of `T` vectors that is a variance, so it costs `O(T)` and needs no
  `T x T` matrix (`contrast.inter_task_distance`).

  between: `(a [D], b [D]) -> phi(a, b)`.
  coordinates: `(a [D], origin [D]) -> f(a) - f(origin)`, accurate however close the two are; the origin is a constant,
    to which no gradient flows.
  """
  between: Distance
  coordinates: Callable[[PyTree, PyTree], PyTree]
  scale: float

  def __call__(self, a: PyTree, b: PyTree) -> Array:
    return self.between(a, b)


def squared_norm(tree: PyTree) -> Array:
  """Returns the sum of squares of all entries, a scalar in float32 or wider."""
  return _dot(tree, tree)


def sigmoid_squared(a: PyTree, b: PyTree) -> Array:
  """Returns the sigmoid of the squared Euclidean distance, in [0.5, 1): the paper's choice for in-context learners."""
  return jax.nn.sigmoid(squared_euclidean(a, b))


def _difference(a: PyTree, b: PyTree) -> PyTree:
  return jax.tree.map(lambda x, y: _wide(x) - _wide(y), a, b)


class _Pair(NamedTuple):
  """Two vectors measured against each other, to full relative accuracy even where they agree in all but a few digits.

  Adapted weights are theta plus a little, so their unit vectors are nearly equal, and rounding errors would be all that
  is left of the difference of the two. `a - b` is exact there, and so is all that is made of it.
  """
  gap: PyTree  # a - b
  norm_a: Array  # one for a zero vector
  norm_b: Array
  longer: Array  # |a| - |b|
  squared_gap: Array
  nonzero: tuple[Array, Array]  # whether a is, and whether b is


def _measure(a: PyTree, b: PyTree) -> _Pair:
  gap = _difference(a, b)
  squared_gap, along, square_b = squared_norm(gap), _dot(gap, b), squared_norm(b)
  growth = squared_gap + 2 * along  # |a|^2 - |b|^2
  square_a = jnp.maximum(square_b + growth, 0)
  norm_a, norm_b = _norm_or_one(square_a), _norm_or_one(square_b)
  nonzero = square_a > 0, square_b > 0
  longer = jnp.where(nonzero[0] & nonzero[1], growth / (norm_a + norm_b), norm_a - norm_b)
  return _Pair(gap, norm_a, norm_b, longer, squared_gap, nonzero)


@jax.custom_jvp
def _cosine(a: PyTree, b: PyTree) -> Array:
  return _cosine_of(_measure(a, b))


def _cosine_of(pair: _Pair) -> Array:
  """Returns `1 - a.b/(|a| |b|) = (|a - b|^2 - (|a| - |b|)^2) / (2 |a| |b|)`."""
  phi = (pair.squared_gap - pair.longer * pair.longer) / (2 * pair.norm_a * pair.norm_b)
  # A zero vector has no direction and stays zero: its distance to any other is one half.
  half = jnp.where(pair.nonzero[0] | pair.nonzero[1], 0.5, 0.0).astype(phi.dtype)
  return jnp.where(pair.nonzero[0] & pair.nonzero[1], phi, half)


def _cosine_jvp(primals: tuple[PyTree, PyTree], tangents: tuple[PyTree, PyTree]) -> tuple[Array, Array]:
  # d phi/da = [(a - b) - a (|a| - |b| + |b| phi)/|a|] / (|a| |b|), and the same for b with the two exchanged. Written
  # so that its transpose reads each vector once.
  pair = _measure(*primals)
  phi = _cosine_of(pair)
  share = jnp.where(pair.nonzero[0] & pair.nonzero[1], 1 / (pair.norm_a * pair.norm_b), jnp.zeros_like(phi))
  slope = jnp.zeros_like(phi)
  for vector, tangent, sign, fraction in zip(primals, tangents, (1, -1), (
      (pair.longer + pair.norm_b * phi) / pair.norm_a, (pair.norm_a * phi - pair.longer) / pair.norm_b)):
    for gap, x, t in zip(*map(jax.tree.leaves, (pair.gap, vector, tangent))):
      if not isinstance(t, SymbolicZero):  # such as that of an origin, which is a constant
        slope += _dot(sign * share * gap - share * fraction * _wide(x), t)
  return phi, slope


_cosine.defjvp(_cosine_jvp, symbolic_zeros=True)


@jax.custom_jvp
def _direction(a: PyTree, origin: PyTree) -> PyTree:
  """Returns `a/|a| - o/|o| = [(a - o) - o (|a| - |o|)/|o|] / |a|`."""
  pair = _measure(a, origin)
  return jax.tree.map(lambda gap, o: (gap - _wide(o) * (pair.longer / pair.norm_b)) / pair.norm_a, pair.gap, origin)


@_direction.defjvp
def _direction_jvp(primals: tuple[PyTree, PyTree], tangents: tuple[PyTree, PyTree]) -> tuple[PyTree, PyTree]:
  a, origin = primals
  norm = _measure(a, origin).norm_a
  along = _dot(a, tangents[0]) / (norm * norm)
  return _direction(a, origin), jax.tree.map(lambda t, x: (_wide(t) - _wide(x) * along) / norm, tangents[0], a)


def _norm_or_one(square: Array) -> Array:
  # The square root is taken of a number that is never zero, so that its gradient is never infinite.
  return jnp.sqrt(jnp.where(square > 0, square, jnp.ones_like(square)))


def _dot(a: PyTree, b: PyTree) -> Array:
  # As dot products, which need no copy of what they sum; a TPU would multiply in bfloat16 if it were not forbidden.
  dots = jax.tree.map(lambda x, y: jnp.vdot(_wide(x), _wide(y), precision=lax.Precision.HIGHEST), a, b)
  return jax.tree.reduce(jnp.add, dots)


def _wide(x: Array) -> Array:
  x = jnp.asarray(x)
  return x if x.dtype in (jnp.float32, jnp.float64) else x.astype(jnp.float32)


# phi(a, b) = 1 - a.b / (|a| |b|), in [0, 2], as half the squared distance of the unit vectors.
cosine = Quadratic(_cosine, _direction, 0.5)

# phi(a, b) = |a - b|^2, in squared units of the representation.
squared_euclidean = Quadratic(lambda a, b: squared_norm(_difference(a, b)), _difference, 1.0)
