"""One task solved: what every objective and evaluation is made of."""

from typing import Mapping, NamedTuple

import jax
from jax import lax
import jax.numpy as jnp

from metajax.examples import masked_mean, union, zero_padding
from metajax.types import Array, Episode, Examples, Learner, Params, PerExample, PRNGKey, PyTree


class Solved(NamedTuple):
  """One task, learned from its support set and scored on its query set."""
  support: Examples  # of features
  query: Examples  # of features
  adapted: PyTree  # the task model
  outputs: Array  # [Q, ...] its predictions for the query
  loss: Array  # scalar, mean over the query
  scores: Mapping[str, Array]  # scalars, means over the query
  whole: PyTree  # the model of support and query together, if it was asked for


def solve(learner: Learner, loss: PerExample, scores: Mapping[str, PerExample], params: Params, episode: Episode,
          key: PRNGKey, *, whole: bool = False) -> Solved:
  """Returns the task model of one episode's support set and what it makes of the query set (eq. 1).

  Features are computed once, for support and query together; a network that normalises by batch statistics therefore
  sees both, as in ProtoNet's own code. With `whole`, the model of support and query together is learned as well.
  Padding is zero from here on, whatever the episode has there.
  """
  both = zero_padding(union(*episode))
  features = both._replace(inputs=learner.embed(params, both.inputs, both.mask))
  num_support = episode.support.mask.shape[0]
  support = jax.tree.map(lambda leaf: leaf[:num_support], features)
  query = jax.tree.map(lambda leaf: leaf[num_support:], features)
  model_of_all = None
  if whole and learner.adapt_both is not None:
    adapted, model_of_all = learner.adapt_both(params, support, query, key)
  else:
    adapted = learner.adapt(params, support, key)
    if whole:
      model_of_all = learner.adapt(params, features, key)
  outputs = learner.predict(params, adapted, query.inputs, query.mask)

  def mean(measure):
    return masked_mean(measure(outputs, query.targets), query.mask)

  return Solved(support, query, adapted, outputs, mean(loss), {name: mean(score) for name, score in scores.items()},
                model_of_all)


class TaskKeys(NamedTuple):
  """The keys of a meta-batch, each spent by one owner; the same for every objective, so that objectives compare."""
  adapt: PRNGKey  # [T] for `adapt`, whatever set of the task it learns from
  views: PRNGKey  # [T] for drawing the subsets of a task
  represent: PRNGKey  # one for all: what `represent` draws is the same for all tasks


def task_keys(key: PRNGKey, num_tasks: int, axis_name: str | None = None) -> TaskKeys:
  """Returns the keys of a meta-batch; a task's are a function of its place in the whole, over all devices."""
  places = jnp.arange(num_tasks, dtype=jnp.int32)
  if axis_name is not None:
    places = places + lax.axis_index(axis_name) * num_tasks
  key_adapt, key_views, key_represent = jax.random.split(key, 3)
  of_tasks = jax.vmap(jax.random.fold_in, in_axes=(None, 0))
  return TaskKeys(of_tasks(key_adapt, places), of_tasks(key_views, places), key_represent)
