"""Checks of the parts of a recipe against each other, before anything is trained: labels, losses, scores, measures."""

import functools
from typing import Any, Callable

import jax
from jax import lax
import jax.numpy as jnp

from metajax.lab.recipe import Recipe
from metajax.objectives.solve import solve
from metajax.tasks.sampling import listed_task
from metajax.training.evaluation import measured
from metajax.training.fitting import check_labels, outputs_of
from metajax.types import Episode, Learner, PRNGKey, TaskDistribution

_TASKS = 8  # tasks of each kind whose labels are looked at


def check_tasks(recipe: Recipe) -> None:
  """Checks training, validation and test tasks; only their labels are computed, and the tests are traced.

  Raises:
    ValueError: if a label is not one of the learner's classes, or a loss, score or measure does not fit the outputs.
  """
  key = jax.random.key(recipe.test.seed)
  kinds = {"training": (recipe.learner, recipe.train_tasks), "validation": (recipe.test_learner, recipe.val_tasks),
           "test": (recipe.test_learner, recipe.test_tasks)}
  given = {kind: (learner, tasks) for kind, (learner, tasks) in kinds.items() if tasks is not None}
  shapes = {kind: jax.eval_shape(_first(tasks, key), tasks.data) for kind, (_, tasks) in given.items()}
  labelled = {kind: tasks for kind, (_, tasks) in given.items() if _has_labels(shapes[kind])}
  for kind, labels in _labels(labelled, key).items():
    outputs = _outputs(given[kind][0], shapes[kind])
    for targets, mask in labels if outputs is not None else ():
      check_labels(targets.ravel(), outputs, mask.ravel(), what=f"labels of {kind} tasks")
  for kind in given:
    if kind != "training" and isinstance(shapes[kind], Episode):
      jax.eval_shape(lambda episode: _tested(recipe, episode, key), shapes[kind])


def _first(tasks: TaskDistribution, key: PRNGKey) -> Callable[[Any], Any]:
  return lambda data: listed_task(tasks, tasks.at_step(data, jnp.int32(0)), key, jnp.int32(0))


def _has_labels(episode: Any) -> bool:
  return isinstance(episode, Episode) and jnp.issubdtype(episode.support.targets.dtype, jnp.integer) and len(
      episode.support.targets.shape) == 1


def _labels(tasks: dict[str, TaskDistribution], key: PRNGKey) -> dict[str, list[tuple[jax.Array, jax.Array]]]:
  """Returns targets and masks `[T, N]` of support and query sets; the program that draws them reads no inputs."""

  def draw(data):
    return {kind: lax.map(functools.partial(labels, each, each.at_step(data[kind], jnp.int32(0))), jnp.arange(_TASKS))
            for kind, each in tasks.items()}

  def labels(each, own, index):
    return [(part.targets, part.mask) for part in listed_task(each, own, key, index)]

  # It runs once, so it is compiled quickly rather than well.
  return jax.jit(draw)({kind: each.data for kind, each in tasks.items()}) if tasks else {}


def _outputs(learner: Learner, episode: Episode) -> Any:
  """Returns the shape of a learner's outputs; None if it cannot be traced, which its training program says better."""
  try:
    params = jax.eval_shape(learner.init, jax.random.key(0), episode.support.inputs)
    return jax.eval_shape(lambda params, episode: outputs_of(learner, params, episode.support, episode.query.inputs),
                          params, episode)
  except Exception:  # of any type
    return None


def _tested(recipe: Recipe, episode: Episode, key: PRNGKey) -> Any:
  params = recipe.test_learner.init(key, episode.support.inputs)
  solved = solve(recipe.test_learner, recipe.loss, recipe.scores, params, episode, key)
  return measured(recipe.measures, solved.outputs, solved.query)
