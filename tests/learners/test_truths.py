"""Known solutions that learners must find."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from metajax import learners, losses, networks, objectives
from metajax.descent import descend
from metajax.examples import examples
from metajax.learners.cnaps import mahalanobis, mahalanobis_logits
from metajax.learners.in_context import read
from metajax.learners.ridge import solve
from metajax.networks.transformer import transformer
from metajax.tasks import functions
from metajax.tasks.sampling import sample_tasks
from metajax.tasks.sinusoids import sinusoids
from metajax.types import Network
from tests.helpers import classification_episodes, regression_episodes, tanh_network

pytestmark = pytest.mark.usefixtures("compiled_quickly")


def first(episodes):
  return jax.tree.map(lambda leaf: leaf[0], episodes)


def identity_network():
  return Network(lambda key, inputs: {}, lambda params, inputs, mask: inputs)


def meta_gradient(learner, loss, params, episodes):
  objective = objectives.episodic(learner, loss)
  return jax.jit(jax.grad(lambda p: objective(p, episodes, jax.random.key(0))[0]))(params)


def trained(learner, tasks, objective, steps, rate=3e-3, num_tasks=32):
  """Returns parameters and losses of a short meta-training, without the library's loop."""
  optimizer = optax.adam(rate)
  params = jax.jit(learner.init)(jax.random.key(0), tasks.sample(tasks.data, jax.random.key(1)).support.inputs)

  def step(carry, index):
    key = jax.random.fold_in(jax.random.key(2), index)
    episodes = sample_tasks(tasks, tasks.data, key, jnp.arange(num_tasks))
    (value, _), gradient = jax.value_and_grad(objective, has_aux=True)(carry[0], episodes, key)
    return descend(optimizer, gradient, carry[1], carry[0]), value

  (params, _), values = jax.jit(lambda c: jax.lax.scan(step, c, jnp.arange(steps)))((params, optimizer.init(params)))
  return params, values


@pytest.mark.parametrize("per_step", [False, True])
def test_metasgd_with_constant_rates_is_maml(per_step):
  network, episodes = tanh_network(1, 5, 1), regression_episodes()
  meta = learners.metasgd(network, losses.squared_error, initial_rate=0.2, num_steps=2, per_step=per_step)
  plain = learners.maml(network, losses.squared_error, optimizer=optax.sgd(0.2), num_steps=2)
  params = meta.init(jax.random.key(0), episodes.support.inputs[0])
  gradient = meta_gradient(meta, losses.squared_error, params, episodes)
  chex.assert_trees_all_close(gradient["weights"],
                              meta_gradient(plain, losses.squared_error, params["weights"], episodes), rtol=1e-5,
                              atol=1e-6)
  assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(gradient["rates"]))


def test_implicit_is_unrolled_at_convergence(x64):
  network, episodes = tanh_network(1, 4, 1, jnp.float64), regression_episodes(dtype=np.float64)
  strength = 2.0
  implicit = learners.imaml(network, losses.squared_error, strength=strength, optimizer=optax.sgd(0.05),
                            num_steps=600, solver_steps=40)
  params = implicit.init(jax.random.key(0), episodes.support.inputs[0])

  def adapt(params, support, key):
    def regularised(weights):
      pull = sum(jnp.sum((w - p) ** 2) for w, p in zip(jax.tree.leaves(weights), jax.tree.leaves(params)))
      return jnp.mean((network.apply(weights, support.inputs, None) - support.targets) ** 2) + strength / 2 * pull

    step = lambda weights, _: (jax.tree.map(lambda w, g: w - 0.05 * g, weights, jax.grad(regularised)(weights)), None)
    return jax.lax.scan(step, params, length=600)[0]

  unrolled = implicit._replace(adapt=adapt)
  support = first(episodes).support
  of_one = [jax.jit(form)(params, support, None) for form in (implicit.adapt, adapt)]
  chex.assert_trees_all_close(*of_one, rtol=1e-8)
  chex.assert_trees_all_close(meta_gradient(implicit, losses.squared_error, params, episodes),
                              meta_gradient(unrolled, losses.squared_error, params, episodes), rtol=1e-5, atol=1e-8)


def test_anil_adapts_its_head_alone():
  body, head = networks.mlp((4,), 3), networks.mlp((), 3)
  learner = learners.anil(body, head, losses.softmax_cross_entropy, optimizer=optax.sgd(0.5), num_steps=3)
  episode = first(classification_episodes())
  params = learner.init(jax.random.key(0), episode.support.inputs)
  features = learner.embed(params, episode.support.inputs, episode.support.mask)
  adapted = learner.adapt(params, episode.support._replace(inputs=features), None)
  whole = learners.maml(head, losses.softmax_cross_entropy, optimizer=optax.sgd(0.5), num_steps=3)
  chex.assert_trees_all_equal(adapted, whole.adapt(params["head"], episode.support._replace(inputs=features), None))
  before = learner.predict(params, params["head"], features, episode.support.mask)
  after = learner.predict(params, adapted, features, episode.support.mask)
  score = lambda outputs: losses.softmax_cross_entropy(outputs, episode.support.targets).mean()
  assert score(after) < score(before)


def test_reptile_moves_towards_the_adapted_weights():
  network, episodes = tanh_network(1, 5, 1), regression_episodes()
  learner = learners.maml(network, losses.squared_error, optimizer=optax.sgd(0.1), num_steps=3)
  params = learner.init(jax.random.key(0), episodes.support.inputs[0])
  both = jax.tree.map(lambda a, b: jnp.concatenate([a, b], axis=1), *episodes)
  adapted = jax.jit(jax.vmap(lambda e: learner.adapt(params, e, None)))(both)
  want = jax.tree.map(lambda p, a: p - a.mean(0), params, adapted)
  objective = objectives.reptile(learner, losses.squared_error)
  (value, metrics), gradient = jax.jit(jax.value_and_grad(objective, has_aux=True))(params, episodes, jax.random.key(0))
  chex.assert_trees_all_close(gradient, want, rtol=1e-5, atol=1e-6)
  assert value == pytest.approx(float(optax.tree.norm(want, squared=True)) / 2, rel=1e-5)


def test_conml_reptile_adds_the_gradient_of_the_contrast():
  network, episodes = tanh_network(1, 5, 1), regression_episodes()
  learner = learners.maml(network, losses.squared_error, optimizer=optax.sgd(0.1))
  params = learner.init(jax.random.key(0), episodes.support.inputs[0])
  key = jax.random.key(0)
  slope = lambda objective: jax.jit(jax.grad(lambda p: objective(p, episodes, key)[0]))(params)
  got = slope(objectives.reptile(learner, losses.squared_error, weight=3.0))
  plain = slope(objectives.reptile(learner, losses.squared_error))
  contrast = jax.jit(jax.grad(lambda p: objectives.conml(learner, losses.squared_error)(p, episodes, key)[1][
      "contrastive_loss"]))(params)
  chex.assert_trees_all_close(got, jax.tree.map(lambda a, b: a + 3 * b, plain, contrast), rtol=1e-4, atol=1e-6)


def test_reptile_refuses_a_learner_without_weights():
  episodes = classification_episodes()
  learner = learners.protonet(tanh_network(4, 5, 3), num_classes=3)
  params = learner.init(jax.random.key(0), episodes.support.inputs[0])
  with pytest.raises(ValueError, match="must have one structure"):
    jax.eval_shape(objectives.reptile(learner, losses.softmax_cross_entropy), params, episodes, jax.random.key(0))


@pytest.mark.parametrize("count, size", [(4, 7), (9, 3)])
def test_ridge_solves_the_normal_equations(count, size, x64):
  random = np.random.default_rng(0)
  x, y = random.normal(size=(count, size)), random.normal(size=(count, 2))
  mask = np.arange(count) != 1
  got = solve(jnp.asarray(x), jnp.asarray(y), jnp.asarray(mask), jnp.float64(0.7))
  kept, target = x[mask], y[mask]
  np.testing.assert_allclose(got, np.linalg.solve(kept.T @ kept + 0.7 * np.eye(size), kept.T @ target), rtol=1e-9)


@pytest.mark.parametrize("make", [
    lambda: learners.protonet(identity_network(), num_classes=5),
    lambda: learners.matchingnet(identity_network(), num_classes=5),
    lambda: learners.ridge(identity_network(), num_classes=5, initial_penalty=0.1)],
    ids=["protonet", "matchingnet", "ridge"])
def test_separable_clusters_are_classified(make):
  random = np.random.default_rng(0)
  centres = 10 * np.eye(5)
  draw = lambda count: examples(jnp.asarray(np.repeat(centres, count, 0) + random.normal(size=(5 * count, 5)) / 2,
                                            jnp.float32), jnp.repeat(jnp.arange(5), count))
  learner, support, query = make(), draw(3), draw(20)
  params = learner.init(jax.random.key(0), support.inputs)
  features = learner.embed(params, support.inputs, support.mask)
  adapted = learner.adapt(params, support._replace(inputs=features), None)
  outputs = learner.predict(params, adapted, learner.embed(params, query.inputs, query.mask), query.mask)
  assert losses.accuracy(outputs, query.targets).mean() == 1.0


def test_mahalanobis_against_numpy(x64):
  random = np.random.default_rng(0)
  x, labels, query = random.normal(size=(10, 4)), np.array([0, 0, 0, 0, 1, 1, 1, 2, 0, 1]), random.normal(size=(3, 4))
  mask = np.arange(10) != 8
  head = mahalanobis(examples(jnp.asarray(x), jnp.asarray(labels), jnp.asarray(mask)), 4)
  got = mahalanobis_logits(head, jnp.asarray(query))
  x, labels = x[mask], labels[mask]
  for label in range(3):
    own = x[labels == label]
    share = len(own) / (len(own) + 1)
    spread = np.cov(own.T) if len(own) > 1 else np.zeros((4, 4))
    blended = share * spread + (1 - share) * np.cov(x.T) + np.eye(4)
    gaps = query - own.mean(0)
    np.testing.assert_allclose(got[:, label], [-g @ np.linalg.inv(blended) @ g / 2 for g in gaps], rtol=1e-9)
  np.testing.assert_allclose(jax.nn.softmax(got)[:, 3], 1e-9, rtol=1e-6)  # no example of that class


def test_cnp_learns_a_family_of_one_parameter():
  tasks = sinusoids(5, 5, phase=(0.0, 0.0))  # only the amplitude
  learner = learners.cnp(networks.mlp((32,), 16), networks.mlp((32,), 1))
  _, values = trained(learner, tasks, objectives.episodic(learner, losses.squared_error), 1500)
  assert values[-100:].mean() < 0.2 * values[:20].mean()


def test_the_transformer_learns_a_family_of_one_parameter():
  tasks = functions.function_tasks(functions.linear, dimensions=1, points=6)
  network = transformer(1, max_tokens=12, layers=2, heads=2, width=32)
  objective = objectives.autoregressive(functools.partial(read, network), losses.squared_error)
  _, values = trained(learners.in_context(network), tasks, objective, 1000)
  # The error at the first of six positions is at least the variance of the targets, 1.
  assert values[-100:].mean() < 0.4 < 0.8 < values[:20].mean()


def test_reptile_is_the_same_over_devices():
  network, episodes = tanh_network(1, 5, 1), regression_episodes(num_tasks=4)
  learner = learners.maml(network, losses.squared_error, optimizer=optax.sgd(0.1))
  params = learner.init(jax.random.key(0), episodes.support.inputs[0])
  slope = lambda axis: jax.value_and_grad(
      lambda p, e: objectives.reptile(learner, losses.squared_error, axis_name=axis)(p, e, jax.random.key(0))[0])
  want, gradient = jax.jit(slope(None))(params, episodes)
  cut = jax.tree.map(lambda leaf: leaf.reshape(2, 2, *leaf.shape[1:]), episodes)
  got, shares = jax.jit(jax.vmap(slope("tasks"), in_axes=(None, 0), axis_name="tasks"))(params, cut)
  np.testing.assert_allclose(got, [want, want], rtol=1e-5)
  chex.assert_trees_all_close(jax.tree.map(lambda leaf: leaf.mean(0), shares), gradient, rtol=1e-5, atol=1e-6)
