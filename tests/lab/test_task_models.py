"""The geometry of models of unseen tasks: distances and clusters, against plain loops and scikit-learn."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn import metrics

from metajax import learners, losses
from metajax.contrast import distances
from metajax.examples import union
from metajax.lab.task_models import clusters, geometry, make_task_models
from metajax.learners.identity import identity_embed, identity_represent
from metajax.learners.maml import adapt
from metajax.objectives import views
from metajax.tasks.sampling import sample_tasks
from metajax.tasks.sinusoids import sinusoids
from metajax.types import Learner, TaskDistribution
from tests.helpers import fill_padding, regression_episodes, tanh_network

_MODELS = np.random.default_rng(0).normal(size=(5, 1, 3)) + 0.1 * np.random.default_rng(1).normal(size=(5, 4, 3))


def test_distances_are_those_of_all_pairs():
  full, parts = _MODELS[:, 0].astype(np.float32), _MODELS[:, 1:].astype(np.float32)
  found = geometry(full, parts, distances.cosine)
  for task in range(5):
    for view in range(3):
      np.testing.assert_allclose(found.d_in[task, view], distances.cosine(parts[task, view], full[task]), rtol=1e-3)
  pairs = [distances.cosine(full[i], full[j]) for i in range(5) for j in range(i + 1, 5)]
  np.testing.assert_allclose(found.d_out, pairs, rtol=1e-5)
  assert (found.silhouette, found.calinski_harabasz) == pytest.approx(clusters(parts))
  with pytest.raises(ValueError, match="at least 2 tasks"):
    geometry(full[:1], parts[:1], distances.cosine)


def test_clusters_of_nearly_equal_weights():
  flat, labels = _MODELS.reshape(20, 3), np.repeat(np.arange(5), 4)
  wanted = metrics.silhouette_score(flat, labels), metrics.calinski_harabasz_score(flat, labels)
  assert clusters(_MODELS) == pytest.approx(wanted)
  assert clusters(1e-6 * _MODELS + 1.0) == pytest.approx(wanted, rel=1e-4)
  assert np.isnan(clusters(_MODELS * np.nan)).all()


def test_groups_of_tasks_are_averaged():
  found = geometry(_MODELS[:4, 0], _MODELS[:4], distances.cosine, tasks_per_group=2)
  each = [clusters(_MODELS[start:start + 2]) for start in (0, 2)]
  np.testing.assert_allclose((found.silhouette, found.calinski_harabasz), np.mean(each, axis=0), rtol=1e-5)


def test_models_are_learned_from_the_whole_and_from_subsets():
  learner = learners.maml(tanh_network(1, 6, 1), losses.squared_error, optimizer=optax.sgd(0.05))
  tasks, key = sinusoids(4, 6), jax.random.key(3)
  params = learner.init(jax.random.key(5), jnp.zeros((4, 1)))
  full, parts = make_task_models(learner, tasks, views.random_subsets(2, 10), key, 3)(params)
  assert full.shape == (3, 25 - 6) and parts.shape == (3, 2, 25 - 6)
  episode = jax.tree.map(lambda leaf: leaf[1], sample_tasks(tasks, (), jax.random.split(key, 3)[0], jnp.arange(3)))
  adapted = learner.adapt(params, union(*episode), key)
  flat = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(adapted)])
  np.testing.assert_allclose(full[1], flat, rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(parts[1, 0], flat, rtol=1e-5, atol=1e-6)  # a subset of all ten points


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
def test_contents_of_padding_change_no_model(value):
  network = tanh_network(1, 6, 1)
  descend = functools.partial(adapt, network.apply, losses.squared_error, optimizer=optax.sgd(0.05), num_steps=1)
  # A user's learner that ignores masks.
  learner = Learner(network.init, identity_embed, lambda params, examples, key: descend(params, examples), None,
                    identity_represent)
  params = network.init(jax.random.key(5), jnp.zeros((4, 1)))
  episode = jax.tree.map(lambda leaf: leaf[0], regression_episodes(padding=2))

  def found(value):
    tasks = TaskDistribution(lambda data, key: fill_padding(episode, data), jnp.float32(value))
    return make_task_models(learner, tasks, views.random_subsets(2, 12), jax.random.key(3), 2)(params)

  np.testing.assert_equal(found(value), found(-3.0))
  assert np.isfinite(found(value)[1]).all()
