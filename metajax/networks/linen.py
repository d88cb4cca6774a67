"""Turns a Flax module into the two pure functions of a `Network`."""

from flax import linen as nn
import jax
import jax.numpy as jnp

from metajax.types import Network


def from_linen(module: nn.Module, *, independent: bool = False) -> Network:
  """Returns the network of a Flax module whose `__call__` takes `(inputs [N, ...], mask [N])`.

  Args:
    module: the module.
    independent: whether each output depends on its own input only (`Network.independent`).

  >>> import jax, jax.numpy as jnp
  >>> from flax import linen
  >>> from metajax import networks
  >>> class Line(linen.Module):
  ...   @linen.compact
  ...   def __call__(self, inputs, mask):
  ...     return linen.Dense(1)(inputs)
  >>> network = networks.from_linen(Line(), independent=True)
  >>> params = network.init(jax.random.key(0), jnp.ones((5, 3)))
  >>> network.apply(params, jnp.ones((5, 3)), jnp.ones(5, bool)).shape
  (5, 1)
  """

  def init(key, inputs):
    mask = jnp.ones(jnp.shape(jax.tree.leaves(inputs)[0])[:1], bool)
    return module.init(key, inputs, mask)["params"]

  def apply(params, inputs, mask):
    return module.apply({"params": params}, inputs, mask)

  return Network(init, apply, independent)
