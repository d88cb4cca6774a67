"""Task models of a trained learner on unseen tasks, and their geometry: alignment, discrimination, clusters.

`T` tasks, `K` subsets of each, `D` dimensions of a representation. Wu et al., 2025, section 5.1.
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
  """Distances between models of unseen tasks, and how well tasks form clusters."""
  d_in: np.ndarray  # [T, K], from the model of each subset to the model of its whole task
  d_out: np.ndarray  # [T (T - 1) / 2], between the models of whole tasks
  silhouette: float  # with tasks as clusters, mean over groups of ten tasks; near 1 if they are well separated
  calinski_harabasz: float  # with tasks as clusters; variance between tasks over variance within tasks


def make_task_models(learner: Learner, tasks: TaskDistribution, views: Views, key: PRNGKey, num_tasks: int
                     ) -> Callable[[Params], tuple[np.ndarray, np.ndarray]]:
  """Returns a function from parameters to the representations `[T, D]` of whole tasks and `[T, K, D]` of their subsets.

  Args:
    learner: a learner.
    tasks: the task distribution; a whole task is its support and query sets.
    views: how subsets are drawn.
    key: for tasks, subsets and random draws of the learner.
    num_tasks: `T`.
  """
  key_tasks, key_adapt, key_represent = jax.random.split(key, 3)

  def one(params, episode, key):
    key_views, key_learn = jax.random.split(key)
    support, query = zero_padding(episode.support), zero_padding(episode.query)

    def learn(examples):
      # Each set is embedded separately, as if the learner had been given this subset only.
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
  """Returns the geometry of the models `full [T, D]` and `parts [T, K, D]`.

  Cluster scores are computed as in the paper, for groups of ten tasks with ten subsets each, and averaged over groups.

  Raises:
    ValueError: if there are fewer than two tasks, or fewer than two subsets per task.
  """
  if len(full) < 2 or parts.shape[1] < 2:
    raise ValueError(f"clusters need at least 2 tasks with at least 2 subsets each, but there are {len(full)} tasks "
                     f"with {parts.shape[1]} subsets.")
  d_in = jax.jit(jax.vmap(jax.vmap(distance, (0, None))))(jnp.asarray(parts), jnp.asarray(full))
  to_all = jax.jit(lambda full: lax.map(lambda one: jax.vmap(distance, (None, 0))(one, full), full))
  pairs = np.asarray(to_all(jnp.asarray(full)))[np.triu_indices(len(full), 1)]
  size = min(tasks_per_group, len(full))
  groups = [parts[start:start + size] for start in range(0, len(full) - size + 1, size)]
  scores = np.array([clusters(group) for group in groups])
  return Geometry(np.asarray(d_in), pairs, *(float(score) for score in scores.mean(axis=0)))


def clusters(parts: np.ndarray) -> tuple[float, float]:
  """Returns the silhouette score and Calinski-Harabasz index of `parts [T, K, D]`, with tasks as clusters.

  Both are NaN if any value is non-finite.
  """
  from sklearn import metrics  # the import takes half a second and only comparisons need it
  num_tasks, num_views, _ = parts.shape
  models = np.asarray(parts, np.float64).reshape(num_tasks * num_views, -1)
  if not np.all(np.isfinite(models)):
    return float("nan"), float("nan")
  models = models - models.mean(axis=0)  # adapted weights are theta plus a small update, and only the updates differ
  labels = np.repeat(np.arange(num_tasks), num_views)
  return float(metrics.silhouette_score(models, labels)), float(metrics.calinski_harabasz_score(models, labels))
