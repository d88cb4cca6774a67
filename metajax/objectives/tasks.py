"""One task solved, many tasks mapped: what every objective and evaluation is made of."""

import functools
from typing import Any, Callable, Mapping, NamedTuple

import jax
from jax import lax
import jax.numpy as jnp

from metajax.checks import check_integers
from metajax.distances import Distance, Quadratic
from metajax.examples import masked_mean, union, zero_padding
from metajax.types import Array, Episode, Examples, Learner, Params, PerExample, PRNGKey, PyTree, Shifted

Task = Callable[[Params, Any], Any]  # of the parameters and one task


class TaskMap(NamedTuple):
  """How one task becomes many.

  each: (task, params, tasks with leading T) -> what the task returns, with leading T
  mean: (task, params, tasks with leading T) -> for a task that returns a loss and more, the means over the T tasks, of
    which only that of the loss has a gradient
  """
  each: Callable[[Task, Params, PyTree], Any]
  mean: Callable[[Task, Params, PyTree], tuple[Array, Any]]


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


def shifts(learner: Learner, params: Params, distance: Distance, full: PyTree, views: PyTree
           ) -> tuple[PyTree | None, PyTree, PyTree]:
  """Returns an origin `[D]`, and what representations `full [T, D]` and `views [T, K, D]` add to it.

  Where the learner knows of none, or the distance does not measure from one, the origin is None and the
  representations are as they were.
  """
  if not (isinstance(learner.represent, Shifted) and isinstance(distance, Quadratic)):
    return None, full, views
  of_all = jax.vmap(learner.represent.shift, in_axes=(None, 0), out_axes=(None, 0))
  # Along one axis: XLA:CPU subtracts more slowly where a lone view has an axis of its own.
  flat = jax.tree.map(lambda leaf: lax.collapse(leaf, 0, 2), views)
  origin, of_views = of_all(params, flat)
  return (origin, of_all(params, full)[1],
          jax.tree.map(lambda leaf, view: leaf.reshape(view.shape), of_views, views))


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


def _each_at_once(task: Task, params: Params, tasks: PyTree) -> Any:
  return jax.vmap(task, in_axes=(None, 0))(params, tasks)


def _mean_at_once(task: Task, params: Params, tasks: PyTree) -> tuple[Array, Any]:
  return jax.tree.map(lambda leaf: jnp.mean(leaf, axis=0), _each_at_once(task, params, tasks))


# All tasks at once, as accelerators want them.
at_once = TaskMap(_each_at_once, _mean_at_once)


def in_chunks(chunk: int) -> TaskMap:
  """Returns a mapping that takes `chunk` tasks at a time, whose memory is that of one chunk.

  A mean is differentiated chunk by chunk as it is computed, so that nothing is computed twice; it has a gradient with
  respect to the parameters alone, and no forward-mode derivative. What is kept of each task is recomputed for its
  gradient. On CPU, where a chunk fits the cache, this is often faster as well.

  Raises:
    ValueError: if the chunk is not positive; when differentiated, if a mean is with respect to the tasks.
  """
  check_integers(chunk=chunk)
  if chunk < 1:
    raise ValueError(f"tasks are mapped in chunks of 1 or more, but the chunk is {chunk}.")

  def each(task, params, tasks):
    return lax.map(jax.checkpoint(functools.partial(task, params)), tasks, batch_size=chunk)

  return TaskMap(each, functools.partial(_mean_in_chunks, chunk))


def _mean_in_chunks(chunk: int, task: Task, params: Params, tasks: PyTree) -> tuple[Array, Any]:
  num_tasks = jax.tree.leaves(tasks)[0].shape[0]

  def total(params, tasks):
    return jax.tree.map(lambda leaf: jnp.sum(leaf, axis=0), _each_at_once(task, params, tasks))

  def over_chunks(function, params, tasks):
    """Returns the mean over the tasks of a function that returns sums over a chunk."""
    whole = num_tasks - num_tasks % chunk
    add = lambda so_far, part: jax.tree.map(jnp.add, so_far, function(params, part))
    part = jax.tree.map(lambda leaf: leaf[:whole].reshape(-1, chunk, *leaf.shape[1:]), tasks)
    shapes = jax.eval_shape(function, params, jax.tree.map(lambda leaf: leaf[:1], tasks))
    sums = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    sums = lax.scan(lambda so_far, part: (add(so_far, part), None), sums, part)[0]
    if whole < num_tasks:
      sums = add(sums, jax.tree.map(lambda leaf: leaf[whole:], tasks))
    return jax.tree.map(lambda leaf: leaf / num_tasks, sums)

  @jax.custom_vjp
  def mean(params, tasks):
    return over_chunks(total, params, tasks)

  def forward(params, tasks):
    if any(leaf.perturbed for leaf in jax.tree.leaves(tasks)):
      raise ValueError("the mean over tasks in chunks has a gradient with respect to the parameters alone, but that "
                       "with respect to the tasks was asked for; map them at_once.")
    plain = lambda tree: jax.tree.map(lambda leaf: leaf.value, tree)
    value, gradient = over_chunks(jax.value_and_grad(total, has_aux=True), plain(params), plain(tasks))
    return value, gradient

  def backward(gradient, cotangent):
    return jax.tree.map(lambda leaf: cotangent[0].astype(leaf.dtype) * leaf, gradient), None

  mean.defvjp(forward, backward, symbolic_zeros=True)
  return mean(params, tasks)
