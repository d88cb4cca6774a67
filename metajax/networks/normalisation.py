"""Normalisation of activations `[N, H, W, C]`; results should state which one is used.

Statistics are computed from `x [N, H, W, C]`. If `values [N, h, w, C]` are given, they are normalised instead of `x`,
which saves work if `values` are the pooled `x`.

With `batch_statistics`, a prediction depends on the other examples in its batch: evaluation is then transductive, as in
the published code of MAML, Reptile and ProtoNet. `group` and `none` treat examples independently. `running_averages`
does so in tests, and normalises by the batch in training.
"""

from dataclasses import dataclass
from typing import Callable

from jax import lax
import jax.numpy as jnp

from metajax.types import Array

# (activations x [N, H, W, C], mask [N], values [N, h, w, C] = x) -> normalised values. The function must be increasing
# in each channel of each example.
Normalise = Callable[..., Array]

EPSILON = 1e-5


def batch_statistics(x: Array, mask: Array, values: Array | None = None) -> Array:
  """Normalises each channel by its mean and variance over the examples of the batch that are not padding."""
  return by(x if values is None else values, *statistics(x, mask))


def statistics(x: Array, mask: Array) -> tuple[Array, Array]:
  """Returns mean and variance `[1, 1, 1, C]` of each channel over the examples of the batch that are not padding."""
  return _mean(x, mask), _variance(x, mask)


def by(values: Array, mean: Array, variance: Array) -> Array:
  """Returns the values normalised by a mean and a variance of each channel."""
  return (values - mean) * lax.rsqrt(variance + EPSILON)


def _mean(x: Array, mask: Array) -> Array:
  # Summed over space first, so that the mask is applied to [N, C] values instead of all activations.
  per_example = jnp.sum(x, axis=(1, 2))
  kept = jnp.where(mask[:, None], per_example, jnp.zeros_like(per_example))
  size = jnp.maximum(jnp.sum(mask), 1).astype(x.dtype) * (x.shape[1] * x.shape[2])
  return (jnp.sum(kept, axis=0) / size).reshape(1, 1, 1, -1)


def _variance(x: Array, mask: Array) -> Array:
  return _mean(jnp.square(x - _mean(x, mask)), mask)


@dataclass(frozen=True)
class group:  # noqa: N801, used as a function that returns a function
  """Normalises each example separately, over space and `num_groups` groups of channels (Wu & He, 2018).

  fitted: whether, if the groups do not divide the channels, the most groups of at least four channels are taken instead
  of raising ValueError.
  """
  num_groups: int
  fitted: bool = False

  def __call__(self, x: Array, mask: Array, values: Array | None = None) -> Array:
    del mask  # examples do not interact
    channels, num_groups = x.shape[-1], self.num_groups
    if channels % num_groups:
      if not self.fitted:
        raise ValueError(f"group normalisation needs a number of groups that divides the {channels} channels, "
                         f"but got {num_groups}.")
      num_groups = max(number for number in range(1, max(1, channels // 4) + 1) if channels % number == 0)
    values = x if values is None else values
    groups, kept = (each.reshape(*each.shape[:3], num_groups, -1) for each in (x, values))
    centre = jnp.mean(groups, axis=(1, 2, 4), keepdims=True)
    variance = jnp.mean(jnp.square(groups - centre), axis=(1, 2, 4), keepdims=True)
    return ((kept - centre) * lax.rsqrt(variance + EPSILON)).reshape(values.shape)


def none(x: Array, mask: Array, values: Array | None = None) -> Array:
  """Returns the activations unchanged."""
  del mask
  return x if values is None else values


@dataclass(frozen=True)
class running_averages:  # noqa: N801, as above
  """Normalises by batch statistics in training and by their exponential running averages in tests (Ioffe & Szegedy,
  2015).

  A network keeps the averages (`network_state`); it asks this class what to do, and does not call it as a function.
  The variance that is averaged is the biased one, as in Flax. A batch in training is the support and query set of one
  task, or what the learner embeds at a time.

  momentum: the weight of the old average.
  """
  momentum: float = 0.9

  def __call__(self, x: Array, mask: Array, values: Array | None = None) -> Array:
    raise ValueError("running averages are kept by a network that knows of them, such as conv4; here, use another "
                     "normalisation, such as group(8).")


def independent(normalise: Normalise) -> bool:
  """Returns whether a normalisation is known to treat examples independently, in tests."""
  return normalise is none or isinstance(normalise, (group, running_averages))
