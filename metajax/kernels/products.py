"""Products of small matrices: what MAML's step on sinusoids consists of, 10 x 40 times 40 x 40 numbers a task.

XLA:CPU multiplies by a transposed matrix, as in the gradient of every weight, half as fast as by one in the order in
which it is read. It folds a transpose that is written out into the product again, unless a barrier keeps them apart.
"""

from dataclasses import dataclass

from jax import lax

from metajax.kernels.family import product
from metajax.types import Array

_FEW = 128  # examples of one task


def small(inputs: Array, weights: Array) -> Array:
  """Returns `inputs [N, I] @ weights [I, O]`: for weights that are adapted, under `vmap` over tasks.

  No gain where matrices are large. Derivatives of any order and mode.

  Raises:
    ValueError: as `family.product`.
  """
  return product(_Matrices(), inputs, weights)


@dataclass(frozen=True)
class _Matrices:
  """`inputs [N, I] @ weights [I, O] = outputs [N, O]`."""

  def plain(self, inputs: Array, weights: Array) -> Array:
    return inputs @ weights

  def outputs(self, inputs: Array, weights: Array) -> Array:
    return inputs @ weights

  def inputs(self, outputs: Array, weights: Array) -> Array:
    return outputs @ weights.T

  def weights(self, inputs: Array, outputs: Array) -> Array:
    if inputs.shape[1] == 1:
      return inputs.T @ outputs
    if outputs.shape[1] == 1 or len(inputs) > _FEW:
      # To transpose a row costs nothing, while XLA:CPU would recompute each number of a column; and the examples of all
      # tasks together, where these share weights, are no small matrix.
      return (outputs.T @ inputs).T
    return lax.optimization_barrier(inputs.T) @ outputs
