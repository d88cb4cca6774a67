"""A small residual network whose activations are scaled and shifted per task (FiLM).

Perez et al., FiLM, 2018, https://arxiv.org/abs/1709.07871: after each normalisation, channel c becomes
`(1 + gamma_c) x_c + beta_c`. CNAPs applies it after every convolution of a ResNet (Requeima et al., 2019).
"""

from typing import Sequence

from flax import linen as nn
import jax.numpy as jnp

from metajax.kernels.convolution import convolve
from metajax.kernels.pooling import max_pool, relu
from metajax.networks import normalisation
from metajax.types import FilmNetwork


class FilmResNet(nn.Module):
  """Stages of one residual block each, which halve the resolution, then an average over space."""
  filters: Sequence[int]
  normalise: normalisation.Normalise

  @nn.compact
  def __call__(self, film, inputs, mask):
    taken = 0

    def layer(x, filters, name):
      nonlocal taken
      kernel = self.param(name, nn.initializers.he_normal(), (3, 3, x.shape[-1], filters), x.dtype)
      x = self.normalise(convolve(x, kernel), mask)
      scale, shift = film[taken:taken + filters], film[taken + filters:taken + 2 * filters]
      taken += 2 * filters
      # The network's own scale and shift, then the task's.
      x = x * self.param(name + "_scale", nn.initializers.ones, (1, 1, 1, filters), x.dtype)
      x = x + self.param(name + "_bias", nn.initializers.zeros, (1, 1, 1, filters), x.dtype)
      return x * (1 + scale.reshape(1, 1, 1, -1)) + shift.reshape(1, 1, 1, -1)

    x = inputs
    for stage, filters in enumerate(self.filters):
      hidden = relu(layer(x, filters, f"stage{stage}_first"))
      out = layer(hidden, filters, f"stage{stage}_second")
      if x.shape[-1] != filters:
        x = nn.Dense(filters, use_bias=False, dtype=x.dtype, param_dtype=x.dtype,
                     name=f"stage{stage}_shortcut")(x)
      x = relu(max_pool(out + x))
    return jnp.mean(x, axis=(1, 2))


def film_resnet(filters: Sequence[int] = (32, 64, 64, 64), *,
                normalise: normalisation.Normalise = normalisation.group(8)) -> FilmNetwork:
  """Returns a network that maps images `[N, H, W, channels]` to features `[N, filters[-1]]`.

  Args:
    filters: channels of each stage; each stage halves the resolution.
    normalise: how activations are normalised. With batch statistics, the features of a support example would depend on
      the others; with group normalisation they do not.
  """
  module = FilmResNet(tuple(filters), normalise)
  num_film = 4 * sum(filters)

  def init(key, inputs):
    return module.init(key, jnp.zeros(num_film, inputs.dtype), inputs, jnp.ones(inputs.shape[:1], bool))["params"]

  def apply(params, film, inputs, mask):
    return module.apply({"params": params}, film, inputs, mask)

  return FilmNetwork(init, apply, num_film)
