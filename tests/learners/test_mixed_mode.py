"""The forward-mode derivative of a gradient equals the reverse-mode one."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from metajax import losses
from metajax.learners.mixed_mode import mixed_gradient
from metajax.networks import normalisation
from metajax.networks.conv4 import block
from tests.learners.test_maml import meta_gradient, setting

OPTIMIZERS = {"sgd": optax.sgd(0.2), "adam": optax.adam(0.1, b1=0.5, eps_root=1e-8)}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("steps, unroll", [(1, False), (3, False), (3, True)])
@pytest.mark.usefixtures("compiled_quickly")
def test_the_meta_gradient_is_that_of_reverse_over_reverse(steps, unroll, optimizer, x64):
  options = {"num_steps": steps, "optimizer": OPTIMIZERS[optimizer], "unroll": unroll}
  learner, params, episodes = setting(np.float64, **options)
  mixed = setting(np.float64, mixed_mode=True, **options)[0]
  want = meta_gradient(learner, params, episodes)
  chex.assert_trees_all_close(meta_gradient(mixed, params, episodes), want, rtol=1e-10, atol=1e-13)
  assert "custom_vjp" in str(jax.make_jaxpr(mixed.adapt)(params, jax.tree.map(lambda leaf: leaf[0], episodes.support),
                                                         None))


def test_through_a_pooled_block(x64):
  random = np.random.default_rng(0)
  x, scale, along = (jnp.asarray(random.normal(size=shape)) for shape in ((3, 4, 5, 2), (1, 1, 1, 2), (1, 1, 1, 2)))
  mask = jnp.asarray([True, False, True])

  def loss(scale, x):
    return jnp.sum(jnp.sin(block(x, mask, normalisation.batch_statistics, scale, 0.1 + 0 * scale, True)[mask]))

  def along_gradient(gradient, scale, x):
    return jnp.sum(gradient(scale, x) * along)

  found, want = (jax.jit(jax.grad(functools.partial(along_gradient, gradient), argnums=(0, 1)))(scale, x)
                 for gradient in (functools.partial(mixed_gradient, loss), jax.grad(loss)))
  chex.assert_trees_all_close(found, want, rtol=1e-10, atol=1e-13)
  assert float(jnp.linalg.norm(want[1])) > 1e-2


@pytest.mark.usefixtures("compiled_quickly")
def test_the_rest_has_its_derivative_and_integers_none(x64):
  random = np.random.default_rng(0)
  weights, inputs, along = (jnp.asarray(random.normal(size=shape)) for shape in ((3, 2), (4, 3), (3, 2)))
  rest = {"inputs": inputs, "labels": jnp.asarray([0, 1, 1, 0]), "mask": jnp.asarray([True, True, False, True])}

  def loss(weights, rest):
    each = losses.softmax_cross_entropy(jnp.tanh(rest["inputs"] @ weights), rest["labels"])
    return jnp.sum(jnp.where(rest["mask"], each, 0.0))

  def along_gradient(gradient, weights, inputs):
    return jnp.sum(gradient(weights, {**rest, "inputs": inputs}) * along)

  found, want = (jax.grad(along_gradient, argnums=(1, 2))(gradient, weights, inputs)
                 for gradient in (lambda *args: mixed_gradient(loss, *args), jax.grad(loss)))
  chex.assert_trees_all_close(found, want, rtol=1e-12)
  assert float(jnp.linalg.norm(want[1])) > 1e-2
