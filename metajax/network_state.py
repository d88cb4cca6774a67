"""What a network keeps beside its weights: running averages, such as those of batch normalisation.

A `State` is part of the network's parameters, so that it is saved, restored and sharded with them. In training, the
network proposes new values at each call (`proposing`). The outer loop replaces the state by their mean over all calls
of the step, on all tasks and devices (`training.averages`). It is never descended.

The proposal travels with the gradient: that of the values is the sum over calls of `old - new`, that of `count` is the
number of calls.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from metajax.types import Array, PyTree


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class State:
  """The state of a network."""
  values: PyTree  # of reals
  count: Array  # scalar, always zero: its gradient counts calls


def new_state(values: PyTree) -> State:
  """Returns the state with these values.

  Raises:
    ValueError: if some value is not real.
  """
  for path, leaf in jax.tree_util.tree_leaves_with_path(values):
    if not jnp.issubdtype(leaf.dtype, jnp.floating):
      raise ValueError("a network may keep averages of reals beside its weights, but "
                       f"{jax.tree_util.keystr(path, simple=True, separator='/')} is {leaf.dtype}; make it an argument "
                       "of the network, or leave it out.")
  return State(values, jnp.zeros((), jnp.float32))


def is_state(node: Any) -> bool:
  """Returns whether a node of a tree of parameters is a state."""
  return isinstance(node, State)


def has_state(params: PyTree) -> bool:
  """Returns whether there is a state among the parameters."""
  return any(is_state(node) for node in jax.tree.leaves(params, is_leaf=is_state))


def check_stateless(params: PyTree, learner: str) -> None:
  """Raises ValueError if a learner that adapts all parameters is given a network with a state."""
  if has_state(params):
    raise ValueError(f"{learner} adapts all parameters of its network, which therefore cannot keep running averages; "
                     "use another normalisation, such as normalisation.group(8), a learner that adapts a head only, "
                     "or features that all tasks share.")


def proposing(outputs: PyTree, state: State, values: PyTree) -> PyTree:
  """Returns the outputs, and proposes new values of the state. No forward-mode derivative."""
  return _proposing(outputs, state, values)


@jax.custom_vjp
def _proposing(outputs, state, values):
  del state, values
  return outputs


def _forward(outputs, state, values):
  return outputs, (state.values, values)


def _backward(kept, cotangent):
  old, new = kept
  moved = jax.tree.map(lambda a, b: a - b.astype(a.dtype), old, new)
  # One, computed from the proposal: `vmap` sums over tasks what differs between them, and would not sum a constant.
  one = jnp.where(jnp.isnan(jax.tree.leaves(moved)[0].ravel()[0]), jnp.float32(1), jnp.float32(1))
  return cotangent, State(moved, one), jax.tree.map(jnp.zeros_like, new)


_proposing.defvjp(_forward, _backward)
