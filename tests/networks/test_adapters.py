"""Networks of linen, NNX and Equinox, in training and in tests: dropout, and running averages as the libraries have."""

import functools

import equinox as eqx
from flax import linen as nn
from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from metajax import learners, losses, objectives, tasks, train
from metajax.network_state import is_state
from metajax.networks import conv4, from_equinox, from_linen, from_nnx, normalisation
from metajax.training.averages import keeping_averages
from metajax.types import Episode
from tests.helpers import classification_episodes

WIDTH = 8


class Linen(nn.Module):
  rate: float = 0.0

  @nn.compact
  def __call__(self, inputs, mask, train):
    x = nn.BatchNorm(use_running_average=not train, momentum=0.9)(nn.Dense(WIDTH)(inputs), mask=mask[:, None])
    return nn.Dense(2)(nn.Dropout(self.rate, deterministic=not train)(x))


class Nnx(nnx.Module):

  def __init__(self, rate, *, rngs):
    self.first, self.norm = nnx.Linear(3, WIDTH, rngs=rngs), nnx.BatchNorm(WIDTH, momentum=0.9, rngs=rngs)
    self.drop, self.last = nnx.Dropout(rate, rngs=rngs), nnx.Linear(WIDTH, 2, rngs=rngs)

  def __call__(self, inputs, mask):
    return self.last(self.drop(self.norm(self.first(inputs), mask=mask[:, None])))


class Equinox(eqx.Module):
  first: eqx.nn.Linear
  norm: eqx.nn.BatchNorm
  drop: eqx.nn.Dropout
  last: eqx.nn.Linear

  def __init__(self, rate, key):
    one, two = jax.random.split(key)
    self.first, self.last = eqx.nn.Linear(3, WIDTH, key=one), eqx.nn.Linear(WIDTH, 2, key=two)
    self.norm, self.drop = eqx.nn.BatchNorm(WIDTH, "batch", momentum=0.9, mode="batch"), eqx.nn.Dropout(rate)

  def __call__(self, x, state, key=None):
    x, state = self.norm(self.first(x), state)
    return self.last(self.drop(x, key=key)), state


ADAPTED = {
    "linen": lambda rate: from_linen(Linen(rate), independent=True),
    "nnx": lambda rate: from_nnx(lambda rngs: Nnx(rate, rngs=rngs), independent=True),
    "equinox": lambda rate: from_equinox(lambda key: eqx.nn.make_with_state(Equinox)(rate, key)),
}
both = pytest.mark.parametrize("library", ADAPTED)


def inputs(number=6, seed=0):
  return jnp.asarray(np.random.default_rng(seed).normal(1.0, 3.0, size=(number, 3)), jnp.float32)


@both
def test_dropout_draws_in_training_only(library):
  network = ADAPTED[library](0.5)
  x, mask = inputs(), jnp.ones(6, bool)
  params = network.init(jax.random.key(0), x)
  one, again, other = (network.in_training(jax.random.key(seed)).apply(params, x, mask) for seed in (1, 1, 2))
  np.testing.assert_array_equal(one, again)
  assert (one != other).any()
  np.testing.assert_array_equal(network.apply(params, x, mask), network.apply(params, x, mask))


@both
def test_in_tests_an_output_depends_on_its_own_input(library):
  network = ADAPTED[library](0.5)
  x, mask = inputs(), jnp.ones(6, bool)
  params = network.init(jax.random.key(0), x)
  alone = network.apply(params, x.at[1:].multiply(-2), mask)[0]
  np.testing.assert_allclose(alone, network.apply(params, x, mask)[0], rtol=1e-5)
  live = network.in_training(jax.random.key(1))
  assert not np.allclose(live.apply(params, x.at[1:].multiply(-2), mask)[0], live.apply(params, x, mask)[0])


@both
def test_averages_converge_to_the_statistics_of_the_batches(library):
  # After many steps at a rate of zero, predictions in tests are those that training makes of the same batch.
  network = ADAPTED[library](0.0)
  episode = classification_episodes(1, 2, 3, 3, (3,))
  learner = learners.protonet(network, num_classes=2)
  always = jax.tree.map(lambda leaf: leaf[0], episode)
  one = tasks.sinusoids(shots=1, queries=1)._replace(sample=lambda data, key: always)
  trained = train(objectives.episodic(learner, losses.softmax_cross_entropy), optax.sgd(0.0), one, steps=150,
                  tasks_per_step=8, progress=False)
  x = jnp.concatenate([episode.support.inputs[0], episode.query.inputs[0]])
  mask = jnp.ones(len(x), bool)
  live = network.in_training(jax.random.key(0)).apply(trained.params, x, mask)
  # The libraries differ in whether the variance that they average is biased.
  np.testing.assert_allclose(network.apply(trained.params, x, mask), live, rtol=0.08, atol=0.08)
  fresh = learner.init(jax.random.key(0), x)
  assert not np.allclose(network.apply(fresh, x, mask), network.in_training(jax.random.key(0)).apply(fresh, x, mask),
                         rtol=0.08, atol=0.08)


def test_linen_averages_are_those_of_flax_own_loop():
  network, x, mask = ADAPTED["linen"](0.0), inputs(), jnp.ones(6, bool)
  params = network.init(jax.random.key(0), x)
  optimizer = keeping_averages(optax.adam(0.1))
  opt_state, live = optimizer.init(params), network.in_training(jax.random.key(1))
  variables, reference = {"params": params["weights"], **params["state"].values}, optax.adam(0.1)
  reference_state = reference.init(variables["params"])
  for seed in range(3):
    x = inputs(seed=seed)
    gradient = jax.grad(lambda params: jnp.mean(jnp.square(live.apply(params, x, mask))))(params)
    with jax.numpy_dtype_promotion("standard"):
      updates, opt_state = optimizer.update(gradient, opt_state, params)
    params = optax.apply_updates(params, updates)

    def loss(weights):
      outputs, changed = Linen().apply({**variables, "params": weights}, x, mask, train=True, mutable=["batch_stats"])
      return jnp.mean(jnp.square(outputs)), changed

    gradient, changed = jax.grad(loss, has_aux=True)(variables["params"])
    with jax.numpy_dtype_promotion("standard"):
      updates, reference_state = reference.update(gradient, reference_state)
    variables = {"params": optax.apply_updates(variables["params"], updates), **changed}
  jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6),
               {"params": params["weights"], **params["state"].values}, variables)


def test_a_state_is_the_mean_of_the_proposals_of_all_tasks_and_is_not_descended():
  network = conv4(filters=4, normalise=normalisation.running_averages(0.75), weights="shared")
  learner = learners.protonet(network, num_classes=2)
  episodes = classification_episodes(3, 2, 1, 2, (16, 16, 1))
  params = learner.init(jax.random.key(0), episodes.support.inputs[0])
  objective = objectives.conml(learner, losses.softmax_cross_entropy)
  optimizer = keeping_averages(optax.adam(1e-3))
  opt_state = optimizer.init(params)
  assert not any(is_state(node) for node in jax.tree.leaves(opt_state, is_leaf=is_state))
  gradient, _ = jax.grad(objective, has_aux=True)(params, episodes, jax.random.key(1))
  with jax.numpy_dtype_promotion("standard"):
    updates, _ = optimizer.update(gradient, opt_state, params)
  new = optax.apply_updates(params, updates)
  # By hand: the first layer's convolution of support and query of each task.
  means = []
  for task in range(3):
    x = jnp.concatenate([part.inputs[task] for part in Episode(*episodes)])
    y = jax.lax.conv_general_dilated(x, params["weights"]["kernel0"], (1, 1), "SAME",
                                     dimension_numbers=("NHWC", "HWIO", "NHWC"))
    means.append(jnp.mean(y, axis=(0, 1, 2)))
  np.testing.assert_allclose(new["state"].values["averages"]["mean0"].ravel(), 0.25 * sum(means) / 3, rtol=1e-4,
                             atol=1e-6)
  assert new["state"].count == 0


@pytest.mark.parametrize("make", [
    lambda network: learners.maml(network, losses.softmax_cross_entropy, optimizer=optax.sgd(0.1)),
    lambda network: learners.metasgd(network, losses.softmax_cross_entropy, initial_rate=0.1),
    lambda network: learners.imaml(network, losses.softmax_cross_entropy, strength=1.0, optimizer=optax.sgd(0.1))])
def test_who_adapts_all_parameters_refuses_averages(make):
  learner = make(conv4(2, filters=4, normalise=normalisation.running_averages()))
  episodes = classification_episodes(2, 2, 1, 2, (16, 16, 1))
  params = learner.init(jax.random.key(0), episodes.support.inputs[0])
  with pytest.raises(ValueError, match="running averages"):
    objectives.episodic(learner, losses.softmax_cross_entropy)(params, episodes, jax.random.key(1))


def test_maml_may_drop_out():
  network = from_linen(Dropping(), independent=True)
  learner = learners.maml(network, losses.softmax_cross_entropy, optimizer=optax.sgd(0.1), num_steps=2)
  episodes = classification_episodes(2, 2, 1, 2, (3,))
  params = learner.init(jax.random.key(0), episodes.support.inputs[0])
  objective = objectives.episodic(learner, losses.softmax_cross_entropy)
  one, other = (objective(params, episodes, jax.random.key(seed))[0] for seed in (1, 2))
  assert jnp.isfinite(one) and one != other


class Dropping(nn.Module):

  @nn.compact
  def __call__(self, inputs, mask, train):
    return nn.Dense(2)(nn.Dropout(0.5, deterministic=not train)(nn.Dense(WIDTH)(inputs)))
