"""Products of small matrices, of which meta-learning has many: a layer of every task, with weights of its own.

XLA:CPU computes `a @ b` fast for many small `a` and `b`, and `a.T @ b` up to three times as slowly, even where the
transpose is written out, since it takes the two for one operation. Every gradient with respect to weights is such a
product, and those of MAML's gradients of gradients are again.
"""

import jax
from jax import lax

from metajax.types import Array


def small(inputs: Array, weights: Array) -> Array:
  """Returns `inputs @ weights`, whose gradients of any order are products that XLA:CPU computes fast.

  For `networks.mlp(product=products.small)` where weights are adapted, under `vmap` over tasks. Not for forward-mode
  derivatives (`jax.jvp`, and so not for implicit MAML nor `mixed_mode`) nor for `jax.shard_map(check_vma=True)`, which
  both refuse it; and without a gain where matrices are large.

  Args:
    inputs: `[N, I]`.
    weights: `[I, O]`.
  """
  return _product(inputs, weights)


# The three products that are one another's gradients.


@jax.custom_vjp
def _product(a: Array, b: Array) -> Array:
  return a @ b


@jax.custom_vjp
def _right_turned(a: Array, b: Array) -> Array:
  return a @ b.T


@jax.custom_vjp
def _left_turned(a: Array, b: Array) -> Array:
  # Of a column or a row XLA makes no product, and the copy of the transpose would cost more than it.
  slow = jax.default_backend() == "cpu" and min(a.shape[1], b.shape[1]) > 1
  return (lax.optimization_barrier(a.T) if slow else a.T) @ b


def _keep(product):
  return lambda a, b: (product(a, b), (a, b))


_product.defvjp(_keep(_product), lambda kept, c: (_right_turned(c, kept[1]), _left_turned(kept[0], c)))
_right_turned.defvjp(_keep(_right_turned), lambda kept, c: (_product(c, kept[1]), _left_turned(c, kept[0])))
_left_turned.defvjp(_keep(_left_turned), lambda kept, c: (_right_turned(kept[1], c), _product(kept[0], c)))
