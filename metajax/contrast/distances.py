"""Distances phi between two task representations.

A representation is a pytree of real arrays read as one long vector `[D]`; a plain array is the simplest pytree. No
leaf is ever flattened or concatenated. Sums are taken in float32 at least, whatever the leaves are.

Wu et al., Learning to Learn with Contrastive Meta-Objective, 2025, https://arxiv.org/abs/2410.05975.

>>> import jax.numpy as jnp
>>> from metajax import distances
>>> east, north = jnp.array([1.0, 0.0]), jnp.array([0.0, 2.0])
>>> float(distances.cosine(east, north)), float(distances.squared_euclidean(east, north))
(1.0, 5.0)
"""

from dataclasses import dataclass
from typing import Callable, NamedTuple

import jax
from jax import lax
import jax.numpy as jnp

from metajax.checks import check_real_arrays
from metajax.types import Array, PyTree

Distance = Callable[[PyTree, PyTree], Array]


class Products(NamedTuple):
  """Inner products of two vectors, from which a distance of them keeps its digits however close they are.

  Adapted weights are theta plus a little, so that rounding errors would be all that is left of the difference of two
  dot products. `a - b` is exact there, and so is all that is made of it.
  """
  square: Array  # |b|^2
  along: Array  # (a - b).b
  square_gap: Array  # |a - b|^2


@dataclass(frozen=True)
class Quadratic:
  """A distance that is squared Euclidean in coordinates f of its own: `phi(a, b) = scale * |f(a) - f(b)|^2`.

  Any such distance has a mean over all pairs of `T` vectors that is a variance, so it costs `O(T)` and needs no
  `T x T` matrix (`contrast.inter_task_distance`).

  between: phi of the products of two vectors.
  shift: from the same products the two numbers `(p, q)` of `f(b) - f(a) = p (b - a) + q a`.
  """
  between: Callable[[Products], Array]
  shift: Callable[[Products], tuple[Array, Array]]
  scale: float

  def __call__(self, a: PyTree, b: PyTree) -> Array:
    return self.between(products(a, b))


def products(a: PyTree, b: PyTree, origin: PyTree | None = None) -> Products:
  """Returns the inner products of two vectors; with an `origin`, of `origin + a` and `origin + b`."""
  gap = difference(a, b)
  square, along = squared_norm(b), dot(gap, b)
  if origin is not None:  # the second in each product: XLA:CPU takes the transposed one a half longer
    square, along = square + 2 * dot(b, origin) + squared_norm(origin), along + dot(gap, origin)
  return Products(square, along, squared_norm(gap))


def difference(a: PyTree, b: PyTree) -> PyTree:
  """Returns `a - b`, in float32 or wider.

  Raises:
    ValueError: if they are not real, or not of one structure and shape; nothing is broadcast.
  """
  check_real_arrays("representations", (a, b))
  shapes = [jax.tree.map(jnp.shape, tree) for tree in (a, b)]
  if shapes[0] != shapes[1]:
    raise ValueError(f"two representations must have one structure and shape, but they are {shapes[0]} and "
                     f"{shapes[1]}.")
  return jax.tree.map(lambda x, y: _wide(x) - _wide(y), a, b)


def squared_norm(tree: PyTree) -> Array:
  """Returns the sum of squares of all entries, a scalar in float32 or wider."""
  return dot(tree, tree)


def dot(a: PyTree, b: PyTree) -> Array:
  """Returns the inner product of two vectors, a scalar in float32 or wider."""
  # As dot products, which need no copy of what they sum; a TPU would multiply in bfloat16 if it were not forbidden.
  dots = jax.tree.map(lambda x, y: jnp.vdot(_wide(x), _wide(y), precision=lax.Precision.HIGHEST), a, b)
  return jax.tree.reduce(jnp.add, dots)


def sigmoid_squared(a: PyTree, b: PyTree) -> Array:
  """Returns the sigmoid of the squared Euclidean distance, in [0.5, 1): the paper's choice for in-context learners."""
  return jax.nn.sigmoid(squared_euclidean(a, b))


class _Norms(NamedTuple):
  a: Array  # one for a zero vector
  b: Array
  longer: Array  # |a| - |b|
  nonzero: tuple[Array, Array]  # whether a is, and whether b is


def _norms(of: Products) -> _Norms:
  growth = of.square_gap + 2 * of.along  # |a|^2 - |b|^2
  square_a = jnp.maximum(of.square + growth, 0)
  a, b = _norm_or_one(square_a), _norm_or_one(of.square)
  nonzero = square_a > 0, of.square > 0
  return _Norms(a, b, jnp.where(nonzero[0] & nonzero[1], growth / (a + b), a - b), nonzero)


def _cosine(of: Products) -> Array:
  """Returns `1 - a.b/(|a| |b|) = (|a - b|^2 - (|a| - |b|)^2) / (2 |a| |b|)`."""
  norm = _norms(of)
  phi = (of.square_gap - norm.longer * norm.longer) / (2 * norm.a * norm.b)
  # A zero vector has no direction and stays zero: its distance to any other is one half.
  half = jnp.where(norm.nonzero[0] | norm.nonzero[1], 0.5, 0.0).astype(phi.dtype)
  return jnp.where(norm.nonzero[0] & norm.nonzero[1], phi, half)


def _direction(of: Products) -> tuple[Array, Array]:
  """Returns the shift of unit vectors: `b/|b| - a/|a| = [(b - a) + (|a| - |b|) a/|a|] / |b|`."""
  norm = _norms(of)
  return 1 / norm.b, norm.longer / (norm.a * norm.b)


def _norm_or_one(square: Array) -> Array:
  # The square root is taken of a number that is never zero, so that its gradient is never infinite.
  return jnp.sqrt(jnp.where(square > 0, square, jnp.ones_like(square)))


def _wide(x: Array) -> Array:
  x = jnp.asarray(x)
  return x if x.dtype in (jnp.float32, jnp.float64) else x.astype(jnp.float32)


# phi(a, b) = 1 - a.b / (|a| |b|), in [0, 2], as half the squared distance of the unit vectors.
cosine = Quadratic(_cosine, _direction, 0.5)

# phi(a, b) = |a - b|^2, in squared units of the representation.
squared_euclidean = Quadratic(lambda of: of.square_gap,
                              lambda of: (jnp.ones_like(of.square), jnp.zeros_like(of.square)), 1.0)
