"""Linear systems of a symmetric positive definite matrix, by Cholesky, differentiated implicitly.

`X = A^-1 B` has the derivative `A^-1 (dB - dA X)`: one more solve with the same factor, rather than the derivative of
the factorisation. That is cheaper. It also leaves a single chain of LAPACK calls, which is what keeps XLA:CPU from
stopping for ever on two cores (`kernels.one_after_another`).
"""

from jax import lax
from jax.scipy.linalg import cho_factor, cho_solve

from metajax.types import Array


def solve(matrix: Array, right: Array) -> Array:
  """Returns `A^-1 B` for a symmetric positive definite `A [N, N]` and `B [N, M]`, in float32 or float64."""
  factor = cho_factor(lax.stop_gradient(matrix), lower=True)
  product = lambda x: matrix @ x
  return lax.custom_linear_solve(product, right, lambda _, b: cho_solve(factor, b), symmetric=True)
