"""Normalisation of activations `[N, H, W, C]`, a choice that every result must name.

`batch_statistics` makes a prediction depend on the other examples it is made with: evaluation is then transductive,
as it is in MAML's, Reptile's and ProtoNet's own code. `group` and `none` treat every example by itself.
"""

from dataclasses import dataclass
from typing import Callable

from jax import lax
import jax.numpy as jnp

from metajax.types import Array

Normalise = Callable[[Array, Array], Array]  # (activations [N, H, W, C], mask [N]) -> activations

_EPSILON = 1e-5


def batch_statistics(x: Array, mask: Array) -> Array:
  """Normalises each channel by its mean and variance over the examples at hand that are not padding."""
  size = jnp.maximum(jnp.sum(mask), 1).astype(x.dtype) * (x.shape[1] * x.shape[2])

  def mean(values):
    # Summed over space first: the mask then meets [N, C] numbers instead of all activations.
    per_example = jnp.sum(values, axis=(1, 2))
    kept = jnp.where(mask[:, None], per_example, jnp.zeros_like(per_example))
    return (jnp.sum(kept, axis=0) / size).reshape(1, 1, 1, -1)

  centred = x - mean(x)
  return centred * lax.rsqrt(mean(jnp.square(centred)) + _EPSILON)


@dataclass(frozen=True)
class group:  # noqa: N801, it is used as a function that returns a function
  """Normalises each example by itself, over space and `num_groups` groups of channels (Wu & He, 2018)."""
  num_groups: int

  def __call__(self, x: Array, mask: Array) -> Array:
    del mask  # an example meets no other
    if x.shape[-1] % self.num_groups:
      raise ValueError(f"group normalisation needs a number of groups that divides the {x.shape[-1]} channels, "
                       f"but got {self.num_groups}.")
    groups = x.reshape(*x.shape[:3], self.num_groups, -1)
    centred = groups - jnp.mean(groups, axis=(1, 2, 4), keepdims=True)
    variance = jnp.mean(jnp.square(centred), axis=(1, 2, 4), keepdims=True)
    return (centred * lax.rsqrt(variance + _EPSILON)).reshape(x.shape)


def none(x: Array, mask: Array) -> Array:
  """Returns the activations as they are."""
  del mask
  return x


def independent(normalise: Normalise) -> bool:
  """Returns whether a normalisation is known to treat every example by itself."""
  return normalise is none or isinstance(normalise, group)
