"""Normalisation of activations `[N, H, W, C]`, a choice that every result must name.

The statistics are those of `x [N, H, W, C]`; what is normalised with them is `values [N, h, w, C]`, if given, which is
less work where `values` are what pooling has left of `x`.

`batch_statistics` makes a prediction depend on the other examples it is made with: evaluation is then transductive,
as it is in MAML's, Reptile's and ProtoNet's own code. `group` and `none` treat every example by itself.
"""

from dataclasses import dataclass
from typing import Callable

from jax import lax
import jax.numpy as jnp

from metajax.types import Array

# (activations x [N, H, W, C], mask [N], values [N, h, w, C] = x) -> values, by an increasing function in each channel
# of each example.
Normalise = Callable[..., Array]

EPSILON = 1e-5


def batch_statistics(x: Array, mask: Array, values: Array | None = None) -> Array:
  """Normalises each channel by its mean and variance over the examples at hand that are not padding."""
  return ((x if values is None else values) - _mean(x, mask)) * lax.rsqrt(_variance(x, mask) + EPSILON)


def _mean(x: Array, mask: Array) -> Array:
  # Summed over space first: the mask then meets [N, C] numbers instead of all activations.
  per_example = jnp.sum(x, axis=(1, 2))
  kept = jnp.where(mask[:, None], per_example, jnp.zeros_like(per_example))
  size = jnp.maximum(jnp.sum(mask), 1).astype(x.dtype) * (x.shape[1] * x.shape[2])
  return (jnp.sum(kept, axis=0) / size).reshape(1, 1, 1, -1)


def _variance(x: Array, mask: Array) -> Array:
  return _mean(jnp.square(x - _mean(x, mask)), mask)


@dataclass(frozen=True)
class group:  # noqa: N801, it is used as a function that returns a function
  """Normalises each example by itself, over space and `num_groups` groups of channels (Wu & He, 2018)."""
  num_groups: int

  def __call__(self, x: Array, mask: Array, values: Array | None = None) -> Array:
    del mask  # an example meets no other
    if x.shape[-1] % self.num_groups:
      raise ValueError(f"group normalisation needs a number of groups that divides the {x.shape[-1]} channels, "
                       f"but got {self.num_groups}.")
    values = x if values is None else values
    groups, kept = (each.reshape(*each.shape[:3], self.num_groups, -1) for each in (x, values))
    centre = jnp.mean(groups, axis=(1, 2, 4), keepdims=True)
    variance = jnp.mean(jnp.square(groups - centre), axis=(1, 2, 4), keepdims=True)
    return ((kept - centre) * lax.rsqrt(variance + EPSILON)).reshape(values.shape)


def none(x: Array, mask: Array, values: Array | None = None) -> Array:
  """Returns the activations as they are."""
  del mask
  return x if values is None else values


def independent(normalise: Normalise) -> bool:
  """Returns whether a normalisation is known to treat every example by itself."""
  return normalise is none or isinstance(normalise, group)
