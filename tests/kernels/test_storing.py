"""The gradient that is stored is the gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from metajax import contrast, learners, losses, networks, objectives
from metajax.contrast import distances
from metajax.kernels.storing import gradient_stored
from tests.helpers import regression_episodes


def cubed(tree):
  return sum(jnp.sum(leaf.astype(jnp.float32)**3) for leaf in jax.tree.leaves(tree))


def test_values_and_derivatives_of_any_order_and_mode_are_those_without():
  weights = {"a": jnp.array([0.5, -2.0, 0.0]), "b": jnp.array([[jnp.inf]]), "c": jnp.array([3.0], jnp.bfloat16)}

  @jax.jit
  def stored(tree):
    return gradient_stored(tree)

  jax.tree.map(np.testing.assert_array_equal, stored(weights), weights)
  finite = {"a": weights["a"], "many": jnp.linspace(-1, 1, 1600).reshape(1, 40, 40)}
  through = lambda tree: cubed(gradient_stored(tree))
  for derivative in (jax.grad, lambda f: jax.grad(lambda tree: cubed(jax.grad(f)(tree))), jax.jacfwd,
                     lambda f: lambda tree: jax.grad(lambda trees: jnp.sum(jax.vmap(f)(trees)))(
                         jax.tree.map(lambda leaf: leaf[None], tree))):
    jax.tree.map(np.testing.assert_array_equal, derivative(through)(finite), derivative(cubed)(finite))


def test_an_infinite_array_has_its_gradient_and_that_of_one_that_is_nan_is_zero():
  np.testing.assert_array_equal(jax.grad(lambda x: jnp.sum(2 * gradient_stored(x)))(
      jnp.array([jnp.inf, jnp.nan, 1.0])), [2, 0, 2])


def test_integers_pass():
  tree = {"weights": jnp.array([2.0]), "counts": jnp.arange(3, dtype=jnp.int32)}
  gradient = jax.grad(lambda tree: cubed(gradient_stored(tree)), allow_int=True)(tree)
  assert float(gradient["weights"][0]) == 12


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="only on CPU are gradients stored")
def test_what_a_gradient_is_made_of_is_computed_once_and_not_for_every_number_that_reads_it():
  """A hundred numbers are added up for a task's bias, whose gradient goes to all pixels of its images."""

  def sums_beside_pixels(keep):
    def loss(pixels, many):
      return jnp.sum(keep(jnp.mean(pixels**2, axis=1)) * sum(many))

    text = jax.jit(jax.grad(loss)).lower(jnp.ones((4, 1000)), list(jnp.ones((100, 4)))).compile().as_text()
    return sum(fused.count(" add(") for fused in text.split("\n\n") if "f32[4,1000]{1,0} multiply(" in fused)

  assert sums_beside_pixels(lambda x: x) == 99  # XLA may learn better, and `storing` go
  assert sums_beside_pixels(gradient_stored) == 0


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="only on CPU are gradients stored")
def test_conml_stores_the_gradients_of_its_representations():
  learner = learners.maml(networks.mlp((3,), 1), losses.squared_error, optimizer=optax.sgd(0.1))
  episodes = regression_episodes()
  params = learner.init(jax.random.key(0), episodes.support.inputs[0])
  objective = objectives.conml(learner, losses.squared_error)
  own = str(jax.make_jaxpr(objective)(params, episodes, jax.random.key(1)))
  full, views = jnp.ones((3, 2)), jnp.ones((3, 1, 2))
  loss = str(jax.make_jaxpr(lambda *both: contrast.contrastive_loss(*both, distances.cosine))(full, views))
  assert own.count("name=_stored") == 2 * len(jax.tree.leaves(params))  # of the whole task and of the view
  assert loss.count("name=_stored") == 2
