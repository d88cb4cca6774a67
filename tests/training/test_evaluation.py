"""Meta-test: the mean and its interval over a list of episodes that depends only on its key."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from metajax import learners, losses
from metajax.objectives.solve import solve
from metajax.tasks.sampling import sample_tasks
from metajax.tasks.sinusoids import sinusoids
from metajax.training.evaluation import Estimate, estimate, make_evaluate
from metajax.types import TaskDistribution
from tests.helpers import fill_padding, regression_episodes, tanh_network

_LEARNER = learners.maml(tanh_network(1, 6, 1), losses.squared_error, optimizer=optax.sgd(0.05), num_steps=2)
_TASKS = sinusoids(4, 6)
_PARAMS = _LEARNER.init(jax.random.key(5), jnp.zeros((4, 1)))


def _absolute(outputs, targets):
  return jnp.mean(jnp.abs(outputs - targets), axis=-1)


def evaluate(num_episodes=7, seed=0, params=_PARAMS, learner=_LEARNER, **options):
  return make_evaluate(learner, losses.squared_error, {"absolute": _absolute}, _TASKS, num_episodes=num_episodes,
                       key=jax.random.key(seed), **options)(params)


@pytest.mark.parametrize("values", [[1.0, 2.0], [0.5] * 5, list(np.random.default_rng(0).normal(size=600))])
def test_mean_and_interval(values):
  values = np.asarray(values, np.float32)
  result = estimate(values)
  wide = values.astype(np.float64)
  deviation = np.sqrt(np.sum((wide - wide.mean()) ** 2) / (len(wide) - 1))
  np.testing.assert_allclose(result.mean, wide.mean(), rtol=1e-12)
  np.testing.assert_allclose(result.interval, 1.96 * deviation / np.sqrt(len(wide)), rtol=1e-12, atol=1e-15)
  np.testing.assert_array_equal(result.values, values, strict=True)


def test_an_estimate_reads_well():
  assert str(Estimate(0.98765, 0.00123, np.zeros(2))) == "0.9877 ± 0.0012"
  assert estimate(np.array([1.0, 3.0])).interval == pytest.approx(1.96)


def test_the_same_as_a_loop_over_episodes():

  def adapt(params, examples, key):  # a random one, so that a wrong key is detected
    adapted = _LEARNER.adapt(params, examples, key)
    return {**adapted, "b2": adapted["b2"] + jax.random.normal(key, (1,))}

  learner = _LEARNER._replace(adapt=adapt)
  results = evaluate(learner=learner)
  key_list, key_adapt = jax.random.split(jax.random.key(0))
  assert results.keys() == {"loss", "absolute"}
  for place in range(7):
    episode = jax.tree.map(lambda leaf: leaf[0], sample_tasks(_TASKS, (), key_list, jnp.array([place])))
    solved = solve(learner, losses.squared_error, {"absolute": _absolute}, _PARAMS, episode,
                   jax.random.fold_in(key_adapt, place))
    np.testing.assert_allclose(results["loss"].values[place], solved.loss, rtol=1e-5)
    np.testing.assert_allclose(results["absolute"].values[place], solved.scores["absolute"], rtol=1e-5)
  np.testing.assert_allclose(results["loss"].mean, results["loss"].values.mean(dtype=np.float64), rtol=1e-12)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
def test_contents_of_padding_change_no_estimate(value):
  episode = jax.tree.map(lambda leaf: leaf[0], regression_episodes(padding=2))
  measures = {"total": lambda outputs, targets, mask: jnp.sum(targets)}  # one that ignores the mask

  def found(value):
    tasks = TaskDistribution(lambda data, key: fill_padding(episode, data), jnp.float32(value))
    return make_evaluate(_LEARNER, losses.squared_error, {"absolute": _absolute}, tasks, num_episodes=2,
                         key=jax.random.key(0), measures=measures)(_PARAMS)

  got, want = found(value), found(-3.0)
  assert {name: each.mean for name, each in got.items()} == {name: each.mean for name, each in want.items()}


def test_the_list_is_frozen():
  first, again, other = evaluate(), evaluate(), evaluate(seed=1)
  np.testing.assert_array_equal(again["loss"].values, first["loss"].values, strict=True)
  assert not np.any(other["loss"].values == first["loss"].values)
  assert len(np.unique(first["loss"].values)) == 7


@pytest.mark.parametrize("chunk", [1, 3, 7, 100])
def test_the_chunk_changes_nothing(chunk):
  np.testing.assert_allclose(evaluate(chunk=chunk)["loss"].values, evaluate()["loss"].values, rtol=1e-5)


def test_a_longer_list_begins_with_the_shorter():
  longer = evaluate(num_episodes=20)["loss"].values
  assert longer.shape == (20,)
  np.testing.assert_allclose(longer[:7], evaluate()["loss"].values, rtol=1e-5)


def test_every_learner_gets_the_same_episodes():
  # One that always predicts zero, so that its loss shows the targets.
  silent = _LEARNER._replace(adapt=lambda params, examples, key: (),
                             predict=lambda params, adapted, inputs, mask: jnp.zeros((inputs.shape[0], 1)))
  first = evaluate(learner=silent)["loss"].values
  doubled = jax.tree.map(lambda leaf: leaf * 2, _PARAMS)
  np.testing.assert_allclose(evaluate(learner=silent, params=doubled)["loss"].values, first, rtol=1e-6)
  assert not np.allclose(evaluate(params=doubled)["loss"].values, evaluate()["loss"].values)


@pytest.mark.parametrize("count", [1, 0, -3])
def test_fewer_than_two_episodes_are_refused(count):
  with pytest.raises(ValueError, match=f"at least 2 test episodes, but num_episodes is {count}"):
    evaluate(num_episodes=count)


def test_measures_of_a_whole_query_set_come_before_the_scores():
  worst = lambda outputs, targets, mask: jnp.max(jnp.where(mask, jnp.abs(outputs - targets)[:, 0], 0.0))
  found = evaluate(measures={"worst": worst})
  assert list(found) == ["loss", "worst", "absolute"]
  assert np.all(found["worst"].values >= found["absolute"].values)
  np.testing.assert_allclose(found["loss"].values, evaluate()["loss"].values, rtol=1e-5)


def test_a_given_list_is_used_in_order():
  def listed(data, key, place):
    return _TASKS.sample(data, jax.random.key(place % 2))

  tasks = _TASKS._replace(listed=listed)
  found = make_evaluate(_LEARNER, losses.squared_error, {}, tasks, num_episodes=6, key=jax.random.key(0))(_PARAMS)
  first, second = found["loss"].values[:2]
  assert first != second
  np.testing.assert_allclose(found["loss"].values, [first, second] * 3, rtol=1e-5)
