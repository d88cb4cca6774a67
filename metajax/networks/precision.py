"""Arithmetic in a narrower type than the weights are kept in."""

import jax
import jax.numpy as jnp

from metajax.types import Network, PyTree


def computing_in(network: Network, dtype: jnp.dtype) -> Network:
  """Returns the network with its arithmetic in `dtype`, commonly bfloat16, its weights and outputs as wide as before.

  Weights and inputs are rounded on their way in, so gradients, the inner loop's too, come out in the weights' own type.
  """

  def apply(params, inputs, mask):
    outputs = network.apply(_cast(params, dtype), _cast(inputs, dtype), mask)
    widest = jnp.result_type(*jax.tree.leaves(params))
    return _cast(outputs, widest)

  return network._replace(apply=apply)


def _cast(tree: PyTree, dtype: jnp.dtype) -> PyTree:
  return jax.tree.map(lambda leaf: leaf.astype(dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf, tree)
