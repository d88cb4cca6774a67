"""Projected representations preserve distances, up to the documented error."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from metajax import learners, losses
from metajax.contrast import distances
from metajax.learners.projection import project
from tests.helpers import tanh_network


def test_distances_are_kept_within_what_is_said():
  random = np.random.default_rng(0)
  trees = [{"w": jnp.asarray(random.normal(size=(40, 30)), jnp.float32), "b": jnp.asarray(random.normal(size=30),
                                                                                          jnp.float32)} for _ in "ab"]
  short = [jax.jit(lambda tree: project(tree, 400, jax.random.key(1)))(tree) for tree in trees]
  assert short[0].shape == (400,)
  want = float(distances.squared_euclidean(*trees))
  # Three times the standard error of sqrt(2 / 400).
  assert float(distances.squared_euclidean(*short)) == pytest.approx(want, rel=3 * np.sqrt(2 / 400))


def test_it_is_linear_and_a_function_of_the_key():
  tree = {"a": jnp.arange(6.0).reshape(2, 3)}
  run = jax.jit(lambda tree, seed: project(tree, 5, jax.random.key(seed)))
  np.testing.assert_allclose(run(jax.tree.map(lambda x: 2 * x, tree), 0), 2 * run(tree, 0), rtol=1e-6)
  assert not np.allclose(run(tree, 0), run(tree, 1))


def test_a_learner_s_representation_is_shorter_and_all_else_as_it_was():
  network = tanh_network(1, 4, 1)
  plain = learners.maml(network, losses.squared_error, optimizer=optax.sgd(0.1))
  short = learners.with_projection(plain, size=7)
  params = plain.init(jax.random.key(0), jnp.zeros((2, 1)))
  assert short.represent(params, params, jax.random.key(1)).shape == (7,)
  assert short._replace(represent=plain.represent) == plain
  with pytest.raises(ValueError, match="at least 1 direction"):
    learners.with_projection(plain, size=0)
