"""One task solved, many tasks mapped: what every objective and evaluation is made of."""

from typing import Any, Callable, Mapping, NamedTuple

import jax
from jax import lax
import jax.numpy as jnp

from metajax.examples import masked_mean, union
from metajax.types import Array, Episode, Examples, Learner, Params, PerExample, PRNGKey, PyTree

TaskMap = Callable[[Callable[[Any], Any]], Callable[[Any], Any]]


class Solved(NamedTuple):
  """One task, learned from its support set and scored on its query set."""
  support: Examples  # of features
  query: Examples  # of features
  adapted: PyTree  # the task model
  outputs: Array  # [Q, ...] its predictions for the query
  loss: Array  # scalar, mean over the query
  scores: Mapping[str, Array]  # scalars, means over the query


def solve(learner: Learner, loss: PerExample, scores: Mapping[str, PerExample], params: Params, episode: Episode,
          key: PRNGKey) -> Solved:
  """Returns the task model of one episode's support set and what it makes of the query set (eq. 1).

  Features are computed once, for support and query together; a network that normalises by batch statistics therefore
  sees both, as in ProtoNet's own code.
  """
  both = union(*episode)
  features = both._replace(inputs=learner.embed(params, both.inputs, both.mask))
  num_support = episode.support.mask.shape[0]
  support = jax.tree.map(lambda leaf: leaf[:num_support], features)
  query = jax.tree.map(lambda leaf: leaf[num_support:], features)
  adapted = learner.adapt(params, support, key)
  outputs = learner.predict(params, adapted, query.inputs, query.mask)

  def mean(measure):
    return masked_mean(measure(outputs, query.targets), query.mask)

  return Solved(support, query, adapted, outputs, mean(loss), {name: mean(score) for name, score in scores.items()})


def task_keys(key: PRNGKey, num_tasks: int, axis_name: str | None = None) -> PRNGKey:
  """Returns a key `[T]` for each task, a function of its place in the whole meta-batch and of nothing else."""
  places = jnp.arange(num_tasks)
  if axis_name is not None:
    places = places + lax.axis_index(axis_name) * num_tasks
  return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, places)


def at_once(task: Callable[[Any], Any]) -> Callable[[Any], Any]:
  """Maps a function over all tasks at once."""
  return jax.vmap(task)


def in_chunks(chunk: int) -> TaskMap:
  """Returns a mapping that takes `chunk` tasks at a time and recomputes them for the gradient.

  Memory is that of one chunk. On CPU, where a chunk fits the cache, it is often faster as well.

  Raises:
    ValueError: if the chunk is not positive.
  """
  if chunk < 1:
    raise ValueError(f"tasks are mapped in chunks of 1 or more, but the chunk is {chunk}.")
  return lambda task: lambda tasks: lax.map(jax.checkpoint(task), tasks, batch_size=chunk)
