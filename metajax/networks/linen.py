"""Turns a Flax (linen) module into the pure functions of a `Network`."""

import inspect

from flax import linen as nn
import jax
import jax.numpy as jnp

from metajax.network_state import is_state, new_state, proposing
from metajax.types import Network


def from_linen(module: nn.Module, *, independent: bool = False) -> Network:
  """Returns the network of a Flax module whose `__call__` takes `(inputs [N, ...], mask [N])`.

  If it also takes `train`, that is true in training only: there, the module may draw from the stream `dropout`, and it
  may update running averages, such as the `batch_stats` of `nn.BatchNorm`.

  Args:
    module: the module.
    independent: whether each output depends on its own input only, with `train` false (`Network.independent`).

  Raises:
    ValueError: from `init`, if the module keeps anything but averages of reals beside its parameters.

  >>> import jax, jax.numpy as jnp
  >>> from flax import linen
  >>> from metajax import networks
  >>> class Line(linen.Module):
  ...   @linen.compact
  ...   def __call__(self, inputs, mask, train):
  ...     return linen.Dense(1)(linen.Dropout(0.1, deterministic=not train)(inputs))
  >>> network = networks.from_linen(Line(), independent=True)
  >>> params = network.init(jax.random.key(0), jnp.ones((5, 3)))
  >>> network.apply(params, jnp.ones((5, 3)), jnp.ones(5, bool)).shape
  (5, 1)
  """
  has_modes = "train" in inspect.signature(module.__call__).parameters
  mode = lambda train: {"train": train} if has_modes else {}

  def init(key, inputs):
    mask = jnp.ones(jnp.shape(jax.tree.leaves(inputs)[0])[:1], bool)
    variables = dict(module.init(key, inputs, mask, **mode(False)))
    weights = variables.pop("params", {})
    return {"weights": weights, "state": new_state(variables)} if variables else weights

  def variables_of(params):
    state = params.get("state")
    return {"params": params["weights"], **state.values} if is_state(state) else {"params": params}

  def apply(params, inputs, mask):
    return module.apply(variables_of(params), inputs, mask, **mode(False))

  def in_training(key):

    def apply(params, inputs, mask):
      variables = variables_of(params)
      kept = [name for name in variables if name != "params"]
      outputs, changed = module.apply(variables, inputs, mask, train=True, rngs={"dropout": key}, mutable=kept)
      return proposing(outputs, params["state"], {**params["state"].values, **changed}) if kept else outputs

    return Network(init, apply)

  return Network(init, apply, independent, in_training if has_modes else None)
