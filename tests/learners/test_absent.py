"""Classes without a support example: all other classes are predicted as without them, and all losses are finite."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metajax import losses
from metajax.learners.class_means import without_absent
from tests.learners.table import ROWS, WAYS, start

pytestmark = pytest.mark.usefixtures("compiled_quickly")

CLASSIFIERS = [name for name, row in ROWS.items() if row.loss is losses.softmax_cross_entropy]
MASKED = ["protonet", "protonet_cosine", "relationnet", "simple_cnaps", "cnaps"]
LOGITS = np.asarray([[0.0, 1.0, 2.0, 3.0], [-5000.0, -7000.0, -9e6, -1.0], [3.0, 3.0, 3.0, 3.0]], np.float32)


@pytest.mark.parametrize("present", [[1, 1, 0, 0], [0, 1, 0, 1], [1, 1, 1, 1], [0, 0, 1, 0]])
def test_other_classes_are_those_of_a_softmax_without_the_absent(present):
  present = np.asarray(present, bool)
  shown = np.asarray(jax.nn.softmax(without_absent(jnp.asarray(LOGITS), jnp.asarray(present)), axis=1))
  np.testing.assert_allclose(shown[:, present], jax.nn.softmax(LOGITS[:, present], axis=1), rtol=3e-7)
  assert (shown[:, ~present] < 1.1e-9).all()
  if present.all():
    np.testing.assert_array_equal(without_absent(jnp.asarray(LOGITS), jnp.asarray(present)), LOGITS)


@pytest.mark.parametrize("dtype, rtol", [(jnp.float32, 1e-3), (jnp.bfloat16, 1e-2), (jnp.float16, 1e-2)])
def test_a_query_that_cannot_be_answered_has_a_finite_loss_and_no_gradient(dtype, rtol):
  present, targets = jnp.asarray([True, True, False, False]), jnp.asarray([2, 3, 2])
  loss = lambda logits: losses.softmax_cross_entropy(without_absent(logits, present), targets).sum()
  value, gradient = jax.value_and_grad(loss)(jnp.asarray(LOGITS[[0, 2, 2]], dtype))
  np.testing.assert_allclose(float(value), 3 * -np.log(1e-9), rtol=rtol)
  np.testing.assert_allclose(np.asarray(gradient, np.float32), 0, atol=1e-2 if dtype != jnp.float32 else 1e-6)


def test_without_any_class_all_are_equally_likely():
  loss = lambda logits: losses.softmax_cross_entropy(without_absent(logits, jnp.zeros(4, bool)), jnp.arange(3)).sum()
  value, gradient = jax.value_and_grad(loss)(jnp.asarray(LOGITS))
  np.testing.assert_allclose(value, 3 * np.log(4), rtol=1e-6)
  assert np.isfinite(gradient).all()


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_no_learner_has_a_huge_loss(name):
  learner, params, episodes = start(ROWS[name])
  support, query = jax.tree.map(lambda leaf: leaf[0], episodes)
  support = support._replace(mask=support.mask & (support.targets != WAYS - 1))

  def losses_of(params):
    embed = lambda part: learner.embed(params, part.inputs, part.mask)
    model = learner.adapt(params, support._replace(inputs=embed(support)), jax.random.key(0))
    outputs = learner.predict(params, model, embed(query), query.mask)
    each = losses.softmax_cross_entropy(outputs, query.targets)
    return each.mean(), (each, outputs)

  (_, (each, outputs)), gradient = jax.jit(jax.value_and_grad(losses_of, has_aux=True))(params)
  assert np.isfinite(each).all() and (np.asarray(each) < 25).all()
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
  if name in MASKED:
    assert not (np.asarray(outputs).argmax(axis=1) == WAYS - 1).any()
