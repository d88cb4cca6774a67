"""In-context learning's objective: the loss at every place of the prompt, and ConML with the dummy input.

`L = mean over places of l(y_i, f(x_1, y_1, ..., x_i)) + lambda (D_in - D_out)`. Garg et al., 2022; Wu et al., 2025,
Algorithm 5. The prompt is all of the task, support and query; the view is its first half, K = 1. Dummy inputs after the
half and after the whole ride along in the pass that the loss needs anyway: causal attention has read the half prompt
on its way, so that ConML costs two tokens.
"""

from typing import Callable, Mapping

import jax
import jax.numpy as jnp

from metajax.contrast import distances
from metajax.examples import check_episodes, masked_mean, union, zero_padding
from metajax.objectives.conml import Contrast, add_contrast, check_contrast
from metajax.objectives.solve import task_keys
from metajax.objectives.task_map import TaskMap, at_once
from metajax.types import Array, Objective, Params, PerExample

# (params, inputs [N, d], targets [N, ...], mask [N], queries [Q, d], seen [Q])
#   -> outputs along the prompt [N, m] and for the queries [Q, m], each of which has seen so many examples
Read = Callable[[Params, Array, Array, Array, Array, Array], tuple[Array, Array]]


def autoregressive(read: Read, loss: PerExample, scores: Mapping[str, PerExample] | None = None, *,
                   weight: float = 0.0, distance: distances.Distance = distances.sigmoid_squared,
                   align: bool = True, discriminate: bool = True,
                   dummy: Callable[..., Array] = jax.random.normal, task_map: TaskMap = at_once,
                   axis_name: str | None = None) -> Objective:
  """Returns the objective; its metrics are those of `conml` with a weight, those of `episodic` without.

  Args:
    read: such as `functools.partial(learners.in_context.read, network)`.
    loss: `(outputs [N, m], targets [N, ...]) -> [N]`.
    scores: further measures of the same form, averaged over the places and reported under their names.
    weight: lambda; the paper takes 0.02.
    distance: phi, on outputs at the dummy input.
    align: whether D_in is minimised.
    discriminate: whether D_out is maximised. Both distances are measured either way, where there is a weight.
    dummy: draws `u` of a given shape, like the inputs.
    task_map: how tasks are mapped.
    axis_name: the mapped axis over which the tasks are spread over devices, if any.

  Raises:
    ValueError: if there is a weight but neither term is chosen; and, when called, what `read` raises, such as for a
      prompt that is too long for the network.
  """
  contrast = Contrast(weight, distance, align, discriminate)
  if weight:
    check_contrast(contrast)
  scores = dict(scores or {})

  def objective(params, episodes, key, axis_name):
    num_tasks = check_episodes(episodes)
    width = episodes.support.inputs.shape[-1]
    dtype = episodes.support.inputs.dtype
    u = dummy(task_keys(key, num_tasks, axis_name).represent, (1, width)).astype(dtype)
    dummies = jnp.repeat(u, 2 if weight else 0, axis=0)

    def task(params, episode):
      whole = zero_padding(union(*episode))
      count = jnp.sum(whole.mask)  # of the points in use, which a curriculum makes fewer
      seen = jnp.stack([count, count // 2])[:dummies.shape[0]]
      outputs, read_off = read(params, whole.inputs, whole.targets, whole.mask, dummies, seen)
      mean = lambda measure: masked_mean(measure(outputs, whole.targets), whole.mask)
      return mean(loss), {name: mean(score) for name, score in scores.items()}, read_off

    if not weight:
      episodic_loss, mean_scores = task_map.mean(lambda *task_of: task(*task_of)[:2], params, episodes)
      return episodic_loss, {"loss": episodic_loss, "episodic_loss": episodic_loss, **mean_scores}
    losses, all_scores, read_off = task_map.each(task, params, episodes)
    episodic_loss = jnp.mean(losses)
    total, contrasted = add_contrast(contrast, axis_name, episodic_loss, read_off[:, 0], read_off[:, 1:])
    return total, {"episodic_loss": episodic_loss, **jax.tree.map(jnp.mean, all_scores), **contrasted}

  return Objective(objective, axis_name=axis_name)
