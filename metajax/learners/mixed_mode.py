"""A gradient that is itself differentiated in forward mode: the mixed mode of MixFlow-MG.

Kemaev et al., Scalable Meta-Learning via Mixed-Mode Differentiation, ICML 2025, https://arxiv.org/abs/2505.00793.
"""

from typing import Callable

import jax
import jax.numpy as jnp

from metajax.types import Array, PyTree


def mixed_gradient(function: Callable[[PyTree, PyTree], Array], weights: PyTree, rest: PyTree) -> PyTree:
  """Returns the gradient of `function(weights, rest)`, a scalar, with respect to the weights.

  Reverse mode needs vector-Jacobian products of this gradient. Second derivatives are symmetric, so a product with `v`
  is the derivative of the full gradient when the weights move along `v`. It is computed by forward mode over reverse
  mode, which stores no intermediate values. Exact up to rounding. The result has no forward-mode derivative.

  Args:
    function: must not close over anything that is differentiated.
    weights: a pytree of reals.
    rest: all other arguments; its real leaves are differentiated too.
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
