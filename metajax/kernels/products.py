"""Products of small matrices: what MAML's step on sinusoids consists of, 10 x 40 times 40 x 40 numbers a task.

XLA:CPU computes the product of a transposed matrix, which the gradient of every weight is, half as fast as that of one
that lies as it is read; and where the transpose is written out first, it joins the two again. A barrier keeps them
apart.
"""

from dataclasses import dataclass

import jax
from jax import lax

from metajax.kernels.family import product
from metajax.types import Array

_FEW = 128  # examples of one task


def small(inputs: Array, weights: Array) -> Array:
  """Returns `inputs @ weights`, whose derivatives of any order are products that XLA:CPU computes fast.

  For `networks.mlp(product=products.small)` where weights are adapted, under `vmap` over tasks; without a gain where
  matrices are large.

  Args:
    inputs: `[N, I]`.
    weights: `[I, O]`.

  Raises:
    ValueError: as `family.product`.
  """
  return product(_Matrices(), inputs, weights)


@dataclass(frozen=True)
class _Matrices:
  """`inputs [N, I] @ weights [I, O] = outputs [N, O]`."""

  def outputs(self, inputs: Array, weights: Array) -> Array:
    return inputs @ weights

  def inputs(self, outputs: Array, weights: Array) -> Array:
    return outputs @ weights.T

  def weights(self, inputs: Array, outputs: Array) -> Array:
    if jax.default_backend() != "cpu" or inputs.shape[1] == 1:
      return inputs.T @ outputs
    if outputs.shape[1] == 1 or len(inputs) > _FEW:
      # A row is transposed for nothing, while of a column XLA:CPU would compute each number anew; and the examples of
      # all tasks together, where these share weights, are no small matrix.
      return (outputs.T @ inputs).T
    return lax.optimization_barrier(inputs.T) @ outputs
