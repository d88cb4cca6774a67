"""ConML: the episodic objective plus a contrast between the learned task models.

A model learned from part of a task should be close to the model learned from all of it (alignment, D_in), and far from
the models of other tasks (discrimination, D_out): `L = L_episodic + lambda (D_in - D_out)`.
Wu et al., Learning to Learn with Contrastive Meta-Objective, 2025, eq. 4 and Algorithm 4,
https://arxiv.org/abs/2410.05975.
"""

from typing import Callable, Mapping, NamedTuple

import jax
from jax import lax
import jax.numpy as jnp

from metajax import contrast as equations
from metajax.contrast import distances
from metajax.examples import check_episodes
from metajax.kernels.apart import apart
from metajax.kinds import checked
from metajax.objectives.episodic import episodic, solved_loss
from metajax.objectives.solve import in_training, solve, task_keys
from metajax.objectives.task_map import TaskMap, at_once
from metajax.objectives.terms import Terms, check_terms
from metajax.objectives.views import Views
from metajax.types import Array, Learner, Metrics, Objective, PerExample, PyTree

# (full [T, D], views [T, K, D], distance, axis_name) -> scalar
Contrastive = Callable[[PyTree, PyTree, distances.Distance, str | None], Array]


class Contrast(NamedTuple):
  """The contrastive part of an objective, `lambda (D_in - D_out)`; either term can be switched off."""
  weight: float  # lambda
  distance: distances.Distance  # phi
  align: bool = True  # whether D_in is minimised
  discriminate: bool = True  # whether D_out is maximised; needs at least two tasks in the meta-batch
  loss: Contrastive | None = None  # a contrastive loss instead of D_in - D_out, such as `contrast.info_nce`


def check_contrast(contrast: Contrast) -> None:
  """Raises ValueError if neither term is chosen, or the weight is negative."""
  if contrast.weight < 0:
    raise ValueError(f"the weight of the contrast must be 0 or more, but it is {contrast.weight}; a negative one would "
                     "part the models of one task.")
  if not (contrast.align or contrast.discriminate):
    raise ValueError("ConML needs at least one of its two terms, but align and discriminate are both False; "
                     "use objectives.episodic, or weight=0, for the plain objective.")


def checked_psi(representation: PyTree) -> PyTree:
  """Returns a representation of one task model; raises ValueError unless it is a pytree of arrays of reals."""
  leaves = jax.tree.leaves(representation)
  types = [str(leaf.dtype) if hasattr(leaf, "dtype") else type(leaf).__name__ for leaf in leaves]
  if not leaves or not all(jnp.issubdtype(jnp.result_type(leaf), jnp.floating) for leaf in leaves):
    raise ValueError("represent must return a pytree of arrays of reals, which ConML compares, but it returned "
                     f"{' and '.join(sorted(set(types))) or 'no array'}; return the part of the task model that has a "
                     "gradient.")
  return representation


def add_contrast(contrast: Contrast, axis_name: str | None, plain: Array, full: PyTree, views: PyTree
                 ) -> tuple[Array, Metrics]:
  """Returns `plain + lambda (D_in - D_out)` and its metrics; every ConML objective is assembled here.

  Both distances are reported whether or not they are part of the loss. A single task has no `d_out`.

  Args:
    contrast: the contrastive part.
    axis_name: the mapped axis over which tasks are sharded, if any; the contrast is over the tasks of all devices.
    plain: the loss without the contrast, a scalar.
    full: `e* [T, D]`, the representations of the whole tasks.
    views: `e [T, K, D]`, the representations of their views.
  """
  d_in = equations.inner_task_distance(full, views, contrast.distance, axis_name)
  measured = {"d_in": d_in}
  num_tasks = len(jax.tree.leaves(full)[0]) * (1 if axis_name is None else lax.axis_size(axis_name))
  if contrast.discriminate or num_tasks > 1:
    measured["d_out"] = equations.inter_task_distance(full, contrast.distance, axis_name)
  if contrast.loss is not None:
    loss = contrast.loss(full, views, contrast.distance, axis_name)
  elif not contrast.discriminate:
    loss = d_in
  else:
    loss = d_in - measured["d_out"] if contrast.align else -measured["d_out"]
  total = plain + contrast.weight * loss
  return total, {"loss": total, "contrastive_loss": loss, **measured}


@checked
def conml(learner: Learner, loss: PerExample, scores: Mapping[str, PerExample] | None = None, *, weight: float = 0.1,
          views: Views | None = None, distance: distances.Distance = distances.cosine, align: bool = True,
          discriminate: bool = True, contrastive: Contrastive | None = None, stop_full_gradient: bool = False,
          terms: Terms | None = None, task_map: TaskMap = at_once, axis_name: str | None = None) -> Objective:
  """Returns the ConML objective of any learner.

  Args:
    learner: any learner; its `represent` is psi.
    loss: `(outputs [Q, ...], targets [Q, ...]) -> [Q]`.
    scores: further measures of the same form, averaged and reported under their names.
    weight: lambda. The paper uses 0.1 for images and 0.02 in context. With 0, the distances are only measured.
    views: how subsets are drawn from the union of support and query (`objectives.views`). None uses the support set,
      K = 1: the paper's default, which costs no extra adaptation, because the episodic loss adapts to it anyway.
    distance: phi, between two representations.
    align, discriminate: whether D_in is minimised and whether D_out is maximised.
    contrastive: a contrastive loss instead of D_in - D_out, such as `contrast.info_nce`; its arguments are those of
      `contrast.contrastive_loss`.
    stop_full_gradient: stop the gradient at e*, the representation of the whole task (the paper does not).
    terms: further terms of the loss of one task, as in `episodic`.
    task_map: how tasks are mapped: `at_once` or `in_chunks(n)`.
    axis_name: the mapped axis over which tasks are sharded over devices, if any; the contrast is over the tasks of all
      devices.

  Returns:
    An objective whose metrics are `loss`, `episodic_loss`, `contrastive_loss`, `d_in`, `d_out`, the scores and terms.

  Raises:
    ValueError: if neither term is chosen, or the weight is negative. When called, for malformed episodes, or for D_out
      of a single task.

  >>> import jax, optax
  >>> from metajax import learners, losses, networks, objectives, tasks
  >>> learner = learners.maml(networks.mlp((8,), 1), losses.squared_error, optimizer=optax.sgd(0.01))
  >>> objective = objectives.conml(learner, losses.squared_error, weight=0.1)
  >>> episodes = tasks.sample_batch(tasks.sinusoids(shots=5, queries=5), jax.random.key(0), 4)
  >>> params = learner.init(jax.random.key(1), episodes.support.inputs[0])
  >>> loss, metrics = jax.jit(objective)(params, episodes, jax.random.key(2))
  >>> sorted(metrics)
  ['contrastive_loss', 'd_in', 'd_out', 'episodic_loss', 'loss']
  """
  contrast = Contrast(weight, distance, align, discriminate, contrastive)
  check_contrast(contrast)
  scores, terms = dict(scores or {}), dict(terms or {})
  check_terms(terms, ("contrastive_loss", "d_in", "d_out"))
  plain = episodic(learner, loss, scores, terms=terms, task_map=task_map)

  def objective(params, episodes, key, axis_name):
    keys = task_keys(key, check_episodes(episodes), axis_name)

    def task(params, episode_and_keys):
      episode, key_adapt, key_views = episode_and_keys
      live = in_training(learner, key_adapt)
      solved = solve(live, loss, scores, params, episode, key_adapt, whole=True)

      def psi(adapted):
        return checked_psi(live.represent(params, adapted, keys.represent))

      if views is None:
        parts = jax.tree.map(lambda leaf: leaf[None], psi(solved.adapted))
      else:
        subsets = views(key_views, solved.support, solved.query)
        parts = jax.vmap(lambda subset: psi(live.adapt(params, subset, key_adapt)))(subsets)
      return *solved_loss(terms, params, solved, key_adapt), psi(solved.whole), parts

    if weight == 0:
      # The distances are measured, not trained: loss and gradient equal those of the plain objective bit for bit.
      _, _, full, parts = task_map.each(task, lax.stop_gradient(apart(params)), (episodes, keys.adapt, keys.views))
      total, metrics = plain.over(axis_name)(params, episodes, key)
      return total, {**add_contrast(contrast, axis_name, total, full, parts)[1], **metrics}
    losses, all_metrics, full, parts = task_map.each(task, params, (episodes, keys.adapt, keys.views))
    if stop_full_gradient:
      full = lax.stop_gradient(full)
    total, contrasted = add_contrast(contrast, axis_name, jnp.mean(losses), full, parts)
    return total, {**jax.tree.map(jnp.mean, all_metrics), **contrasted}

  return Objective(objective, learner.init, axis_name, learner)
