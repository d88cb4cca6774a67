"""Fully connected networks, such as MAML's 1-40-40-1 for sinusoids."""

import functools
from typing import Callable, Sequence

from flax import linen as nn
import jax

from metajax.checks import check_integers
from metajax.networks import mixture
from metajax.networks.linen import from_linen
from metajax.types import Network


class MLP(nn.Module):
  """Dense layers with an activation between them; inputs `[N, ...]` are flattened, outputs `[N, num_outputs]`.

  Inputs may be mixtures of two.
  """
  hidden: Sequence[int]
  num_outputs: int
  activation: Callable[[jax.Array], jax.Array] = nn.relu
  kernel_init: Callable = nn.initializers.lecun_normal()

  @nn.compact
  def __call__(self, inputs, mask):
    del mask  # an example meets no other
    x, dtype = inputs, mixture.first(inputs).dtype
    for number, width in enumerate(self.hidden):
      dense = nn.Dense(width, param_dtype=dtype, kernel_init=self.kernel_init)
      x = mixture.through(x, number, functools.partial(self._layer, dense))
    x = _flat(mixture.mixed(x, len(self.hidden)))
    return nn.Dense(self.num_outputs, param_dtype=dtype, kernel_init=self.kernel_init)(x)

  def _layer(self, dense, x):
    return self.activation(dense(_flat(x)))


def mlp(hidden: Sequence[int], num_outputs: int, *, activation: Callable[[jax.Array], jax.Array] = nn.relu,
        kernel_init: Callable = nn.initializers.lecun_normal()) -> Network:
  """Returns a fully connected network with layers of `hidden` units and `num_outputs` outputs.

  Raises:
    ValueError: if a layer has no unit.
  """
  for width in (*hidden, num_outputs):
    check_integers(**{"a width of mlp": width})
    if width < 1:
      raise ValueError(f"a layer of mlp needs at least 1 unit, but got widths {tuple(hidden)} and {num_outputs}.")
  return from_linen(MLP(tuple(hidden), num_outputs, activation, kernel_init), independent=True)


def _flat(x: jax.Array) -> jax.Array:
  return x.reshape(x.shape[0], -1)
