"""From a flax module to the two pure functions of a `Network`."""

from flax import linen as nn
import jax
import jax.numpy as jnp

from metajax.types import Network


def from_linen(module: nn.Module, *, independent: bool = False) -> Network:
  """Returns the network of a flax module whose `__call__` takes `(inputs [N, ...], mask [N])`.

  Args:
    module: the module.
    independent: whether each output depends on its own input alone (`Network.independent`).
  """

  def init(key, inputs):
    mask = jnp.ones(jnp.shape(jax.tree.leaves(inputs)[0])[:1], bool)
    return module.init(key, inputs, mask)["params"]

  def apply(params, inputs, mask):
    return module.apply({"params": params}, inputs, mask)

  return Network(init, apply, independent)
