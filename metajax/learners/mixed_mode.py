"""A gradient that is itself differentiated forwards: the mixed mode of MixFlow-MG.

Kemaev et al., Scalable Meta-Learning via Mixed-Mode Differentiation, ICML 2025, https://arxiv.org/abs/2505.00793.
"""

from typing import Callable

import jax
import jax.numpy as jnp

from metajax.types import Array, PyTree


def mixed_gradient(function: Callable[[PyTree, PyTree], Array], weights: PyTree, rest: PyTree) -> PyTree:
  """Returns the gradient of `function(weights, rest)`, a scalar, with respect to the weights.

  A derivative of this gradient along `v`, as reverse mode asks for it, is by the symmetry of second derivatives that of
  the whole gradient in the direction `v` of the weights: one forward derivative over the reverse one, of which nothing
  need be kept. Exact but for rounding; has itself no forward-mode derivative.

  Args:
    function: of nothing that is differentiated but its two arguments.
    weights: of real numbers.
    rest: all else; what it has of real numbers gets its derivative, too.
  """

  @jax.custom_vjp
  def gradient(weights, rest):
    return jax.grad(function)(weights, rest)

  def forward(weights, rest):
    return gradient(weights, rest), (weights, rest)

  def backward(kept, direction):
    weights, rest = kept
    reals = jax.tree.map(lambda leaf: leaf if jnp.issubdtype(leaf.dtype, jnp.inexact) else None, rest)

    def of_reals(weights, reals):
      return function(weights, jax.tree.map(lambda leaf, real: leaf if real is None else real, rest, reals))

    whole = lambda weights: jax.grad(of_reals, argnums=(0, 1))(weights, reals)
    return jax.jvp(whole, (weights,), (direction,))[1]

  gradient.defvjp(forward, backward)
  return gradient(weights, rest)
