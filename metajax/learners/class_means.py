"""The mean of each class's features: what metric-based learners know of a task, and their psi."""

import jax
import jax.numpy as jnp

from metajax.checks import check_integers
from metajax.types import Array, Examples


def one_hot(examples: Examples, num_classes: int, dtype: jnp.dtype) -> Array:
  """Returns `[N, C]`, a one at each example's class; rows of padding are zero. ValueError if targets are no classes."""
  if examples.targets.ndim != 1 or not jnp.issubdtype(examples.targets.dtype, jnp.integer):
    raise ValueError(f"a classifier needs integer targets [examples], but a task's are {examples.targets.dtype}"
                     f"{list(examples.targets.shape)}; number the classes from 0.")
  labels = jax.nn.one_hot(examples.targets, num_classes, dtype=dtype)
  return jnp.where(examples.mask[:, None], labels, jnp.zeros_like(labels))


def class_means(examples: Examples, num_classes: int) -> tuple[Array, Array]:
  """Returns the mean of each class's inputs `[N, D]` as `[C, D]`, zero for an absent one, and which are present `[C]`.
  """
  members = one_hot(examples, num_classes, examples.inputs.dtype)
  counts = jnp.sum(members, axis=0)
  return members.T @ examples.inputs / jnp.maximum(counts, 1)[:, None], counts > 0


def check_num_classes(num_classes: int) -> None:
  """Raises ValueError if there are fewer than 2 classes to tell apart."""
  check_integers(num_classes=num_classes)
  if num_classes < 2:
    raise ValueError(f"a classifier tells at least 2 classes apart, but num_classes is {num_classes}.")
