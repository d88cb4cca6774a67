"""Mixed precision: arithmetic in a narrower dtype than that of the weights."""

import jax
import jax.numpy as jnp

from metajax.network_state import is_state
from metajax.types import Network, PyTree


def computing_in(network: Network, dtype: jnp.dtype) -> Network:
  """Returns the network with its arithmetic in `dtype`, commonly bfloat16; weights and outputs keep their dtype.

  Weights and inputs are cast inside the network, so gradients, those of the inner loop included, have the dtype of the
  weights.
  """

  def apply(params, inputs, mask):
    outputs = network.apply(_cast(params, dtype), _cast(inputs, dtype), mask)
    widest = jnp.result_type(*jax.tree.leaves(params))
    return _cast(outputs, widest)

  live = network.in_training
  return network._replace(apply=apply, in_training=live and (lambda key: computing_in(live(key), dtype)))


def _cast(tree: PyTree, dtype: jnp.dtype) -> PyTree:
  """Casts the reals of a tree, but not the running averages, which would lose their digits."""

  def cast(leaf):
    return leaf.astype(dtype) if not is_state(leaf) and jnp.issubdtype(leaf.dtype, jnp.floating) else leaf

  return jax.tree.map(cast, tree, is_leaf=is_state)
