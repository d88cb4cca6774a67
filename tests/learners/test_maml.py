"""MAML: inner steps, gradient orders, loops."""

import importlib

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from metajax import learners, losses, networks, objectives
from metajax.descent import descend
from metajax.types import Episode
from tests import reference
from tests.helpers import regression_episodes, tanh_network

pytestmark = pytest.mark.usefixtures("compiled_quickly")


def setting(dtype=np.float32, **options):
  network = tanh_network(1, 5, 1, dtype)
  episodes = regression_episodes(dtype=dtype)
  settings = {"optimizer": optax.sgd(0.2), "num_steps": 1, **options}
  learner = learners.maml(network, losses.squared_error, **settings)
  return learner, learner.init(jax.random.key(0), episodes.support.inputs[0]), episodes


def meta_gradient(learner, params, episodes):
  objective = objectives.episodic(learner, losses.squared_error)
  return jax.jit(jax.grad(lambda p: objective(p, episodes, jax.random.key(0))[0]))(params)


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_second_order_against_finite_differences(steps, x64):
  learner, params, episodes = setting(np.float64, num_steps=steps)
  slow, tasks = reference.Maml("squared_error", 0.2, steps), reference.unpack(episodes)

  def loss(p):
    return sum(slow.loss(p, slow.learn(p, support), query) for support, query in tasks) / len(tasks)

  want = reference.numerical_gradient(loss, jax.tree.map(np.asarray, params))
  chex.assert_trees_all_close(meta_gradient(learner, params, episodes), want, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("steps, options", [(1, {}), (4, {}), (2, {"optimizer": optax.sgd(0.2, momentum=0.9)}),
                                            (2, {"optimizer": optax.chain(optax.add_decayed_weights(0.5),
                                                                          optax.sgd(0.2))})])
def test_first_order_is_the_gradient_at_the_adapted_weights(steps, options):
  learner, params, episodes = setting(num_steps=steps, first_order=True, **options)

  def task(episode):
    adapted = learner.adapt(params, episode.support, None)
    loss = lambda p: jnp.mean(losses.squared_error(learner.predict(None, p, episode.query.inputs, episode.query.mask),
                                                   episode.query.targets))
    return jax.grad(loss)(adapted)

  want = jax.tree.map(lambda leaf: jnp.mean(leaf, axis=0), jax.vmap(task)(episodes))
  chex.assert_trees_all_close(meta_gradient(learner, params, episodes), want, rtol=1e-4, atol=1e-6)
  second = meta_gradient(setting(num_steps=steps, **options)[0], params, episodes)
  assert optax.tree.norm(jax.tree.map(jnp.subtract, second, want)) > 1e-2 * optax.tree.norm(want)


@pytest.mark.parametrize("first_order", [False, True])
@pytest.mark.parametrize("steps", [0, 1, 3])
def test_an_unrolled_loop_computes_the_same(steps, first_order, x64):
  learner, params, episodes = setting(np.float64, num_steps=steps, first_order=first_order)
  unrolled = setting(np.float64, num_steps=steps, first_order=first_order, unroll=True)[0]
  if steps > 1:
    text = lambda learner: str(jax.make_jaxpr(lambda p: learner.adapt(p, jax.tree.map(lambda leaf: leaf[0],
                                                                                      episodes.support), None))(params))
    assert "scan" in text(learner) and "scan" not in text(unrolled)
  chex.assert_trees_all_close(meta_gradient(unrolled, params, episodes), meta_gradient(learner, params, episodes),
                              rtol=1e-10, atol=1e-14)


def test_no_step_is_no_adaptation():
  learner, params, episodes = setting(num_steps=0)
  support = jax.tree.map(lambda leaf: leaf[0], episodes.support)
  chex.assert_trees_all_equal(learner.adapt(params, support, None), params)


@pytest.mark.parametrize("optimizer", [optax.sgd(0.1), optax.sgd(0.1, momentum=0.9),
                                       optax.adam(0.1, b1=0.0, eps_root=1e-8)], ids=["sgd", "momentum", "adam"])
def test_any_inner_optimizer(optimizer):
  learner, params, episodes = setting(optimizer=optimizer, num_steps=3)
  support = jax.tree.map(lambda leaf: leaf[0], episodes.support)
  weights, state = params, optimizer.init(params)
  for _ in range(3):
    loss = lambda w: jnp.mean(losses.squared_error(learner.predict(None, w, support.inputs, support.mask),
                                                   support.targets))
    weights, state = descend(optimizer, jax.grad(loss)(weights), state, weights)
  chex.assert_trees_all_close(learner.adapt(params, support, None), weights, rtol=1e-5, atol=1e-6)
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(meta_gradient(learner, params, episodes)))


def test_negative_steps_are_refused():
  with pytest.raises(ValueError, match="0 or more, but it is -1"):
    setting(num_steps=-1)


@pytest.mark.parametrize("optimizer, word", [
    (optax.sgd(0.1, momentum=0.9), ""), (optax.rmsprop(0.1), ""), (optax.adam(0.1, eps_root=1e-8), ""),
    (optax.chain(optax.clip(1.0), optax.sgd(0.1)), ""), (optax.adam(0.1), "Adam"),
    (optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(0.1)), "clip_by_global_norm")])
def test_at_a_zero_gradient_the_meta_gradient_is_finite_or_the_docstring_warns(compiled_quickly, optimizer, word):
  episodes = jax.tree.map(jnp.zeros_like, regression_episodes())
  episodes = Episode(*(part._replace(mask=jnp.ones_like(part.mask)) for part in episodes))
  learner = learners.maml(networks.mlp((4,), 1), losses.squared_error, optimizer=optimizer, num_steps=2)
  params = jax.tree.map(jnp.zeros_like, learner.init(jax.random.key(0), episodes.support.inputs[0]))
  gradient = jax.grad(lambda params: objectives.conml(learner, losses.squared_error)(
      params, episodes, jax.random.key(0))[0])(params)
  finite = all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
  assert finite != bool(word) and word in importlib.import_module("metajax.learners.maml").adapt.__doc__
