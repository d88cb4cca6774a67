"""Complete networks: shapes, sizes, padding, and meta-gradients."""

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from metajax.examples import masked_mean
from metajax.kernels.pooling import max_pool as pool
from metajax.kernels.pooling import relu
from metajax.learners import maml
from metajax.losses import softmax_cross_entropy
from metajax.networks import conv4, from_linen, mlp, normalisation
from tests.helpers import classification_episodes, compiled_quickly
from tests.networks.table import SMALL_CONV4, count


def images(shape, number=5, seed=0, dtype=jnp.float32):
  return jnp.asarray(np.random.default_rng(seed).normal(size=(number, *shape)), dtype)


def output_shape(network, shape, number=2):
  inputs = jax.ShapeDtypeStruct((number, *shape), jnp.float32)
  params = jax.eval_shape(network.init, jax.random.key(0), inputs)
  return jax.eval_shape(network.apply, params, inputs, jax.ShapeDtypeStruct((number,), bool)).shape


def test_an_unknown_normalisation_is_not_taken_for_independent():
  ours = lambda x, mask, values: normalisation.batch_statistics(x, mask, values)
  assert not conv4(normalise=ours).independent and conv4(normalise=normalisation.none).independent


@pytest.mark.parametrize("network, shape, expected", [
  (mlp((40, 40), 1), (1,), 1),
  (mlp((), 3), (4, 5), 3),
  (conv4(), (28, 28, 1), 64),
  (conv4(), (84, 84, 3), 1600),
  (conv4(filters=32, average=True), (84, 84, 3), 32),
  (conv4(max_pool=False), (28, 28, 1), 256),
  (conv4(5, max_pool=False, average=True), (28, 28, 1), 5),
  (conv4(20, filters=8, normalise=normalisation.group(4)), (28, 28, 1), 20),
  (conv4(filters=8, normalise=normalisation.none), (33, 20, 3), 16),
])
def test_output_shapes(network, shape, expected):
  assert output_shape(network, shape) == (2, expected)


@pytest.mark.parametrize("network, shape, expected", [
  (mlp((40, 40), 1), (1,), 1761),  # MAML's regressor
  (conv4(), (28, 28, 1), 111_680),  # 576 + 3 * 36,864 in kernels, and a scale and a bias for each of 4 * 64 channels
  (conv4(5, max_pool=False, average=True), (28, 28, 1), 112_005),  # and 64 * 5 + 5 in the head
  (conv4(normalise=normalisation.none), (28, 28, 1), 111_424),  # no scale
])
def test_number_of_parameters(network, shape, expected):
  assert count(network, shape) == expected


def test_only_batch_statistics_make_examples_interact():
  inputs, mask = images((16, 16, 1)), jnp.ones(5, bool)
  for normalise, meet in ((normalisation.batch_statistics, True), (normalisation.group(2), False),
                          (normalisation.none, False)):
    network = SMALL_CONV4(3, normalise=normalise)
    params = jax.jit(network.init)(jax.random.key(0), inputs)
    apply = jax.jit(network.apply)
    changed = apply(params, inputs.at[1:].add(images((16, 16, 1), 4, seed=1)), mask)[0]
    assert bool((changed != apply(params, inputs, mask)[0]).any()) == meet


def test_pooling_before_relu_is_relu_before_pooling():
  inputs = images((6, 6, 3))
  one = lambda x: relu(pool(x))
  other = lambda x: pool(relu(x))
  np.testing.assert_array_equal(one(inputs), other(inputs))
  weights = images((3, 3, 3), seed=1)
  gradients = [jax.grad(lambda x: jnp.sum(order(x) * weights))(inputs) for order in (one, other)]
  np.testing.assert_array_equal(*gradients)


def test_mlp_is_the_formula():
  network = mlp((4, 3), 2, activation=jnp.tanh, kernel_init=nn.initializers.normal(1.0))
  inputs = images((2, 3))
  params = network.init(jax.random.key(0), inputs)
  params = jax.tree.map(lambda leaf: leaf + 0.3, params)  # non-zero biases
  x = np.asarray(inputs).reshape(5, 6)
  for layer in range(3):
    weights = jax.tree.map(np.asarray, params[f"Dense_{layer}"])
    x = x @ weights["kernel"] + weights["bias"]
    x = np.tanh(x) if layer < 2 else x
  np.testing.assert_allclose(network.apply(params, inputs, jnp.ones(5, bool)), x, rtol=1e-5, atol=1e-5)


def test_any_flax_module_is_a_network_and_sees_the_mask():

  class Masked(nn.Module):

    @nn.compact
    def __call__(self, inputs, mask):
      return nn.Dense(2)(inputs) * mask[:, None].astype(inputs.dtype)

  network = from_linen(Masked())
  params = network.init(jax.random.key(0), jnp.ones((3, 4)))
  assert set(params) == {"Dense_0"}
  outputs = network.apply(params, jnp.ones((3, 4)), jnp.asarray([True, False, True]))
  assert not outputs[1].any() and outputs[0].any()


def meta_learning(size, channels, max_pool, num_steps):
  """Returns the meta-loss of MAML over two dissimilar tasks, and the initial weights, in float64."""
  network = SMALL_CONV4(3, max_pool=max_pool, average=not max_pool)
  learner = maml(network, softmax_cross_entropy, optimizer=optax.sgd(0.1), num_steps=num_steps)
  episodes = classification_episodes(2, 3, 1, 2, (size, size, channels), dtype=np.float64, padding=1)

  def task_loss(params, support, query):
    adapted = learner.adapt(params, support, jax.random.key(1))
    outputs = learner.predict(params, adapted, query.inputs, query.mask)
    return masked_mean(softmax_cross_entropy(outputs, query.targets), query.mask)

  meta_loss = lambda params: jnp.mean(jax.vmap(task_loss, in_axes=(None, 0, 0))(params, *episodes))
  return meta_loss, jax.jit(network.init)(jax.random.key(0), episodes.support.inputs[0])


@pytest.mark.parametrize("size, channels, max_pool, num_steps", [(17, 2, True, 2), (9, 1, False, 2), (8, 2, False, 1)])
def test_meta_gradient_of_a_whole_network_is_the_slope_of_its_meta_loss(size, channels, max_pool, num_steps, x64):
  meta_loss, params = meta_learning(size, channels, max_pool, num_steps)
  random = np.random.default_rng(0)
  direction = jax.tree.map(lambda leaf: jnp.asarray(random.normal(size=leaf.shape)), params)
  step, move = 1e-6, lambda scale: jax.tree.map(lambda leaf, along: leaf + scale * along, params, direction)
  loss = jax.jit(jax.value_and_grad(meta_loss))
  slope = float(loss(move(step))[0] - loss(move(-step))[0]) / (2 * step)
  _, gradient = loss(params)
  actual = sum(jax.tree.leaves(jax.tree.map(lambda slope, along: float(jnp.sum(slope * along)), gradient, direction)))
  assert abs(slope) > 1e-2
  assert actual == pytest.approx(slope, rel=1e-6)


def test_meta_gradient_of_a_whole_network_is_the_same_jitted_and_eager(x64):
  meta_loss, params = meta_learning(16, 1, True, 1)
  with compiled_quickly():  # op by op
    eager = np.concatenate([leaf.ravel() for leaf in jax.tree.leaves(jax.grad(meta_loss)(params))])
  jitted = np.concatenate([leaf.ravel() for leaf in jax.tree.leaves(jax.jit(jax.grad(meta_loss))(params))])
  assert jitted.dtype == np.float64 and np.linalg.norm(eager) > 1e-2
  assert np.linalg.norm(jitted - eager) < 1e-10 * np.linalg.norm(eager)
