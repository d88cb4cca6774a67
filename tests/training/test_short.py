"""The short path: train, evaluate and adapt, as in a notebook."""

import re

import jax
from jax import export
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import metajax
from metajax import learners, losses, networks, objectives
from metajax.learners.in_context import read
from metajax.networks.transformer import transformer
from metajax.objectives.solve import solve
from metajax.types import Objective

TASKS = metajax.tasks.sinusoids(shots=5, queries=5)
LEARNER = learners.maml(networks.mlp((8,), 1), losses.squared_error, optimizer=optax.sgd(0.01))
OBJECTIVE = objectives.conml(LEARNER, losses.squared_error)


def train(objective=OBJECTIVE, **options):
  return metajax.train(objective, optax.adam(1e-2), TASKS, **{"tasks_per_step": 8, "progress": False, **options})


def test_training_is_a_function_of_the_seed_and_resumes():
  whole, first = train(steps=6), train(steps=3)
  going_on = train(steps=6, state=first.state)
  jax.tree.map(np.testing.assert_array_equal, going_on.params, whole.params)
  jax.tree.map(np.testing.assert_array_equal, train(steps=6).params, whole.params)
  assert int(first.state.step) == 3  # its arguments are unchanged
  other = train(steps=6, seed=1)
  assert any((a != b).any() for a, b in zip(jax.tree.leaves(other.params), jax.tree.leaves(whole.params)))
  assert whole.metrics["step"][-1] == 6 and np.isfinite(whole.metrics["d_out"]).all()


def test_progress_is_shown_and_results_print_as_intervals(capsys):
  trained = train(steps=4, progress=True)
  said = capsys.readouterr().err
  assert "step 4 of 4" in said and "d_in" in said and said.endswith("\n")
  assert max(len(line) for line in re.split(r"[\r\n]", said)) < 80 + len("\x1b[K")
  assert repr(trained).startswith("Trained for 4 steps. ") and "params" not in repr(trained)
  results = metajax.evaluate(LEARNER, trained.params, TASKS, losses.squared_error, episodes=10)
  assert repr(results) == f"loss {results['loss'].mean:.4f} ± {results['loss'].interval:.4f}"
  assert repr(results["loss"]) == str(results["loss"])


def test_all_devices_see_one_contrast():
  """The objective has no axis name; eight devices must not each contrast only their own two tasks."""
  assert jax.device_count() == 8
  here = jax.jit(OBJECTIVE)
  trained = train(steps=1, tasks_per_step=16)
  key_init, key_train = jax.random.split(jax.random.key(0))
  first = metajax.training.init_state(LEARNER, optax.adam(1e-2), TASKS, key_init).params
  keys = jax.random.split(jax.random.fold_in(key_train, 0))
  episodes = metajax.tasks.sample_batch(TASKS, keys[0], 16)
  want = here(first, episodes, keys[1])[1]
  np.testing.assert_allclose(trained.metrics["d_out"][0], want["d_out"], rtol=1e-4)
  np.testing.assert_allclose(trained.metrics["loss"][0], want["loss"], rtol=1e-5)


def test_an_objective_without_axis_name_is_rejected_on_several_devices():
  plain = lambda params, tasks, key: OBJECTIVE(params, tasks, key)
  with pytest.raises(ValueError, match="sharded over 8 devices, but this is a plain function.*metajax.Objective"):
    train(plain, steps=1, init=LEARNER.init)
  wrapped = Objective(lambda params, tasks, key, axis_name: OBJECTIVE.over(axis_name)(params, tasks, key))
  jax.tree.map(np.testing.assert_array_equal, train(wrapped, steps=1, init=LEARNER.init).params, train(steps=1).params)


def test_an_objective_without_a_learner_needs_init():
  network = transformer(1, max_tokens=21, layers=1, heads=1, width=8)
  objective = objectives.autoregressive(lambda *of: read(network, *of), losses.squared_error)
  with pytest.raises(ValueError, match="give init=learner.init"):
    train(objective, steps=1)
  trained = train(objective, steps=1, init=learners.in_context(network).init)
  assert np.isfinite(trained.metrics["loss"][0])


@pytest.mark.parametrize("options", [{"steps": 0}, {"steps": 2, "tasks_per_step": 0}, {"steps": 2.0}])
def test_invalid_numbers_of_tasks_and_steps_are_rejected(options):
  with pytest.raises(ValueError, match="at least 1 step of 1 task|must be an integer"):
    train(**options)


def test_a_model_predicts_what_the_learner_does_for_one_and_for_many():
  params = train(steps=3).params
  episode = jax.tree.map(lambda leaf: leaf[0], metajax.tasks.sample_batch(TASKS, jax.random.key(1), 1))
  model = metajax.adapt(LEARNER, params, np.asarray(episode.support.inputs), np.asarray(episode.support.targets))
  want = solve(LEARNER, losses.squared_error, {}, params, episode, jax.random.key(0)).outputs
  queries = episode.query.inputs
  np.testing.assert_allclose(model(queries), want, rtol=1e-5)
  assert model(queries[0]).shape == (1,)
  np.testing.assert_allclose(model(queries[0]), want[0], rtol=1e-5)
  np.testing.assert_allclose(jax.jit(lambda model, x: model(x))(model, queries), want, rtol=1e-5)
  assert "Array" not in repr(model)
  size = jax.ShapeDtypeStruct(export.symbolic_shape("q, 1"), jnp.float32)
  exported = export.export(jax.jit(model))(size)
  np.testing.assert_allclose(exported.call(queries[:3]), want[:3], rtol=1e-5)


def test_inputs_and_targets_of_different_length_are_rejected():
  with pytest.raises(ValueError, match="same length, at least 1"):
    metajax.adapt(LEARNER, {}, jnp.ones((3, 1)), jnp.ones((2, 1)))
