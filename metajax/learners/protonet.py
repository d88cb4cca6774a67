"""Prototypical networks: each class is represented by the mean of its embedded examples.

`N` support examples, `Q` queries, `C` classes, `D` features. Snell et al., Prototypical Networks for Few-shot
Learning, 2017, https://arxiv.org/abs/1703.05175. psi is the class means in label order (Wu et al., 2025, Table 1).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from metajax.contrast import distances
from metajax.learners.class_means import check_num_classes, class_means, without_absent
from metajax.learners.in_training import trains_its_networks
from metajax.learners.padding import ignore_padding
from metajax.types import Array, Examples, Learner, Network


class Prototypes(NamedTuple):
  """The task model of ProtoNet."""
  means: Array  # [C, D], zero for absent classes
  present: Array  # [C] bool; False for a class without examples


def adapt(examples: Examples, num_classes: int) -> Prototypes:
  """Returns the prototypes of embedded examples: inputs `[N, D]`, targets `[N]` integers in [0, C)."""
  return Prototypes(*class_means(examples, num_classes))


def predict(prototypes: Prototypes, features: Array, distance: distances.Distance, temperature: Array | float = 1.0
            ) -> Array:
  """Returns logits `[Q, C]` in nats: the negative distance of each query's features `[Q, D]` to each prototype.

  Distances are divided by the temperature. Absent classes are left out, as in `without_absent`.
  """
  to_all = jax.vmap(distance, in_axes=(None, 0))
  # Distances are accumulated in float32 or wider; the logits have the features' dtype.
  logits = -jax.vmap(to_all, in_axes=(0, None))(features, prototypes.means).astype(features.dtype) / temperature
  return without_absent(logits, prototypes.present)


@trains_its_networks
def protonet(network: Network, *, num_classes: int, distance: distances.Distance = distances.squared_euclidean,
             learned_temperature: float | None = None) -> Learner:
  """Returns the ProtoNet learner on a network that embeds inputs as `[N, D]` features.

  Args:
    network: the embedding, shared by all tasks and computed once per example.
    num_classes: `C`, the maximum number of classes in a task.
    distance: between a query and a prototype; Snell et al. use the squared Euclidean distance.
    learned_temperature: positive initial value of a learned temperature that divides the distances. None for no
      temperature; the parameters are then those of the network. The cosine distance, in [0, 2], needs one (commonly
      0.1).

  Raises:
    ValueError: for fewer than 2 classes, or a temperature that is not positive.

  >>> import jax, jax.numpy as jnp
  >>> from metajax import Network, examples, learners
  >>> raw = Network(init=lambda key, inputs: {}, apply=lambda params, inputs, mask: inputs)
  >>> learner = learners.protonet(raw, num_classes=2)
  >>> support = examples.examples(jnp.array([[0.0], [1.0], [5.0]]), jnp.array([0, 0, 1]))
  >>> model = learner.adapt({}, support, jax.random.key(0))
  >>> model.means.tolist()
  [[0.5], [5.0]]
  >>> learner.predict({}, model, jnp.array([[1.0], [4.0]]), jnp.ones(2, bool)).argmax(axis=1).tolist()
  [0, 1]
  """
  check_num_classes(num_classes)

  def adapt_task(params, examples, key):
    del params, key
    return adapt(examples, num_classes)

  def represent(params, prototypes, key):
    del params, key
    return prototypes.means

  if learned_temperature is None:

    def predict_task(params, prototypes, features, mask):
      del params, mask
      return predict(prototypes, features, distance)

    return ignore_padding(Learner(network.init, network.apply, adapt_task, predict_task, represent))

  if learned_temperature <= 0:
    raise ValueError(f"learned_temperature must be positive, but it is {learned_temperature}.")

  def init(key, inputs):
    # The logarithm is learned, so that the temperature stays positive.
    return {"network": network.init(key, inputs), "log_temperature": jnp.log(jnp.float32(learned_temperature))}

  def embed(params, inputs, mask):
    return network.apply(params["network"], inputs, mask)

  def predict_scaled(params, prototypes, features, mask):
    del mask
    return predict(prototypes, features, distance, jnp.exp(params["log_temperature"]).astype(features.dtype))

  return ignore_padding(Learner(init, embed, adapt_task, predict_scaled, represent))
