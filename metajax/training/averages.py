"""Running averages of networks in the outer loop: replaced by what the step proposes, while weights are descended."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from metajax.network_state import State, is_state
from metajax.types import Params, PyTree


def weights(params: Params) -> PyTree:
  """Returns the parameters without the states of networks: None in their place."""
  return jax.tree.map(lambda node: None if is_state(node) else node, params, is_leaf=is_state)


def keeping_averages(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
  """Returns the optimizer of the weights, which replaces each network's state by the mean of its proposals.

  For networks without a state, it is the given optimizer.
  """

  def init(params):
    return optimizer.init(weights(params))

  def update(gradient, opt_state, params=None):
    updates, opt_state = optimizer.update(weights(gradient), opt_state, weights(params))
    structure: Any
    nodes, structure = jax.tree.flatten(gradient, is_leaf=is_state)
    descended = structure.flatten_up_to(updates)
    return structure.unflatten(
        _replaced(node) if is_state(node) else new for node, new in zip(nodes, descended, strict=True)), opt_state

  return optax.GradientTransformation(init, update)


def _replaced(gradient: State) -> State:
  """Returns the update that makes a state the mean of its proposals; nothing if there is none."""
  calls = jnp.where(gradient.count > 0, gradient.count, jnp.ones_like(gradient.count))
  return State(jax.tree.map(lambda leaf: -leaf / calls.astype(leaf.dtype), gradient.values),
               jnp.zeros_like(gradient.count))
