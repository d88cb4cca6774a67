"""A shorter representation by random projection: an approximation of ConML for models with many weights.

Projection preserves squared distances up to a relative error of about `sqrt(2 / size)`, whatever the length of the
vectors (Johnson & Lindenstrauss, 1984).
"""

import jax
import jax.numpy as jnp

from metajax.types import Array, Learner, PRNGKey, PyTree


def project(tree: PyTree, size: int, key: PRNGKey) -> Array:
  """Returns `R e / sqrt(size)`, `[size]`, where e is the tree as one vector and R a matrix of standard normals.

  Args:
    tree: a pytree of real arrays.
    size: the length of the projection.
    key: the key of R; projections of two trees are comparable only if their keys are equal.
  """

  def row(key):
    keys = jax.random.split(key, len(jax.tree.leaves(tree)))
    # One row of R at a time, so that R is never held in memory.
    dots = [jnp.vdot(jax.random.normal(key, leaf.shape, leaf.dtype), leaf)
            for key, leaf in zip(keys, jax.tree.leaves(tree))]
    return sum(dots[1:], dots[0])

  return jax.lax.map(row, jax.random.split(key, size)) / jnp.sqrt(jnp.asarray(size, jax.tree.leaves(tree)[0].dtype))


def with_projection(learner: Learner, *, size: int, seed: int = 0) -> Learner:
  """Returns the same learner with its representation projected onto `size` random directions, shared by all tasks.

  Raises:
    ValueError: if `size` is not positive.
  """
  if size < 1:
    raise ValueError(f"a projection needs at least 1 direction, but size is {size}.")

  def represent(params, adapted, key):
    return project(learner.represent(params, adapted, key), size, jax.random.key(seed))

  live = learner.in_training
  return learner._replace(represent=represent, in_training=live and (
      lambda key: with_projection(live(key), size=size, seed=seed)))
