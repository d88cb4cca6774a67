"""How one task becomes many: all at once, or a chunk at a time."""

import functools
from typing import Any, Callable, NamedTuple

import jax
from jax import lax
import jax.numpy as jnp

from metajax.checks import check_integers
from metajax.types import Array, Params, PyTree

Task = Callable[[Params, Any], Any]  # of the parameters and one task


class TaskMap(NamedTuple):
  """How one task becomes many.

  each: (task, params, tasks with leading T) -> what the task returns, with leading T
  mean: (task, params, tasks with leading T) -> for a task that returns a loss and more, the means over the T tasks, of
    which only that of the loss has a gradient
  """
  each: Callable[[Task, Params, PyTree], Any]
  mean: Callable[[Task, Params, PyTree], tuple[Array, Any]]


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
