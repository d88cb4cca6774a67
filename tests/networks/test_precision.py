"""Arithmetic in bfloat16, weights and gradients in float32."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from metajax import learners, losses, networks, objectives
from metajax.networks.precision import computing_in
from metajax.tasks.sampling import sample_tasks
from metajax.tasks.sinusoids import sinusoids


def _network():
  return networks.mlp((16, 16), 1, weights="shared")


def test_products_are_narrow_and_everything_that_is_kept_is_wide():
  network = computing_in(_network(), jnp.bfloat16)
  params = network.init(jax.random.key(0), jnp.zeros((4, 1)))
  assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
  text = str(jax.make_jaxpr(network.apply)(params, jnp.ones((4, 1)), jnp.ones(4, bool)))
  products = [line for line in text.splitlines() if "dot_general" in line]
  assert products and all(":bf16" in line for line in products)
  outputs = network.apply(params, jnp.ones((4, 1)), jnp.ones(4, bool))
  assert outputs.dtype == jnp.float32
  assert network.independent


def test_the_meta_gradient_is_that_of_float32_but_for_rounding():
  tasks = sinusoids(5, 5)
  episodes = jax.jit(lambda key: sample_tasks(tasks, tasks.data, key, jnp.arange(8)))(jax.random.key(2))

  def gradient(network):
    learner = learners.maml(network, losses.squared_error, optimizer=optax.sgd(0.01))
    params = learner.init(jax.random.key(0), jnp.zeros((4, 1)))
    objective = objectives.conml(learner, losses.squared_error)
    found = jax.jit(jax.grad(lambda params: objective(params, episodes, jax.random.key(1))[0]))(params)
    assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {jnp.dtype("float32")}
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(found)])

  wide, narrow = gradient(_network()), gradient(computing_in(_network(), jnp.bfloat16))
  distance = np.linalg.norm(wide - narrow) / np.linalg.norm(wide)
  assert 1e-5 < distance < 0.05  # bfloat16 keeps 8 bits


def test_doubles_stay_doubles(x64):
  network = computing_in(_network(), jnp.float32)
  params = network.init(jax.random.key(0), jnp.zeros((2, 1), jnp.float64))
  assert network.apply(params, jnp.ones((2, 1), jnp.float64), jnp.ones(2, bool)).dtype == jnp.float64
