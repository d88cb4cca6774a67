"""The objective of in-context learning: the loss at every index of the prompt, and ConML with the dummy input.

`L = mean over i of l(y_i, f(x_1, y_1, ..., x_i)) + lambda (D_in - D_out)`. Garg et al., 2022; Wu et al., 2025,
Algorithm 5. The prompt is the whole task, support and query; the view is its first half, K = 1. Both representations
come from the forward pass of the loss: two dummy inputs are appended, one attending to the first half of the prompt and
one to all of it. ConML therefore costs only two more tokens.
"""

from typing import Callable, Mapping

import jax
import jax.numpy as jnp

from metajax.contrast import distances
from metajax.examples import check_episodes, union, zero_padding
from metajax.kinds import checked
from metajax.objectives.conml import Contrast, add_contrast, check_contrast
from metajax.objectives.solve import task_keys
from metajax.objectives.task_map import TaskMap, at_once
from metajax.per_example import mean_of
from metajax.types import Array, Objective, Params, PerExample

# (params, inputs [N, d], targets [N, ...], mask [N], queries [Q, d], seen [Q])
#   -> outputs along the prompt [N, m] and for the queries [Q, m], where query q follows the first seen[q] examples
Read = Callable[[Params, Array, Array, Array, Array, Array], tuple[Array, Array]]


@checked
def autoregressive(read: Read, loss: PerExample, scores: Mapping[str, PerExample] | None = None, *,
                   weight: float = 0.0, distance: distances.Distance = distances.sigmoid_squared,
                   align: bool = True, discriminate: bool = True,
                   dummy: Callable[..., Array] = jax.random.normal, task_map: TaskMap = at_once,
                   axis_name: str | None = None) -> Objective:
  """Returns the objective; its metrics are those of `conml` if there is a weight, otherwise those of `episodic`.

  Args:
    read: such as `functools.partial(learners.in_context.read, network)`.
    loss: `(outputs [N, m], targets [N, ...]) -> [N]`.
    scores: further measures of the same form, averaged over the prompt and reported under their names.
    weight: lambda; the paper uses 0.02.
    distance: phi, on outputs at the dummy input.
    align: whether D_in is minimised.
    discriminate: whether D_out is maximised. With a weight, both distances are reported either way.
    dummy: draws the dummy input `u`, given a key and a shape.
    task_map: how tasks are mapped.
    axis_name: the mapped axis over which tasks are sharded over devices, if any.

  Raises:
    ValueError: if there is a weight but neither term is chosen. When called, errors of `read` are passed on, such as
      for a prompt that is too long for the network.
  """
  contrast = Contrast(weight, distance, align, discriminate)
  if weight:  # of 0: the terms are not read
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
      count = jnp.sum(whole.mask)  # points in use; fewer early in a curriculum
      seen = jnp.stack([count, count // 2])[:dummies.shape[0]]
      outputs, read_off = read(params, whole.inputs, whole.targets, whole.mask, dummies, seen)
      mean_loss = mean_of("loss", loss, outputs, whole)
      means = {name: mean_of(f"the score {name!r}", score, outputs, whole) for name, score in scores.items()}
      return mean_loss, means, read_off

    if not weight:
      episodic_loss, mean_scores = task_map.mean(lambda *arguments: task(*arguments)[:2], params, episodes)
      return episodic_loss, {"loss": episodic_loss, "episodic_loss": episodic_loss, **mean_scores}
    losses, all_scores, read_off = task_map.each(task, params, episodes)
    episodic_loss = jnp.mean(losses)
    total, contrasted = add_contrast(contrast, axis_name, episodic_loss, read_off[:, 0], read_off[:, 1:])
    return total, {"episodic_loss": episodic_loss, **jax.tree.map(jnp.mean, all_scores), **contrasted}

  return Objective(objective, axis_name=axis_name)
