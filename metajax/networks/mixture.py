"""Two examples in one place, to be mixed between two layers of a network (manifold mixup; Verma et al., 2019).

Networks that go layer by layer (mlp, conv4) take a `Mixture [N, ...]` for inputs: both go through the layers before
the one at which they are mixed, by the same weights; what comes out is the mixture's.
"""

from typing import Callable, NamedTuple

import jax.numpy as jnp

from metajax.types import Array


class Mixture(NamedTuple):
  """`N` pairs of examples; a pair is mixed, `weight` of one and `1 - weight` of the other, before layer `stage`.

  Stage 0 is the input; one beyond the network's layers is its last activations.
  """
  one: Array  # [N, ...]
  other: Array  # [N, ...]
  weight: Array  # [N], in [0, 1]
  stage: Array  # [N] integers


def through(x: Array | Mixture, stage: int, layer: Callable[[Array], Array]) -> Array | Mixture:
  """Returns what comes out of a layer, the number `stage` of its network, for an input or a mixture of two."""
  if not isinstance(x, Mixture):
    return layer(x)
  one = _mixed(x, x.stage == stage)
  return x._replace(one=layer(one), other=layer(x.other))


def mixed(x: Array | Mixture, stages: int) -> Array:
  """Returns the last activations of a network of so many layers; a mixture is one from here on."""
  return _mixed(x, x.stage >= stages) if isinstance(x, Mixture) else x


def first(x: Array | Mixture) -> Array:
  """Returns an array of the shape and type of the inputs."""
  return x.one if isinstance(x, Mixture) else x


def _mixed(x: Mixture, here: Array) -> Array:
  # The other one stays as it is, unmixed, and is of no meaning after.
  weight = jnp.where(here, x.weight, jnp.ones_like(x.weight)).astype(x.one.dtype)
  weight = weight.reshape(-1, *[1] * (x.one.ndim - 1))
  return weight * x.one + (1 - weight) * x.other
