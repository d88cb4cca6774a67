"""ProtoNet: means, masks, and absent classes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metajax import learners, losses, objectives
from metajax.contrast import distances
from metajax.examples import examples
from metajax.learners.protonet import adapt, predict
from metajax.types import Network
from tests.helpers import classification_episodes


def identity_learner(num_classes=3, distance=distances.squared_euclidean):
  network = Network(lambda key, inputs: {}, lambda params, inputs, mask: inputs)
  return learners.protonet(network, num_classes=num_classes, distance=distance)


def test_prototypes_are_masked_means():
  inputs = jnp.array([[1.0, 0.0], [3.0, 2.0], [5.0, 5.0], [100.0, 100.0]])
  support = examples(inputs, jnp.array([0, 0, 2, 2]), jnp.array([True, True, True, False]))
  prototypes = adapt(support, 4)
  np.testing.assert_allclose(prototypes.means, [[2, 1], [0, 0], [5, 5], [0, 0]])
  np.testing.assert_array_equal(prototypes.present, [True, False, True, False])
  logits = predict(prototypes, jnp.array([[2.0, 2.0]]), distances.squared_euclidean)
  absent = -1 + np.log1p(np.exp(-17.0)) + np.log(1e-9)
  np.testing.assert_allclose(logits, [[-1, absent, -18, absent]], rtol=1e-6)


@pytest.mark.parametrize("distance", [distances.squared_euclidean, distances.cosine], ids=["euclidean", "cosine"])
def test_separable_clusters_are_classified(distance):
  random = np.random.default_rng(0)
  centres = 10 * np.eye(5, dtype=np.float32)
  make = lambda count: examples(jnp.asarray(np.repeat(centres, count, 0) + random.normal(size=(5 * count, 5)) / 2,
                                            jnp.float32), jnp.repeat(jnp.arange(5), count))
  support, query = make(2), make(20)
  learner = identity_learner(5, distance)
  outputs = learner.predict({}, learner.adapt({}, support, None), query.inputs, query.mask)
  assert losses.accuracy(outputs, query.targets).mean() == 1.0


def test_an_absent_class_keeps_loss_and_gradient_finite():
  episodes = classification_episodes(ways=3)
  wide = identity_learner(num_classes=5)  # two classes never appear
  objective = objectives.conml(wide, losses.softmax_cross_entropy)
  value, gradient = jax.jit(jax.value_and_grad(
      lambda inputs: objective({}, episodes._replace(query=episodes.query._replace(inputs=inputs)),
                               jax.random.key(0))[0]))(episodes.query.inputs)
  assert np.isfinite(value) and np.isfinite(gradient).all()


def test_one_class_is_refused():
  with pytest.raises(ValueError, match="at least 2 classes.*num_classes is 1"):
    identity_learner(1)
