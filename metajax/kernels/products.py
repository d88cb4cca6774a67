"""Products of small matrices, such as those of MAML on sinusoids: 10 x 40 by 40 x 40 per task.

Products with a transposed matrix, as in the gradient of every weight, take XLA:CPU twice as long as products with
matrices in reading order. An explicit transpose does not help: XLA folds it into the product, unless a barrier
separates them.
"""

from dataclasses import dataclass

from jax import lax

from metajax.kernels.family import product
from metajax.types import Array

_FEW = 128  # examples of one task


def small(inputs: Array, weights: Array) -> Array:
  """Returns `inputs [N, I] @ weights [I, O]`, for adapted weights under `vmap` over tasks.

  Large matrices gain nothing. Derivatives of any order and mode are defined.

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
      # To transpose a row costs nothing, while XLA:CPU would recompute each number of a column. The examples of all
      # tasks together, if these share weights, are a large matrix.
      return (outputs.T @ inputs).T
    return lax.optimization_barrier(inputs.T) @ outputs
