"""The check of one's own learner: right learners pass, and each law has a learner that breaks it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from metajax import learners, losses, networks
from metajax.tasks.sinusoids import sinusoids
from metajax.training import check_learner

TASKS = sinusoids(shots=4, queries=4)
CNP = learners.cnp(networks.mlp((6,), 4), networks.mlp((6,), 1))
MAML = learners.maml(networks.mlp((6,), 1), losses.squared_error, optimizer=optax.sgd(0.01))


@pytest.mark.parametrize("learner", [CNP, MAML])
def test_a_right_learner(learner):
  verdict = check_learner(learner, TASKS, losses.squared_error)
  assert verdict.right, verdict
  assert repr(verdict).startswith("7 laws hold: shapes are static, padding changes nothing")


def _adapts(how):
  return CNP._replace(adapt=lambda params, examples, key: how(CNP.adapt(params, examples, key), examples))


BROKEN = {
    "padding changes nothing": _adapts(lambda vector, examples: vector + examples.mask.shape[0]),
    "shapes are static": _adapts(lambda vector, examples: vector if examples.mask[0] else -vector),
    "gradients are finite": _adapts(lambda vector, examples: vector + jnp.sqrt(jnp.sum(jnp.where(
        examples.mask, examples.inputs[:, 0], 0.0) * 0.0))),
    "a key gives one result": _adapts(lambda vector, examples: vector + jax.pure_callback(
        lambda: np.float32(np.random.default_rng().normal()), jax.ShapeDtypeStruct((), jnp.float32),
        vmap_method="sequential")),
    "representations agree": CNP._replace(represent=lambda params, adapted, key: jnp.ones(3)),
    "adapt_both is two adapts": CNP._replace(adapt_both=lambda params, support, query, key: [
        CNP.adapt(params, support, key)] * 2)}


@pytest.mark.parametrize("law", BROKEN)
def test_a_broken_law_is_said(law):
  verdict = check_learner(BROKEN[law], TASKS, losses.squared_error)
  assert not verdict.right and any(sentence.startswith(law) and sentence.endswith(".") for sentence in verdict.broken)


def test_an_init_that_fails():
  def init(key, inputs):
    raise TypeError("no such inputs")

  assert check_learner(CNP._replace(init=init), TASKS, losses.squared_error).broken == (
      "init cannot be compiled: no such inputs.",)
