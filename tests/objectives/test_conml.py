"""The full objective and its meta-gradient against an independent float64 reference, and the options of ConML."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from metajax import contrast, learners, losses, objectives
from metajax.contrast import distances
from metajax.objectives import views
from metajax.objectives.solve import task_keys
from tests import reference
from tests.helpers import classification_episodes, regression_episodes, tanh_network


def case(name, padding, dtype):
  """Returns `(learner, loss, episodes, reference learner)`."""
  if name == "protonet":
    network = tanh_network(4, 5, 6, dtype)
    episodes = classification_episodes(dtype=dtype, padding=padding)
    return learners.protonet(network, num_classes=3), losses.softmax_cross_entropy, episodes, reference.ProtoNet(3)
  kind, steps = name
  if kind == "squared_error":
    network, loss, episodes = (tanh_network(1, 5, 1, dtype), losses.squared_error,
                               regression_episodes(dtype=dtype, padding=padding))
  else:
    network, loss, episodes = (tanh_network(4, 5, 3, dtype), losses.softmax_cross_entropy,
                               classification_episodes(dtype=dtype, padding=padding))
  learner = learners.maml(network, loss, optimizer=optax.sgd(0.3), num_steps=steps)
  return learner, loss, episodes, reference.Maml(kind, 0.3, steps)


CASES = ["protonet", ("squared_error", 1), ("squared_error", 3), ("softmax", 1), ("softmax", 2)]


@pytest.mark.parametrize("padding", [0, 3])
@pytest.mark.parametrize("name", CASES, ids=str)
@pytest.mark.usefixtures("compiled_quickly")
def test_equals_the_reference(name, padding, x64):
  learner, loss, episodes, slow = case(name, padding, np.float64)
  params = learner.init(jax.random.key(0), jax.tree.map(lambda leaf: leaf[0], episodes.support.inputs))
  objective = objectives.conml(learner, loss, weight=0.7)
  (value, metrics), gradient = jax.jit(jax.value_and_grad(objective, has_aux=True))(
      params, episodes, jax.random.key(1))

  plain, tasks = jax.tree.map(np.asarray, params), reference.unpack(episodes)
  want = reference.conml(slow, plain, tasks, 0.7)
  got = value, metrics["episodic_loss"], metrics["d_in"], metrics["d_out"]
  np.testing.assert_allclose(got, want, rtol=1e-9)
  assert metrics["contrastive_loss"] == pytest.approx(want[2] - want[3], rel=1e-9)
  slopes = reference.numerical_gradient(lambda p: reference.conml(slow, p, tasks, 0.7)[0], plain)
  error = optax.tree.norm(jax.tree.map(np.subtract, jax.tree.map(np.asarray, gradient), slopes))
  assert error < 1e-7 * optax.tree.norm(slopes)


@pytest.mark.parametrize("name", CASES, ids=str)
def test_float32_is_float64_rounded(name):
  learner, loss, episodes, slow = case(name, 3, np.float32)
  params = learner.init(jax.random.key(0), jax.tree.map(lambda leaf: leaf[0], episodes.support.inputs))
  value, metrics = jax.jit(objectives.conml(learner, loss, weight=0.7))(params, episodes, jax.random.key(1))
  want = reference.conml(slow, jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params),
                         reference.unpack(episodes), 0.7)
  np.testing.assert_allclose((value, metrics["episodic_loss"], metrics["d_in"], metrics["d_out"]), want, rtol=1e-5)


@pytest.fixture
def setting():
  learner, loss, episodes, _ = case(("softmax", 1), 0, np.float32)
  return learner, loss, learner.init(jax.random.key(0), episodes.support.inputs[0]), episodes


def values(setting, **options):
  learner, loss, params, episodes = setting
  objective = objectives.conml(learner, loss, {"accuracy": losses.accuracy}, **options)
  (_, metrics), gradient = jax.jit(jax.value_and_grad(objective, has_aux=True))(params, episodes, jax.random.key(2))
  return metrics, gradient


@pytest.mark.usefixtures("compiled_quickly")
def test_metrics_of_every_step(setting):
  metrics, _ = values(setting)
  assert set(metrics) == {"loss", "episodic_loss", "contrastive_loss", "d_in", "d_out", "accuracy"}
  learner, loss, params, episodes = setting
  episodic = objectives.episodic(learner, loss, {"accuracy": losses.accuracy})
  plain = jax.jit(episodic)(params, episodes, jax.random.key(2))[1]
  assert metrics["episodic_loss"] == pytest.approx(float(plain["loss"]), rel=1e-6)
  assert metrics["accuracy"] == pytest.approx(float(plain["accuracy"]), rel=1e-6)


@pytest.mark.usefixtures("compiled_quickly")
def test_each_term_alone(setting):
  both, align, discriminate = (values(setting, weight=2.0, **options)[0] for options in (
      {}, {"discriminate": False}, {"align": False}))
  assert both["contrastive_loss"] == pytest.approx(float(both["d_in"] - both["d_out"]), rel=1e-5)
  assert align["contrastive_loss"] == pytest.approx(float(both["d_in"]), rel=1e-6)
  assert discriminate["contrastive_loss"] == pytest.approx(float(-both["d_out"]), rel=1e-6)
  assert align["loss"] == pytest.approx(float(align["episodic_loss"] + 2 * align["d_in"]), rel=1e-6)


def test_no_weight_is_the_plain_objective(setting):
  learner, loss, params, episodes = setting
  plain = objectives.episodic(learner, loss, {"accuracy": losses.accuracy})
  (_, metrics), gradient = jax.jit(jax.value_and_grad(plain, has_aux=True))(params, episodes, jax.random.key(2))
  same, same_gradient = values(setting, weight=0.0)
  chex.assert_trees_all_equal(same_gradient, gradient)
  assert {name: same[name] for name in metrics} == metrics
  assert same["d_out"] > 0


def test_stopped_full_gradient_leaves_the_value(setting):
  free, stopped = values(setting), values(setting, stop_full_gradient=True)
  chex.assert_trees_all_close(free[0], stopped[0], rtol=1e-6)
  out = [values(setting, align=False, stop_full_gradient=stop)[1] for stop in (False, True)]
  plain = values(setting, weight=0.0)[1]
  chex.assert_trees_all_close(out[1], plain, rtol=1e-6)  # D_out depends only on e*, so it has no gradient
  assert optax.tree.norm(jax.tree.map(jnp.subtract, out[0], plain)) > 1e-5


@pytest.mark.parametrize("strategy", [views.random_subsets(3, 4), views.balanced_subsets(2, 3, 2), views.halves()])
@pytest.mark.usefixtures("compiled_quickly")
def test_views_are_learned_one_by_one(setting, strategy):
  learner, loss, params, episodes = setting
  metrics, _ = values(setting, views=strategy)
  # Reference: the same keys, a Python loop over tasks and views.
  key_views = task_keys(jax.random.key(2), 3).views
  adapt, draw, full, parts = jax.jit(learner.adapt), jax.jit(strategy), [], []
  for t in range(3):
    episode = jax.tree.map(lambda leaf: leaf[t], episodes)
    both = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), *episode)
    subsets = draw(key_views[t], *episode)
    count = subsets.mask.shape[0]
    learned = [adapt(params, jax.tree.map(lambda leaf: leaf[k], subsets), None) for k in range(count)]
    full.append(adapt(params, both, None))
    parts.append(jax.tree.map(lambda *leaves: jnp.stack(leaves), *learned))
  stack = functools.partial(jax.tree.map, lambda *leaves: jnp.stack(leaves))
  want = contrast.inner_task_distance(stack(*full), stack(*parts), distances.cosine)
  np.testing.assert_allclose(metrics["d_in"], want, rtol=1e-4)


@pytest.mark.parametrize("mapping", [objectives.in_chunks(1), objectives.in_chunks(2)])
def test_chunks_are_all_at_once(setting, mapping):
  whole, chunked = values(setting), values(setting, task_map=mapping)
  chex.assert_trees_all_close(whole, chunked, rtol=2e-5, atol=1e-7)


def test_the_contrastive_loss_is_exchanged(setting):
  metrics, _ = values(setting, weight=2.0, contrastive=contrast.info_nce)
  assert metrics["contrastive_loss"] > 0.5  # nats; the plain difference is negative here
  assert metrics["loss"] == pytest.approx(float(metrics["episodic_loss"] + 2 * metrics["contrastive_loss"]), rel=1e-6)


@pytest.mark.usefixtures("compiled_quickly")
def test_distances_are_exchanged(setting):
  metrics, _ = values(setting, distance=distances.squared_euclidean)
  assert not np.isclose(metrics["d_in"], values(setting)[0]["d_in"])


@pytest.mark.usefixtures("compiled_quickly")
def test_nothing_leaks(setting):
  learner, loss, params, episodes = setting
  objective = objectives.conml(learner, loss, views=views.random_subsets(2, 3), task_map=objectives.in_chunks(1))
  with jax.checking_leaks():
    jax.jit(jax.grad(objective, has_aux=True))(params, episodes, jax.random.key(2))


def test_refusals(setting):
  learner, loss, params, episodes = setting
  one = jax.tree.map(lambda leaf: leaf[:1], episodes)
  with pytest.raises(ValueError, match="only 1.*at least 2 tasks"):
    jax.eval_shape(objectives.conml(learner, loss), params, one, jax.random.key(0))  # before compilation
  _, metrics = jax.jit(objectives.conml(learner, loss, discriminate=False))(params, one, jax.random.key(0))
  assert "d_out" not in metrics and all(np.isfinite(value) for value in metrics.values())  # a NaN would stop the run
  with pytest.raises(ValueError, match="at least one of its two terms"):
    objectives.conml(learner, loss, align=False, discriminate=False)
  with pytest.raises(ValueError, match="chunk is 0"):
    objectives.in_chunks(0)
  with pytest.raises(ValueError, match="does not fit a task of 12"):
    jax.eval_shape(objectives.conml(learner, loss, views=views.random_subsets(1, 13)), params, episodes,
                   jax.random.key(0))
