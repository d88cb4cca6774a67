"""Reptile as an objective: its gradient is the mean displacement from the adapted weights back to the shared weights.

The objective is the inner product of theta with `stop_gradient(theta - adapted)`, whose gradient is Reptile's update.
Any outer optimizer can be used; gradient descent of rate 1 is the published algorithm. Nichol et al., On First-Order
Meta-Learning Algorithms, 2018, https://arxiv.org/abs/1803.02999; with ConML, Wu et al., 2025, Algorithm 7.
"""

from typing import Mapping

import jax
from jax import lax
import jax.numpy as jnp
import optax

from metajax.contrast import distances
from metajax.examples import check_episodes
from metajax.kinds import checked
from metajax.objectives.conml import Contrast, add_contrast, check_contrast, checked_psi
from metajax.objectives.solve import in_training, solve, task_keys
from metajax.objectives.task_map import TaskMap, at_once
from metajax.types import Learner, Objective, PerExample


@checked
def reptile(learner: Learner, loss: PerExample, scores: Mapping[str, PerExample] | None = None, *,
            weight: float = 0.0, distance: distances.Distance = distances.cosine, task_map: TaskMap = at_once,
            axis_name: str | None = None) -> Objective:
  """Returns the objective of Reptile or, with a `weight`, of ConML-Reptile, as published.

  The weights are adapted on the union of support and query, because Reptile has no query set. The views of ConML are
  the support sets, K = 1.

  Args:
    learner: a learner whose adapted weights have the structure of the parameters, such as `maml`. Reptile does not
      differentiate through the inner loop; the contrast does, unless the learner is first-order.
    loss: `(outputs [Q, ...], targets [Q, ...]) -> [Q]`; only reported.
    scores: further measures of the same form.
    weight: lambda.
    distance: phi.
    task_map: how tasks are mapped.
    axis_name: the mapped axis over which tasks are sharded over devices, if any.

  Returns:
    An objective. Its value is half the squared norm of the mean displacement, plus lambda times the contrast; its
    gradient is Reptile's update, plus that of the contrast.

  Raises:
    ValueError: if the weight is negative. When called, if the learner's adapted state does not have the structure of
      the parameters.
  """
  contrast = Contrast(weight, distance)
  check_contrast(contrast)
  scores = dict(scores or {})

  def objective(params, episodes, key, axis_name):
    num_tasks = check_episodes(episodes)
    keys = task_keys(key, num_tasks, axis_name)

    def task(params, episode_and_key):
      episode, key_adapt = episode_and_key
      solved = solve(in_training(learner, key_adapt), loss, scores, params, episode, key_adapt, whole=True)
      ours, theirs = str(jax.tree.structure(params)), str(jax.tree.structure(solved.whole))
      if ours != theirs:
        raise ValueError("Reptile moves the parameters towards the adapted weights, so the two must have one "
                         f"structure, but the parameters are {ours} and the learner adapts {theirs}; use a learner "
                         "such as maml.")
      return solved.loss, solved.scores, solved.whole, solved.adapted

    losses, all_scores, adapted, from_support = task_map.each(task, params, (episodes, keys.adapt))
    centre = jax.tree.map(lambda leaf: jnp.mean(leaf, axis=0), adapted)
    if axis_name is not None:  # a norm is not linear: the mean is taken over all tasks first
      centre = lax.pmean(centre, axis_name)
    displacement = lax.stop_gradient(jax.tree.map(jnp.subtract, params, centre))
    # The gradient is the displacement; the value is half its squared norm.
    product = optax.tree.vdot(params, displacement)
    reptile_loss = (lax.stop_gradient(optax.tree.norm(displacement, squared=True) / 2)
                    + product - lax.stop_gradient(product))
    metrics = {"episodic_loss": jnp.mean(losses), **jax.tree.map(jnp.mean, all_scores)}
    if not weight:
      return reptile_loss, {"loss": reptile_loss, **metrics}

    def psi(models):
      return jax.vmap(lambda model: checked_psi(learner.represent(params, model, keys.represent)))(models)

    views = jax.tree.map(lambda leaf: leaf[:, None], psi(from_support))
    total, contrasted = add_contrast(contrast, axis_name, reptile_loss, psi(adapted), views)
    return total, {**metrics, **contrasted}

  return Objective(objective, learner.init, axis_name, learner)
