"""Fully connected networks, such as MAML's 1-40-40-1 for sinusoids."""

import functools
from typing import Callable, Sequence

from flax import linen as nn
import jax
import jax.numpy as jnp

from metajax.checks import check_integers
from metajax.kernels import products
from metajax.networks import mixture
from metajax.networks.linen import from_linen
from metajax.networks.weights import Weights, check_weights
from metajax.types import Network


class MLP(nn.Module):
  """Dense layers with an activation between them; inputs `[N, ...]` are flattened, outputs `[N, num_outputs]`.

  Inputs may be mixtures of two.
  """
  hidden: Sequence[int]
  num_outputs: int
  activation: Callable[[jax.Array], jax.Array] = nn.relu
  kernel_init: Callable = nn.initializers.lecun_normal()
  weights: Weights = "per_task"

  @nn.compact
  def __call__(self, inputs, mask):
    del mask  # examples do not interact
    x = inputs
    layer = functools.partial(nn.Dense, param_dtype=mixture.first(inputs).dtype, kernel_init=self.kernel_init,
                              dot_general=self._dot_general)
    for number, width in enumerate(self.hidden):
      dense = layer(width)
      x = mixture.through(x, number, functools.partial(self._layer, dense))
    x = _flat(mixture.mixed(x, len(self.hidden)))
    return layer(self.num_outputs)(x)

  def _layer(self, dense, x):
    return self.activation(dense(_flat(x)))

  def _dot_general(self, inputs, kernel, dimension_numbers, precision=None):
    del dimension_numbers, precision  # always those of a matrix product
    return products.small(inputs, kernel) if self.weights == "per_task" else jnp.matmul(inputs, kernel)


def mlp(hidden: Sequence[int], num_outputs: int, *, activation: Callable[[jax.Array], jax.Array] = nn.relu,
        kernel_init: Callable = nn.initializers.lecun_normal(), weights: Weights = "per_task") -> Network:
  """Returns a fully connected network with layers of `hidden` units and `num_outputs` outputs.

  Args:
    hidden, num_outputs: at least 1 each.
    activation: after each hidden layer.
    kernel_init: initialiser of all kernels.
    weights: "per_task" if a learner adapts them (always correct, and faster on CPU for small layers), "shared" if all
      tasks share them.

  Raises:
    ValueError: if a layer has no units; for other `weights`.
  """
  check_weights(weights)
  for width in (*hidden, num_outputs):
    check_integers(**{"a width of mlp": width})
    if width < 1:
      raise ValueError(f"a layer of mlp needs at least 1 unit, but got widths {tuple(hidden)} and {num_outputs}.")
  return from_linen(MLP(tuple(hidden), num_outputs, activation, kernel_init, weights), independent=True)


def _flat(x: jax.Array) -> jax.Array:
  return x.reshape(x.shape[0], -1)
