"""Figures of a trained learner: it is run on a few tasks, and `reports` draws the results."""

from typing import Mapping, NamedTuple, Sequence

import jax
import jax.numpy as jnp
from matplotlib.figure import Figure
import numpy as np

from metajax.lab.reports import episodes, maps
from metajax.lab.task_models import make_task_models
from metajax.objectives.solve import solve
from metajax.objectives.views import Views
from metajax.tasks.sampling import sample_tasks
from metajax.types import Learner, Params, PerExample, PRNGKey, TaskDistribution


class Named(NamedTuple):
  """What tells the classes of an episode."""
  tasks: TaskDistribution  # the same tasks on the numbers of classes instead of images, from `class_data.numbered`
  names: Sequence[str]  # the name of each number


def fit_picture(before: Learner, after: Mapping[str, Learner], params: Params, tasks: TaskDistribution, key: PRNGKey,
                *, span: tuple[float, float]) -> Figure:
  """Returns a figure of the fit to scalar functions on three tasks, before and after adaptation.

  Args:
    before: the learner without adaptation.
    after: adapted learners, by the label of their curve, such as "after 1 step".
    params: the parameters of all learners.
    tasks: with inputs `[N, 1]`; the query set should cover `span` densely, because it draws the true function.
    key: for the tasks and the adaptation.
    span: the range of inputs to draw.
  """
  grid = jnp.linspace(*span, 200)[:, None]
  sampled = sample_tasks(tasks, tasks.data, key, jnp.arange(3))
  mask = jnp.ones(grid.shape[0], bool)

  def curve(learner):

    def one(episode):
      features = learner.embed(params, episode.support.inputs, episode.support.mask)
      adapted = learner.adapt(params, episode.support._replace(inputs=features), key)
      return learner.predict(params, adapted, learner.embed(params, grid, mask), mask)[:, 0]

    return np.asarray(jax.jit(jax.vmap(one))(sampled))

  order = np.argsort(np.asarray(sampled.query.inputs)[..., 0], axis=1)
  dense_x = np.take_along_axis(np.asarray(sampled.query.inputs)[..., 0], order, axis=1)
  dense_y = np.take_along_axis(np.asarray(sampled.query.targets)[..., 0], order, axis=1)
  grid_x = np.asarray(grid[:, 0])
  return episodes.regression_fit(
      np.asarray(sampled.support.inputs)[..., 0], np.asarray(sampled.support.targets)[..., 0],
      np.tile(grid_x, (3, 1)), np.stack([np.interp(grid_x, x, y) for x, y in zip(dense_x, dense_y)]),
      curve(before), np.stack([curve(learner) for learner in after.values()], axis=1), list(after))


def image_picture(learner: Learner, loss: PerExample, params: Params, tasks: TaskDistribution, key: PRNGKey,
                  named: Named | None = None) -> Figure:
  """Returns a figure of one episode of images: its support set, its queries, and the predictions of the learner.

  With `named`, classes are called by their names; otherwise by their labels in this episode. Padding is not drawn.
  """
  draw = lambda some: jax.tree.map(lambda leaf: leaf[0], sample_tasks(some, some.data, key, jnp.arange(1)))
  episode = draw(tasks)
  outputs = jax.jit(lambda params, episode: solve(learner, loss, {}, params, episode, key).outputs)(params, episode)
  probabilities = np.asarray(jax.nn.softmax(outputs))
  shown = lambda part: jax.tree.map(lambda leaf: np.asarray(leaf)[np.asarray(part.mask)], part)
  support, query = shown(episode.support), shown(episode.query)
  names: list[str] = []
  if named is not None:
    told = shown(draw(named.tasks).support)
    number_of = dict(zip(told.targets.tolist(), np.asarray(told.inputs, int).ravel().tolist()))
    names = [named.names[number_of[label]] if label in number_of else "" for label in range(probabilities.shape[1])]
  return episodes.image_episode(support.inputs, support.targets, query.inputs, query.targets,
                                probabilities[np.asarray(episode.query.mask)], names)


def map_picture(learner: Learner, params: Params, tasks: TaskDistribution, views: Views, key: PRNGKey, title: str,
                num_tasks: int = 10) -> tuple[Figure, float]:
  """Returns the map of task representations, and the silhouette score of its clusters, in [-1, 1].

  Models are learned from the subsets `views` of each of `num_tasks` tasks, and from each whole task. Their
  representations are projected to two dimensions and coloured by task. Tight clusters show alignment, distant clusters
  discrimination (Wu et al., 2025, section 5.1: ten tasks with ten subsets each).
  """
  full, parts = make_task_models(learner, tasks, views, key, num_tasks)(params)
  models = np.concatenate([full[:, None], parts], axis=1)
  points = maps.project(models)
  labels = np.repeat(np.arange(num_tasks), parts.shape[1])
  score = maps.silhouette(models[:, 1:].reshape(labels.size, -1), labels)
  return maps.task_map(points[:, 1:], points[:, 0], title, score), score
