"""In-context learning's objective: the loss at every place of the prompt, and ConML with the dummy input.

`L = mean over places of l(y_i, f(x_1, y_1, ..., x_i)) + lambda (D_in - D_out)`. Garg et al., 2022; Wu et al., 2025,
Algorithm 5. The prompt is all of the task, support and query; the view is its first half, K = 1. The dummy input reads
the whole prompt in the pass that the loss needs anyway, so only the half prompt is read a second time.
"""

from typing import Callable

import jax
import jax.numpy as jnp

from metajax import contrast, distances
from metajax.examples import check_episodes, masked_mean, union
from metajax.objectives.tasks import TaskMap, at_once, task_keys
from metajax.types import Array, Examples, Objective, Params, PerExample

# (params, inputs [N, d], targets [N, m], mask [N], queries [Q, d]) -> outputs along the prompt [N, m], queries [Q, m]
Read = Callable[[Params, Array, Array, Array, Array], tuple[Array, Array]]


def autoregressive(read: Read, loss: PerExample, *, weight: float = 0.0,
                   distance: distances.Distance = distances.sigmoid_squared,
                   dummy: Callable[..., Array] = jax.random.normal, task_map: TaskMap = at_once,
                   axis_name: str | None = None) -> Objective:
  """Returns the objective; its metrics are those of `conml` with a weight, those of `episodic` without.

  Args:
    read: such as `functools.partial(learners.in_context.read, network)`.
    loss: `(outputs [N, m], targets [N, m]) -> [N]`.
    weight: lambda; the paper takes 0.02.
    distance: phi, on outputs at the dummy input.
    dummy: draws `u` of a given shape, like the inputs.
    task_map: how tasks are mapped.
    axis_name: the mapped axis over which the tasks are spread over devices, if any.
  """

  def objective(params, episodes, key):
    num_tasks = check_episodes(episodes)
    width = episodes.support.inputs.shape[-1]
    dtype = episodes.support.inputs.dtype
    u = dummy(task_keys(key, num_tasks, axis_name).represent, (1, width)).astype(dtype)

    def task(episode):
      whole = union(*episode)
      outputs, full = read(params, whole.inputs, whole.targets, whole.mask, u if weight else u[:0])
      mean = masked_mean(loss(outputs, whole.targets), whole.mask)
      if not weight:
        return mean
      half = _first_half(whole)
      return mean, full[0], read(params, half.inputs, half.targets, half.mask, u)[1]

    if not weight:
      plain = jnp.mean(task_map(task)(episodes))
      return plain, {"loss": plain, "episodic_loss": plain}
    losses, full, views = task_map(task)(episodes)
    d_in = contrast.inner_task_distance(full, views, distance, axis_name)
    d_out = contrast.inter_task_distance(full, distance, axis_name)
    total = jnp.mean(losses) + weight * (d_in - d_out)
    return total, {"loss": total, "episodic_loss": jnp.mean(losses), "contrastive_loss": d_in - d_out, "d_in": d_in,
                   "d_out": d_out}

  return objective


def _first_half(whole: Examples) -> Examples:
  # Of the points in use, which a curriculum makes fewer: they are moved to the front, so that the rest can be cut off.
  front = jax.tree.map(lambda leaf: leaf[jnp.argsort(~whole.mask, stable=True)][:whole.mask.size // 2], whole)
  return front._replace(mask=jnp.arange(whole.mask.size // 2) < jnp.sum(whole.mask) // 2)
