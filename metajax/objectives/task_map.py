"""How a function of one task is mapped over a meta-batch: all at once, or in chunks."""

import functools
from typing import Any, Callable, NamedTuple

import jax
from jax import lax
import jax.numpy as jnp

from metajax.checks import check_integers
from metajax.types import Array, Params, PyTree

Task = Callable[[Params, Any], Any]  # (params, one task) -> result


class TaskMap(NamedTuple):
  """How a function of one task is mapped over a meta-batch.

  each: (task, params, tasks with leading T) -> the results of `task`, with leading T
  mean: (task, params, tasks with leading T) -> the means over the T tasks of a loss and further results; only the mean
    loss has a gradient
  """
  each: Callable[[Task, Params, PyTree], Any]
  mean: Callable[[Task, Params, PyTree], tuple[Array, Any]]


def _each_at_once(task: Task, params: Params, tasks: PyTree) -> Any:
  return jax.vmap(task, in_axes=(None, 0))(params, tasks)


def _mean_at_once(task: Task, params: Params, tasks: PyTree) -> tuple[Array, Any]:
  return jax.tree.map(lambda leaf: jnp.mean(leaf, axis=0), _each_at_once(task, params, tasks))


# All tasks at once: best on accelerators.
at_once = TaskMap(_each_at_once, _mean_at_once)


def in_chunks(chunk: int) -> TaskMap:
  """Returns a mapping over `chunk` tasks at a time, which needs the memory of one chunk only.

  `mean` computes the gradient of each chunk together with its value, so that nothing is computed twice. It can be
  differentiated only with respect to the parameters, and only in reverse mode. `each` recomputes a task in the backward
  pass. On CPU, chunks that fit the cache are often faster as well.

  Raises:
    ValueError: if the chunk is not positive; when a mean is differentiated with respect to the tasks.
  """
  check_integers(chunk=chunk)
  if chunk < 1:
    raise ValueError(f"a chunk must hold at least 1 task, but the chunk is {chunk}.")

  def each(task, params, tasks):
    return lax.map(jax.checkpoint(functools.partial(task, params)), tasks, batch_size=chunk)

  return TaskMap(each, functools.partial(_mean_in_chunks, chunk))


def _mean_in_chunks(chunk: int, task: Task, params: Params, tasks: PyTree) -> tuple[Array, Any]:
  num_tasks = jax.tree.leaves(tasks)[0].shape[0]

  def total(params, tasks):
    return jax.tree.map(lambda leaf: jnp.sum(leaf, axis=0), _each_at_once(task, params, tasks))

  def over_chunks(function, params, tasks):
    """Returns the mean over the tasks, given a function that returns the sum over a chunk."""
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
      raise ValueError("a mean over chunks of tasks can be differentiated with respect to the parameters alone, but "
                       "the tasks are differentiated too; map them at_once.")
    plain = lambda tree: jax.tree.map(lambda leaf: leaf.value, tree)
    value, gradient = over_chunks(jax.value_and_grad(total, has_aux=True), plain(params), plain(tasks))
    return value, gradient

  def backward(gradient, cotangent):
    return jax.tree.map(lambda leaf: cotangent[0].astype(leaf.dtype) * leaf, gradient), None

  mean.defvjp(forward, backward, symbolic_zeros=True)
  return mean(params, tasks)
