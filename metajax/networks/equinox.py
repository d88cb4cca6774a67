"""Turns an Equinox module into the pure functions of a `Network`; needs the package `equinox`."""

import inspect
from typing import Any, Callable

import jax
import jax.numpy as jnp

from metajax.network_state import new_state, proposing
from metajax.types import Array, Network, PRNGKey


def from_equinox(make: Callable[[PRNGKey], Any], *, independent: bool = True) -> Network:
  """Returns the network of the module that `make(key)` builds, called with one example, as Equinox's layers are.

  If `make` returns a module and its state, as `equinox.nn.make_with_state` does, the module is called as
  `module(x, state)` over an axis named `batch`, which `equinox.nn.BatchNorm` averages over. Padding is then part of a
  batch. In training, the module is called with a `key` as well if it takes one, and layers such as
  `equinox.nn.Dropout` draw; in tests they are set to inference.

  Args:
    make: builds the module; its sizes are fixed there.
    independent: whether, in tests, each output depends on its own input only (`Network.independent`).

  Raises:
    ModuleNotFoundError: if Equinox is not installed.

  >>> import equinox, jax, jax.numpy as jnp
  >>> from metajax import networks
  >>> network = networks.from_equinox(lambda key: equinox.nn.Linear(3, 1, key=key))
  >>> params = network.init(jax.random.key(0), jnp.ones((5, 3)))
  >>> network.apply(params, jnp.ones((5, 3)), jnp.ones(5, bool)).shape
  (5, 1)
  """
  try:
    import equinox as eqx  # pylint: disable=import-outside-toplevel
  except ModuleNotFoundError:
    raise ModuleNotFoundError("from_equinox needs the package equinox, which is not installed; run: pip install "
                              "equinox") from None

  def build(key):
    made = make(key)
    return made if isinstance(made, tuple) else (made, None)

  def init(key, inputs):
    del inputs  # sizes are those of `make`
    module, state = build(key)
    weights = eqx.filter(module, eqx.is_inexact_array)
    values = [_as_real(leaf) for leaf in jax.tree.leaves(state)]
    return {"weights": weights, "state": new_state(values)} if values else weights

  def parts(params):
    """Returns the module and its state, None if it has none."""
    module, state = build(jax.random.key(0))  # the compiler drops the weights, which are replaced
    kept = state is not None
    module = eqx.combine(params["weights"] if kept else params, eqx.filter(module, eqx.is_inexact_array, inverse=True))
    if kept:
      structure: Any
      leaves, structure = jax.tree.flatten(state)
      state = structure.unflatten(_back(new, old) for new, old in zip(params["state"].values, leaves, strict=True))
    return module, state

  def apply(params, inputs, mask):
    del mask
    module, state = parts(params)
    module = eqx.nn.inference_mode(module)
    if state is None:
      return jax.vmap(module)(inputs)
    return jax.vmap(module, in_axes=(0, None), out_axes=(0, None), axis_name="batch")(inputs, state)[0]

  def in_training(key):

    def apply(params, inputs, mask):
      module, state = parts(params)
      module = eqx.nn.inference_mode(module, False)
      keys = jax.random.split(key, mask.shape[0])
      draws = "key" in inspect.signature(module.__call__).parameters
      if state is None:
        return jax.vmap(lambda x, key: module(x, **({"key": key} if draws else {})))(inputs, keys)
      outputs, state = jax.vmap(lambda x, key: module(x, state, **({"key": key} if draws else {})),
                                out_axes=(0, None), axis_name="batch")(inputs, keys)
      return proposing(outputs, params["state"], [_as_real(leaf) for leaf in jax.tree.leaves(state)])

    return Network(init, apply)

  return Network(init, apply, independent, in_training)


def _as_real(leaf: Array) -> Array:
  """Returns a leaf of a state as reals; counters and flags are kept as reals, too."""
  return leaf if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf.astype(jnp.float32)


def _back(real: Array, like: Array) -> Array:
  if jnp.issubdtype(like.dtype, jnp.floating):
    return real.astype(like.dtype)
  return jnp.round(real).astype(like.dtype)
