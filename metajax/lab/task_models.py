"""Models that a trained learner learns of tasks it has never met, and how they lie: aligned, discriminated, clustered.

`T` tasks, `K` subsets of each, `D` numbers of a representation. Wu et al., 2025, section 5.1.
"""

from typing import Callable, NamedTuple

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from metajax.contrast.distances import Distance
from metajax.examples import union, zero_padding
from metajax.objectives.views import Views
from metajax.tasks.sampling import sample_tasks
from metajax.types import Learner, Params, PRNGKey, TaskDistribution


class Geometry(NamedTuple):
  """How models of unseen tasks lie."""
  d_in: np.ndarray  # [T, K], of each subset's model to that of the whole task
  d_out: np.ndarray  # [T (T - 1) / 2], of the whole tasks' models to each other
  silhouette: float  # of tasks as clusters, mean over groups of ten tasks; near 1 where they part
  calinski_harabasz: float  # the same: variance between tasks over that within


def make_task_models(learner: Learner, tasks: TaskDistribution, views: Views, key: PRNGKey, num_tasks: int
                     ) -> Callable[[Params], tuple[np.ndarray, np.ndarray]]:
  """Returns a function from parameters to the representations `[T, D]` of whole tasks and `[T, K, D]` of their subsets.

  Args:
    learner: a learner.
    tasks: where the tasks come from; a whole task is its support and query sets.
    views: how subsets are drawn.
    key: for tasks, subsets and whatever the learner draws.
    num_tasks: `T`.
  """
  key_tasks, key_adapt, key_represent = jax.random.split(key, 3)

  def one(params, episode, key):
    key_views, key_learn = jax.random.split(key)
    support, query = zero_padding(episode.support), zero_padding(episode.query)

    def learn(examples):
      # Each set is embedded by itself: what counts is what a learner makes of a subset that comes alone.
      features = learner.embed(params, examples.inputs, examples.mask)
      adapted = learner.adapt(params, examples._replace(inputs=features), key_learn)
      leaves = jax.tree.leaves(learner.represent(params, adapted, key_represent))
      return jnp.concatenate([leaf.ravel() for leaf in leaves])

    return learn(union(support, query)), jax.vmap(learn)(views(key_views, support, query))

  @jax.jit
  def run(params, data):
    sampled = sample_tasks(tasks, data, key_tasks, jnp.arange(num_tasks))
    each = lambda episode_and_key: one(params, *episode_and_key)
    return lax.map(each, (sampled, jax.random.split(key_adapt, num_tasks)), batch_size=min(10, num_tasks))

  def task_models(params: Params) -> tuple[np.ndarray, np.ndarray]:
    full, parts = jax.device_get(run(params, tasks.data))
    return full, parts

  return task_models


def geometry(full: np.ndarray, parts: np.ndarray, distance: Distance, tasks_per_group: int = 10) -> Geometry:
  """Returns how models `full [T, D]` and `parts [T, K, D]` lie.

  Clusters are those of the paper, ten tasks of ten subsets; their scores are means over as many groups as there are.

  Raises:
    ValueError: if there are fewer than two tasks, or fewer than two subsets of a task.
  """
  if len(full) < 2 or parts.shape[1] < 2:
    raise ValueError(f"clusters need at least 2 tasks of at least 2 subsets, but there are {len(full)} of "
                     f"{parts.shape[1]}.")
  d_in = jax.jit(jax.vmap(jax.vmap(distance, (0, None))))(jnp.asarray(parts), jnp.asarray(full))
  to_all = jax.jit(lambda full: lax.map(lambda one: jax.vmap(distance, (None, 0))(one, full), full))
  pairs = np.asarray(to_all(jnp.asarray(full)))[np.triu_indices(len(full), 1)]
  size = min(tasks_per_group, len(full))
  groups = [parts[start:start + size] for start in range(0, len(full) - size + 1, size)]
  scores = np.array([clusters(group) for group in groups])
  return Geometry(np.asarray(d_in), pairs, *(float(score) for score in scores.mean(axis=0)))


def clusters(parts: np.ndarray) -> tuple[float, float]:
  """Returns silhouette and Calinski-Harabasz index of `parts [T, K, D]`, the task being the cluster; NaN if not finite.
  """
  from sklearn import metrics  # half a second, which only a comparison should take
  num_tasks, num_views, _ = parts.shape
  models = np.asarray(parts, np.float64).reshape(num_tasks * num_views, -1)
  if not np.all(np.isfinite(models)):
    return float("nan"), float("nan")
  models = models - models.mean(axis=0)  # weights are theta plus a little: it is the little that counts
  labels = np.repeat(np.arange(num_tasks), num_views)
  return float(metrics.silhouette_score(models, labels)), float(metrics.calinski_harabasz_score(models, labels))
