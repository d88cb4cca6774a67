"""Solving one task: the building block of objectives and evaluation."""

from typing import Mapping, NamedTuple

import jax
from jax import lax
import jax.numpy as jnp

from metajax.examples import union, zero_padding
from metajax.kernels.one_after_another import one_after_another
from metajax.per_example import mean_of
from metajax.types import Array, Episode, Examples, Learner, Params, PerExample, PRNGKey, PyTree

_IN_TRAINING = 0  # folded into the key of a task's `adapt`


class Solved(NamedTuple):
  """One task, learned from its support set and scored on its query set."""
  support: Examples  # of features
  query: Examples  # of features
  adapted: PyTree  # the task model
  outputs: Array  # [Q, ...] its predictions for the query set
  loss: Array  # scalar, mean over the query set
  scores: Mapping[str, Array]  # scalars, means over the query set
  whole: PyTree  # the model learned from support and query together, or None


def solve(learner: Learner, loss: PerExample, scores: Mapping[str, PerExample], params: Params, episode: Episode,
          key: PRNGKey, *, whole: bool = False) -> Solved:
  """Learns a model from one episode's support set and evaluates it on the query set (eq. 1).

  Features are computed once, for support and query together; batch statistics therefore cover both, as in ProtoNet's
  published code. With `whole`, a model is also learned from support and query together. Padding is set to zero first.
  """
  both = zero_padding(union(*episode))
  features = both._replace(inputs=_rows(learner.embed(params, both.inputs, both.mask), both.mask.shape[0]))
  num_support = episode.support.mask.shape[0]
  support = jax.tree.map(lambda leaf: leaf[:num_support], features)
  query = jax.tree.map(lambda leaf: leaf[num_support:], features)
  model_of_all = None
  if whole and learner.adapt_both is not None:
    adapted, model_of_all = learner.adapt_both(params, support, query, key)
    outputs = learner.predict(params, adapted, query.inputs, query.mask)
  else:
    adapted = learner.adapt(params, support, key)
    outputs = learner.predict(params, adapted, query.inputs, query.mask)
    if whole:
      model_of_all = learner.adapt(params, one_after_another((adapted, outputs), features), key)

  mean_loss = mean_of("loss", loss, outputs, query)
  means = {name: mean_of(f"the score {name!r}", score, outputs, query) for name, score in scores.items()}
  return Solved(support, query, adapted, outputs, mean_loss, means, model_of_all)


def _rows(features: PyTree, count: int) -> PyTree:
  """Returns what a learner embedded; raises ValueError unless every array has a row per example."""
  shapes = [list(jnp.shape(leaf)) for leaf in jax.tree.leaves(features)]
  if not shapes or any(shape[:1] != [count] for shape in shapes):
    raise ValueError(f"embed must return arrays with one row per example, [N, ...] with N={count}, but it returned "
                     f"{' and '.join(map(str, shapes)) or 'no array'}; return the inputs if nothing is embedded.")
  return features


def predict_alone(learner: Learner, params: Params, episode: Episode, key: PRNGKey) -> Array:
  """Returns predictions `[Q, ...]` of a model that sees the support set first, and then each query by itself."""
  support, query = map(zero_padding, episode)
  features = support._replace(inputs=learner.embed(params, support.inputs, support.mask))
  adapted = learner.adapt(params, features, key)

  def predict(one, kept):
    queries, mask = jax.tree.map(lambda leaf: leaf[None], one), kept[None]
    return learner.predict(params, adapted, learner.embed(params, queries, mask), mask)[0]

  return jax.vmap(predict)(query.inputs, query.mask)


def in_training(learner: Learner, key: PRNGKey) -> Learner:
  """Returns the learner as a training step uses it for one task: with dropout, for instance (`Learner.in_training`)."""
  return learner if learner.in_training is None else learner.in_training(jax.random.fold_in(key, _IN_TRAINING))


class TaskKeys(NamedTuple):
  """The keys of a meta-batch, one per use; the same for every objective, so that objectives can be compared."""
  adapt: PRNGKey  # [T] for every `adapt` of a task, whichever examples it learns from
  views: PRNGKey  # [T] for drawing the subsets of a task
  represent: PRNGKey  # a single key: `represent` draws the same for all tasks


def task_keys(key: PRNGKey, num_tasks: int, axis_name: str | None = None) -> TaskKeys:
  """Returns the keys of a meta-batch; a task's keys depend on its index in the meta-batch of all devices."""
  indices = jnp.arange(num_tasks, dtype=jnp.int32)
  if axis_name is not None:
    indices = indices + lax.axis_index(axis_name) * num_tasks
  key_adapt, key_views, key_represent = jax.random.split(key, 3)
  per_task = jax.vmap(jax.random.fold_in, in_axes=(None, 0))
  return TaskKeys(per_task(key_adapt, indices), per_task(key_views, indices), key_represent)
