"""Turns a Flax NNX module into the pure functions of a `Network`."""

import inspect
from typing import Any, Callable

from flax import nnx
import jax

from metajax.network_state import has_state, new_state, proposing
from metajax.types import Network


def from_nnx(make: Callable[[nnx.Rngs], nnx.Module], *, independent: bool = False) -> Network:
  """Returns the network of the module that `make(rngs)` builds, called with `inputs [N, ...]` or `(inputs, mask [N])`.

  In training, `module.train()` is called first: layers such as `nnx.Dropout` then draw, and `nnx.BatchNorm` updates its
  running averages. In tests it is `module.eval()`.

  Args:
    make: builds the module; its sizes are fixed there.
    independent: whether, in tests, each output depends on its own input only (`Network.independent`).

  Raises:
    ValueError: from `init`, if the module keeps anything but random keys and averages of reals beside its parameters.

  >>> import jax, jax.numpy as jnp
  >>> from flax import nnx
  >>> from metajax import networks
  >>> network = networks.from_nnx(lambda rngs: nnx.Linear(3, 1, rngs=rngs), independent=True)
  >>> params = network.init(jax.random.key(0), jnp.ones((5, 3)))
  >>> network.apply(params, jnp.ones((5, 3)), jnp.ones(5, bool)).shape
  (5, 1)
  """

  def split(key):
    return nnx.split(make(nnx.Rngs(key)), nnx.Param, nnx.RngState, ...)

  def init(key, inputs):
    del inputs  # sizes are those of `make`
    _, weights, _, rest = split(key)
    weights, rest = nnx.to_pure_dict(weights), nnx.to_pure_dict(rest)
    return {"weights": weights, "state": new_state(rest)} if jax.tree.leaves(rest) else weights

  def module_of(params, key):
    graph, weights, random, rest = split(key)  # the compiler drops the weights, which are replaced
    kept = has_state(params)
    nnx.replace_by_pure_dict(weights, params["weights"] if kept else params)
    if kept:
      nnx.replace_by_pure_dict(rest, params["state"].values)
    return nnx.merge(graph, weights, random, rest)

  def call(module, inputs, mask):
    takes_mask = "mask" in inspect.signature(module.__call__).parameters
    return module(inputs, mask) if takes_mask else module(inputs)

  def apply(params, inputs, mask):
    module = module_of(params, jax.random.key(0))
    module.eval()
    return call(module, inputs, mask)

  def in_training(key):

    def apply(params, inputs, mask):
      module = module_of(params, key)
      module.train()
      outputs = call(module, inputs, mask)
      if not has_state(params):
        return outputs
      rest: Any = nnx.split(module, nnx.Param, nnx.RngState, ...)[-1]
      return proposing(outputs, params["state"], nnx.to_pure_dict(rest))

    return Network(init, apply)

  return Network(init, apply, independent, in_training)
