"""ConML: the episodic objective plus a contrast between the models that a learner learns.

A model learned from part of a task should be like the one learned from all of it (alignment, D_in), and unlike those
of other tasks (discrimination, D_out): `L = L_episodic + lambda (D_in - D_out)`.
Wu et al., Learning to Learn with Contrastive Meta-Objective, 2025, eq. 4 and Algorithm 4,
https://arxiv.org/abs/2410.05975.
"""

from typing import Callable, Mapping

import jax
from jax import lax
import jax.numpy as jnp

from metajax import contrast
from metajax.contrast import distances
from metajax.examples import check_episodes
from metajax.kernels.storing import gradient_stored
from metajax.objectives.episodic import episodic
from metajax.objectives.solve import shifts, solve, task_keys
from metajax.objectives.task_map import TaskMap, at_once
from metajax.objectives.views import Views
from metajax.types import Array, Learner, Objective, PerExample, PyTree

# (full [T, D], views [T, K, D], distance, axis_name) -> scalar
Contrastive = Callable[[PyTree, PyTree, distances.Distance, str | None], Array]


def conml(learner: Learner, loss: PerExample, scores: Mapping[str, PerExample] | None = None, *, weight: float = 0.1,
          views: Views | None = None, distance: distances.Distance = distances.cosine, align: bool = True,
          discriminate: bool = True, contrastive: Contrastive | None = None, stop_full_gradient: bool = False,
          task_map: TaskMap = at_once, axis_name: str | None = None) -> Objective:
  """Returns the ConML objective of any learner.

  Args:
    learner: any learner; its `represent` is psi.
    loss: `(outputs [Q, ...], targets [Q, ...]) -> [Q]`.
    scores: further measures of the same form, averaged and reported under their names.
    weight: lambda. The paper: 0.1 for images, 0.02 in context. With 0 the distances are only measured.
    views: how subsets are drawn from the union of support and query (`objectives.views`). None takes the support set
      itself, K = 1: the paper's default, whose model the episodic loss needs anyway.
    distance: phi, on two representations.
    align: whether D_in is minimised.
    discriminate: whether D_out is maximised; needs at least two tasks in the meta-batch.
    contrastive: another contrastive loss of the same arguments as `contrast.contrastive_loss`, such as
      `contrast.info_nce`, in the place of D_in - D_out.
    stop_full_gradient: take e*, the representation of the whole task, as a constant (the paper does not).
    task_map: how tasks are mapped: `at_once` or `in_chunks(n)`.
    axis_name: the mapped axis over which the tasks are spread over devices, if any; the contrast is over all.

  Returns:
    An objective whose metrics are `loss`, `episodic_loss`, `contrastive_loss`, `d_in`, `d_out` and the scores. Both
    distances are reported whether or not they are part of the loss, but `d_out` not for a single task: it has none.

  Raises:
    ValueError: if neither term is chosen; and, when called, for malformed episodes or a single task to discriminate.

  >>> import jax, optax
  >>> from metajax import learners, losses, networks, objectives
  >>> from metajax.tasks.sinusoids import sinusoids
  >>> learner = learners.maml(networks.mlp((8,), 1), losses.squared_error, optimizer=optax.sgd(0.01))
  >>> objective = objectives.conml(learner, losses.squared_error, weight=0.1)
  >>> tasks = sinusoids(shots=5, queries=5)
  >>> episodes = jax.vmap(lambda key: tasks.sample(tasks.data, key))(jax.random.split(jax.random.key(0), 4))
  >>> params = learner.init(jax.random.key(1), episodes.support.inputs[0])
  >>> loss, metrics = jax.jit(objective)(params, episodes, jax.random.key(2))
  >>> sorted(metrics)
  ['contrastive_loss', 'd_in', 'd_out', 'episodic_loss', 'loss']
  """
  if not (align or discriminate):
    raise ValueError("ConML needs at least one of its two terms, but align and discriminate are both False; "
                     "use objectives.episodic for the plain objective.")
  scores = dict(scores or {})
  plain = episodic(learner, loss, scores, task_map=task_map, axis_name=axis_name)

  def objective(params, episodes, key):
    num_tasks = check_episodes(episodes)
    keys = task_keys(key, num_tasks, axis_name)

    def task(params, episode_and_keys):
      episode, key_adapt, key_views = episode_and_keys
      solved = solve(learner, loss, scores, params, episode, key_adapt, whole=True)

      def psi(adapted):
        return learner.represent(params, adapted, keys.represent)

      if views is None:
        parts = jax.tree.map(lambda leaf: leaf[None], psi(solved.adapted))
      else:
        subsets = views(key_views, solved.support, solved.query)
        parts = jax.vmap(lambda subset: psi(learner.adapt(params, subset, key_adapt)))(subsets)
      return solved.loss, solved.scores, psi(solved.whole), parts

    theta = params
    if weight == 0:
      # Without a weight the distances are measured, not trained. Neither their gradient nor the compiler's fusions may
      # then touch the rest: the loss and its gradient are those of the plain objective, to the last bit.
      theta = lax.stop_gradient(lax.optimization_barrier(params))
    losses, all_scores, full, parts = task_map.each(task, theta, (episodes, keys.adapt, keys.views))
    origin = None
    if stop_full_gradient:
      full = lax.stop_gradient(full)
    elif contrastive is None:
      origin, full, parts = shifts(learner, theta, distance, full, parts)
    full, parts = gradient_stored((full, parts))
    d_in = contrast.inner_task_distance(full, parts, distance, axis_name, origin)
    measured = {"d_in": d_in}
    if discriminate or num_tasks * (1 if axis_name is None else lax.axis_size(axis_name)) > 1:
      measured["d_out"] = contrast.inter_task_distance(full, distance, axis_name, origin)
    contrast_loss = (d_in if align else 0.0) - (measured["d_out"] if discriminate else 0.0)
    if contrastive is not None:
      contrast_loss = contrastive(full, parts, distance, axis_name)
    contrasted = {"contrastive_loss": contrast_loss, **measured}
    if weight == 0:
      total, metrics = plain(params, episodes, key)
      return total, {**metrics, **contrasted}
    episodic_loss = jnp.mean(losses)
    total = episodic_loss + weight * contrast_loss
    return total, {"loss": total, "episodic_loss": episodic_loss, **contrasted,
                   **jax.tree.map(jnp.mean, all_scores)}

  return objective
