"""Relation networks: a learned comparison of a query with each class.

Sung et al., Learning to Compare, 2018, https://arxiv.org/abs/1711.06025: the features of a class are summed,
concatenated with the query's, and scored by a relation module. psi is the class features in label order.
"""

import jax
import jax.numpy as jnp

from metajax.learners.class_means import check_num_classes, without_absent
from metajax.learners.in_training import trains_its_networks
from metajax.learners.padding import ignore_padding
from metajax.learners.protonet import Prototypes, adapt
from metajax.types import Learner, Network


@trains_its_networks
def relationnet(network: Network, relation: Network, *, num_classes: int) -> Learner:
  """Returns the relation-network learner.

  Class features are averaged instead of summed, so that shots may differ between classes and from training to test.

  Args:
    network: inputs to features `[N, D]`, shared by all tasks.
    relation: pairs of features `[M, 2 D]` to scores `[M, 1]`, which are the logits.
    num_classes: `C`, the maximum number of classes in a task.

  Raises:
    ValueError: for fewer than 2 classes.
  """
  check_num_classes(num_classes)

  def init(key, inputs):
    key_network, key_relation = jax.random.split(key)
    weights = network.init(key_network, inputs)
    mask = jnp.ones(jax.tree.leaves(inputs)[0].shape[:1], bool)
    features = network.apply(weights, inputs, mask)
    return {"network": weights, "relation": relation.init(key_relation, jnp.concatenate([features] * 2, axis=1))}

  def embed(params, inputs, mask):
    return network.apply(params["network"], inputs, mask)

  def adapt_task(params, examples, key):
    del params, key
    return adapt(examples, num_classes)

  def predict(params, prototypes: Prototypes, features, mask):
    queries, size = features.shape
    pairs = jnp.concatenate([
        jnp.broadcast_to(prototypes.means[None, :, :], (queries, num_classes, size)),
        jnp.broadcast_to(features[:, None, :], (queries, num_classes, size))], axis=-1)
    scores = relation.apply(params["relation"], pairs.reshape(queries * num_classes, 2 * size),
                            jnp.repeat(mask, num_classes)).reshape(queries, num_classes)
    return without_absent(scores, prototypes.present)

  def represent(params, prototypes, key):
    del params, key
    return prototypes.means

  return ignore_padding(Learner(init, embed, adapt_task, predict, represent))
