"""Pairs of examples that are mixed between two layers of a network (manifold mixup; Verma et al., 2019).

mlp and conv4 accept a `Mixture [N, ...]` as inputs: both examples of a pair pass through the layers before the one at
which they are mixed, with the same weights; the outputs are those of the mixture.
"""

from typing import Callable, NamedTuple

import jax.numpy as jnp

from metajax.types import Array


class Mixture(NamedTuple):
  """`N` pairs of examples; a pair is mixed, with weights `weight` and `1 - weight`, before layer `stage`.

  Stage 0 mixes the inputs; a stage beyond the last layer mixes the last activations.
  """
  one: Array  # [N, ...]
  other: Array  # [N, ...]
  weight: Array  # [N], in [0, 1]
  stage: Array  # [N] integers


def through(x: Array | Mixture, stage: int, layer: Callable[[Array], Array]) -> Array | Mixture:
  """Returns the output of layer number `stage` of a network, for an input or a mixture of two."""
  if not isinstance(x, Mixture):
    return layer(x)
  one = _mixed(x, x.stage == stage)
  return x._replace(one=layer(one), other=layer(x.other))


def mixed(x: Array | Mixture, stages: int) -> Array:
  """Returns the last activations of a network of `stages` layers, with mixtures mixed at the latest here."""
  return _mixed(x, x.stage >= stages) if isinstance(x, Mixture) else x


def first(x: Array | Mixture) -> Array:
  """Returns an array with the shape and dtype of the inputs."""
  return x.one if isinstance(x, Mixture) else x


def _mixed(x: Mixture, here: Array) -> Array:
  # `other` is not mixed; it is not used any more.
  weight = jnp.where(here, x.weight, jnp.ones_like(x.weight)).astype(x.one.dtype)
  weight = weight.reshape(-1, *[1] * (x.one.ndim - 1))
  return weight * x.one + (1 - weight) * x.other
