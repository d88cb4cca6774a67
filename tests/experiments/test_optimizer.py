"""The outer optimizer of all recipes: its words, its schedules, and the default, which is Adam as before."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments.few_shot import omniglot, quickstart
from experiments.regression import sinusoid
from experiments.settings import Training, make_optimizer
from launch import find
from metajax.training.faults import guard

PARAMS = {"w": jnp.array([1.0, -2.0]), "b": jnp.array([[0.5]])}


@jax.numpy_dtype_promotion("standard")  # schedules of optax multiply counts and reals
def run(optimizer, steps=6):
  """Returns the parameters along some steps."""

  def step(carry, number):
    params, state = carry
    gradient = jax.tree.map(lambda leaf: jnp.cos(leaf * (number + 1)), PARAMS)
    updates, state = optimizer.update(gradient, state, params)
    params = optax.apply_updates(params, updates)
    return (params, state), params

  return jax.lax.scan(step, (PARAMS, optimizer.init(PARAMS)), jnp.arange(steps, dtype=jnp.float32))[1]


def same(ours, theirs):
  jax.tree.map(np.testing.assert_array_equal, run(ours), run(theirs))


def test_the_default_is_adam_bit_for_bit():
  same(make_optimizer(sinusoid.get_config().training), optax.adam(1e-3))
  for config in (quickstart.get_config(), omniglot.get_config("ridge")):
    training = config.training
    same(make_optimizer(training), optax.adam(optax.cosine_decay_schedule(training.learning_rate, training.steps)))


@pytest.mark.parametrize("settings, wanted", [
    ({"optimizer": "adamw", "weight_decay": 0.1}, lambda: optax.adamw(1e-3, weight_decay=0.1)),
    ({"optimizer": "lamb", "weight_decay": 0.1}, lambda: optax.lamb(1e-3, weight_decay=0.1)),
    ({"optimizer": "sgd", "momentum": 0.5}, lambda: optax.sgd(1e-3, momentum=0.5)),
    ({"optimizer": "sgd", "momentum": 0.0}, lambda: optax.sgd(1e-3)),
    ({"warmup_steps": 2, "schedule": "cosine", "steps": 6}, lambda: optax.adam(
        optax.warmup_cosine_decay_schedule(0.0, 1e-3, 2, 6))),
    ({"accumulate": 3}, lambda: optax.MultiSteps(optax.adam(1e-3), 3).gradient_transformation())])
def test_each_word_is_that_optimizer(settings, wanted):
  for ours, theirs in zip(*(jax.tree.leaves(run(each)) for each in (make_optimizer(Training(**settings)), wanted())),
                          strict=True):
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_a_schedule_counts_updates_when_gradients_are_accumulated():
  two = make_optimizer(Training(steps=6, accumulate=2, schedule="cosine", optimizer="sgd", momentum=0.0))
  path = run(two)["w"]
  moved = np.abs(np.diff(np.concatenate([np.asarray(PARAMS["w"])[None], path]), axis=0)).sum(axis=1) > 0
  assert moved.tolist() == [False, True] * 3


@jax.numpy_dtype_promotion("standard")  # of optax.MultiSteps
def test_each_gradient_is_clipped_before_they_are_averaged():
  """As the comments of the fields say; optax.MultiSteps around a clipping optimizer clips the mean instead."""
  optimizer = guard(make_optimizer(Training(optimizer="sgd", momentum=0.0, learning_rate=1.0, accumulate=2)), clip=1.0)
  state, gradients = optimizer.init(jnp.zeros(2)), ([30.0, 0.0], [0.0, -0.5])
  for gradient in gradients:
    update, state = optimizer.update(jnp.array(gradient), state, jnp.zeros(2))
  np.testing.assert_allclose(update, [-0.5, 0.25], rtol=1e-6)


@pytest.mark.parametrize("settings, words", [
    ({"optimizer": "adagrad"}, "config.training.optimizer='adagrad' is not known; choose one of adam, adamw"),
    ({"schedule": "step"}, "config.training.schedule='step' is not known; choose one of constant, cosine"),
    ({"weight_decay": 0.1}, "weight_decay=0.1 has no effect on adam"),
    ({"momentum": 0.5}, "momentum=0.5 has no effect on adam"), ({"accumulate": 0}, "accumulate=0 is too small"),
    ({"weight_decay": float("nan"), "optimizer": "adamw"}, "weight_decay=nan"),
    ({"warmup_steps": 10, "steps": 10}, "warmup_steps=10 must be fewer than the 10 steps"),
    ({"patience": -1}, "patience=-1")])
def test_what_cannot_be_is_refused(settings, words):
  with pytest.raises(ValueError, match=words):
    make_optimizer(Training(**settings))


def test_every_recipe_uses_it():
  text = "".join(path.read_text() for path in find.recipes().values())
  assert text.count("optimizer=make_optimizer(config.training)") >= 6 and "optax.adam" not in text
