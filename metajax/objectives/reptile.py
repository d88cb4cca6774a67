"""Reptile, as an objective: its gradient is the mean displacement from the adapted weights back to the shared ones.

The inner product of theta with the stopped difference `theta - adapted` has Reptile's update as its gradient, so that
any outer optimizer serves: gradient descent of rate 1 is the printed algorithm. Nichol et al., On First-Order
Meta-Learning Algorithms, 2018, https://arxiv.org/abs/1803.02999; with ConML, Wu et al., 2025, Algorithm 7.
"""

from typing import Mapping

import jax
from jax import lax
import jax.numpy as jnp
import optax

from metajax.contrast import distances
from metajax.examples import check_episodes
from metajax.objectives.conml import Contrast, add_contrast
from metajax.objectives.solve import solve, task_keys
from metajax.objectives.task_map import TaskMap, at_once
from metajax.types import Learner, Objective, PerExample


def reptile(learner: Learner, loss: PerExample, scores: Mapping[str, PerExample] | None = None, *,
            weight: float = 0.0, distance: distances.Distance = distances.cosine, task_map: TaskMap = at_once,
            axis_name: str | None = None) -> Objective:
  """Returns Reptile's objective and, with a `weight`, ConML-Reptile's, as printed.

  The weights are adapted on the union of support and query, for Reptile itself has no query set. The views of ConML
  are the support sets, K = 1.

  Args:
    learner: one that adapts weights of the parameters' own structure, such as `maml`. Reptile does not differentiate
      through its inner loop; the contrast does, unless the learner is first-order.
    loss: `(outputs [Q, ...], targets [Q, ...]) -> [Q]`, reported, not trained on.
    scores: further measures of the same form.
    weight: lambda.
    distance: phi.
    task_map: how tasks are mapped.
    axis_name: the mapped axis over which the tasks are spread over devices, if any.

  Returns:
    An objective. Its gradient is Reptile's; its value is half the squared norm of the mean displacement, plus lambda
    times the contrast.

  Raises:
    ValueError: when called with a learner whose adapted state is not of the parameters' structure.
  """
  scores = dict(scores or {})

  def objective(params, episodes, key, axis_name):
    num_tasks = check_episodes(episodes)
    keys = task_keys(key, num_tasks, axis_name)

    def task(params, episode_and_key):
      episode, key_adapt = episode_and_key
      solved = solve(learner, loss, scores, params, episode, key_adapt, whole=True)
      ours, theirs = str(jax.tree.structure(params)), str(jax.tree.structure(solved.whole))
      if ours != theirs:
        raise ValueError("Reptile moves the parameters towards the adapted weights, so the two must have one "
                         f"structure, but the parameters are {ours} and the learner adapts {theirs}.")
      return solved.loss, solved.scores, solved.whole, solved.adapted

    losses, all_scores, adapted, from_support = task_map.each(task, params, (episodes, keys.adapt))
    centre = jax.tree.map(lambda leaf: jnp.mean(leaf, axis=0), adapted)
    if axis_name is not None:  # a norm is not linear: the mean is taken over all tasks first
      centre = lax.pmean(centre, axis_name)
    displacement = lax.stop_gradient(jax.tree.map(jnp.subtract, params, centre))
    # The gradient is the displacement; the value is half its squared norm, which training makes small.
    product = optax.tree.vdot(params, displacement)
    move = (lax.stop_gradient(optax.tree.norm(displacement, squared=True) / 2)
            + product - lax.stop_gradient(product))
    metrics = {"episodic_loss": jnp.mean(losses), **jax.tree.map(jnp.mean, all_scores)}
    if not weight:
      return move, {"loss": move, **metrics}

    def psi(models):
      return jax.vmap(lambda model: learner.represent(params, model, keys.represent))(models)

    views = jax.tree.map(lambda leaf: leaf[:, None], psi(from_support))
    total, contrasted = add_contrast(Contrast(weight, distance), axis_name, move, psi(adapted), views)
    return total, {**metrics, **contrasted}

  return Objective(objective, learner.init, axis_name)
