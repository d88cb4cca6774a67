"""One step of an optax optimizer, the same for the inner and the outer loop."""

import jax
import optax

from metajax.types import Params


def descend(optimizer: optax.GradientTransformation, gradient: Params, state: optax.OptState, params: Params
            ) -> tuple[Params, optax.OptState]:
  """Returns the parameters after one step of the optimizer, and its next state."""
  # Adam's bias correction raises a float to an integer power, which strict dtype promotion forbids. The parameters keep
  # their dtypes.
  with jax.numpy_dtype_promotion("standard"):
    updates, state = optimizer.update(gradient, state, params)
    return optax.apply_updates(params, updates), state
