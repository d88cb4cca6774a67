"""A shorter representation, by a random projection: an approximation of ConML for models with very many weights.

Distances of projected vectors are those of the vectors up to a relative error of about `sqrt(2 / size)` each, whatever
their length (Johnson & Lindenstrauss, 1984).
"""

import jax
import jax.numpy as jnp

from metajax.types import Array, Learner, PRNGKey, PyTree


def project(tree: PyTree, size: int, key: PRNGKey) -> Array:
  """Returns `R e / sqrt(size)`, `[size]`, for the vector e that the tree stands for and a normal matrix R.

  Args:
    tree: a pytree of real arrays.
    size: how many numbers are left.
    key: of R: projections of two trees compare if their keys are equal.
  """

  def row(key):
    keys = jax.random.split(key, len(jax.tree.leaves(tree)))
    # A row of R at a time, so that R is never held as a whole.
    dots = [jnp.vdot(jax.random.normal(key, leaf.shape, leaf.dtype), leaf)
            for key, leaf in zip(keys, jax.tree.leaves(tree))]
    return sum(dots[1:], dots[0])

  return jax.lax.map(row, jax.random.split(key, size)) / jnp.sqrt(jnp.asarray(size, jax.tree.leaves(tree)[0].dtype))


def with_projection(learner: Learner, *, size: int, seed: int = 0) -> Learner:
  """Returns the same learner with its representation projected on `size` random directions, the same for all tasks.

  Raises:
    ValueError: if `size` is not positive.
  """
  if size < 1:
    raise ValueError(f"a projection needs at least 1 direction, but size is {size}.")

  def represent(params, adapted, key):
    return project(learner.represent(params, adapted, key), size, jax.random.key(seed))

  return learner._replace(represent=represent)
