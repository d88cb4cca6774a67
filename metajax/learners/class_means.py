"""The mean of each class's features: the task model of metric-based learners, and their psi."""

import math

import jax
import jax.numpy as jnp

from metajax.checks import check_integers
from metajax.types import Array, Examples


def one_hot(examples: Examples, num_classes: int, dtype: jnp.dtype) -> Array:
  """Returns one-hot labels `[N, C]`, zero in rows of padding. Raises ValueError if the targets are not classes."""
  if examples.targets.ndim != 1 or not jnp.issubdtype(examples.targets.dtype, jnp.integer):
    raise ValueError(f"a classifier needs integer targets [examples], but a task has {examples.targets.dtype}"
                     f"{list(examples.targets.shape)}; number the classes from 0.")
  labels = jax.nn.one_hot(examples.targets, num_classes, dtype=dtype)
  return jnp.where(examples.mask[:, None], labels, jnp.zeros_like(labels))


def class_means(examples: Examples, num_classes: int) -> tuple[Array, Array]:
  """Returns class means `[C, D]` of inputs `[N, D]`, zero for absent classes, and which classes are present `[C]`."""
  members = one_hot(examples, num_classes, examples.inputs.dtype)
  counts = jnp.sum(members, axis=0)
  return members.T @ examples.inputs / jnp.maximum(counts, 1)[:, None], counts > 0


def without_absent(logits: Array, present: Array) -> Array:
  """Returns logits `[Q, C]` in which classes that are not `present [C]` take no part in the softmax.

  Their probability is set to 1e-9, less than float32 resolves, so the losses of all other classes are those of a
  softmax without them. A query of an absent class cannot be answered: its loss is 20.7 nats, `-log(1e-9)`, and its
  gradient is zero. Without any class, all are equally likely.
  """
  some = jnp.any(present)
  known = jnp.where(present[None, :] & some, logits, jnp.full_like(logits, -jnp.inf))
  total = jax.nn.logsumexp(jnp.where(some, known, jnp.zeros_like(known)), axis=1, keepdims=True)
  absent = total.astype(logits.dtype) + jnp.full((), math.log(1e-9), logits.dtype)
  return jnp.where(present[None, :], logits, absent)


def check_num_classes(num_classes: int) -> None:
  """Raises ValueError for fewer than 2 classes."""
  check_integers(num_classes=num_classes)
  if num_classes < 2:
    raise ValueError(f"a classifier needs at least 2 classes, but num_classes is {num_classes}.")
