"""Prototypical networks: a class is the mean of its embedded examples.

`N` support examples, `Q` queries, `C` classes, `D` features. Snell et al., Prototypical Networks for Few-shot
Learning, 2017, https://arxiv.org/abs/1703.05175. psi is the class means in label order (Wu et al., 2025, Table 1).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from metajax import distances
from metajax.types import Array, Examples, Learner, Network

_ABSENT = -1e9  # the logit of a class without examples: never predicted, and finite


class Prototypes(NamedTuple):
  """What ProtoNet knows of a task."""
  means: Array  # [C, D]
  present: Array  # [C] bool; False = no example of this class, whose mean is zero


def adapt(examples: Examples, num_classes: int) -> Prototypes:
  """Returns the prototypes of embedded examples: inputs `[N, D]`, targets `[N]` integers in [0, C)."""
  members = jax.nn.one_hot(examples.targets, num_classes, axis=0, dtype=examples.inputs.dtype)
  members = jnp.where(examples.mask[None, :], members, jnp.zeros_like(members))
  counts = jnp.sum(members, axis=1, keepdims=True)
  return Prototypes(members @ examples.inputs / jnp.maximum(counts, 1), counts[:, 0] > 0)


def predict(prototypes: Prototypes, features: Array, distance: distances.Distance) -> Array:
  """Returns logits `[Q, C]` in nats, the negative distance of each query's features `[Q, D]` to each prototype."""
  to_all = jax.vmap(distance, in_axes=(None, 0))
  logits = -jax.vmap(to_all, in_axes=(0, None))(features, prototypes.means)
  return jnp.where(prototypes.present[None, :], logits, jnp.full_like(logits, _ABSENT))


def protonet(network: Network, *, num_classes: int, distance: distances.Distance = distances.squared_euclidean
             ) -> Learner:
  """Returns the ProtoNet learner on a network that embeds inputs as `[N, D]` features.

  Args:
    network: the embedding, shared by all tasks and computed once per example.
    num_classes: `C`, the most classes that a task has.
    distance: between a query and a prototype; Snell et al. use the squared Euclidean.

  Raises:
    ValueError: if there are fewer than 2 classes.
  """
  if num_classes < 2:
    raise ValueError(f"ProtoNet tells classes apart and needs at least 2 of them, but num_classes is {num_classes}.")

  def adapt_task(params, examples, key):
    del params, key
    return adapt(examples, num_classes)

  def predict_task(params, prototypes, features, mask):
    del params, mask
    return predict(prototypes, features, distance)

  def represent(params, prototypes, key):
    del params, key
    return prototypes.means

  return Learner(network.init, network.apply, adapt_task, predict_task, represent)
