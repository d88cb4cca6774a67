"""The episodic objective: the query loss of the model learned from the support set, averaged over tasks.

Wu et al., 2025, eq. 1; Vinyals et al., 2016.
"""

from typing import Mapping

import jax

from metajax.examples import check_episodes
from metajax.kinds import checked
from metajax.objectives.solve import Solved, in_training, solve, task_keys
from metajax.objectives.task_map import TaskMap, at_once
from metajax.objectives.terms import Terms, check_terms
from metajax.types import Array, Learner, Metrics, Objective, Params, PerExample, PRNGKey


@checked
def episodic(learner: Learner, loss: PerExample, scores: Mapping[str, PerExample] | None = None, *,
             terms: Terms | None = None, task_map: TaskMap = at_once, axis_name: str | None = None) -> Objective:
  """Returns the plain objective of a learner.

  Args:
    learner: any learner.
    loss: `(outputs [Q, ...], targets [Q, ...]) -> [Q]`.
    scores: further measures of the same form, averaged and reported under their names.
    terms: further terms of the loss of one task: by name, a weight and a function `(params, solved, key) -> scalar`
      (`objectives.terms`). Each is reported unweighted under its name.
    task_map: how tasks are mapped: `at_once` or `in_chunks(n)`.
    axis_name: the mapped axis over which tasks are sharded over devices, if any.

  Returns:
    An objective whose metrics are `loss`, `episodic_loss`, the scores and the terms. It raises ValueError for
    malformed episodes.

  Raises:
    ValueError: if a term has the name of another metric.
  """
  scores, terms = dict(scores or {}), dict(terms or {})
  check_terms(terms, ("loss", "episodic_loss", *scores))

  def objective(params, episodes, key, axis_name):
    keys = task_keys(key, check_episodes(episodes), axis_name)

    def task(params, episode_and_key):
      episode, key_adapt = episode_and_key
      solved = solve(in_training(learner, key_adapt), loss, scores, params, episode, key_adapt)
      return solved_loss(terms, params, solved, key_adapt)

    mean_loss, metrics = task_map.mean(task, params, (episodes, keys.adapt))
    return mean_loss, {"loss": mean_loss, **metrics}

  return Objective(objective, learner.init, axis_name, learner)


def solved_loss(terms: Terms, params: Params, solved: Solved, key: PRNGKey) -> tuple[Array, Metrics]:
  """Returns the loss of one solved task, weighted terms included, and its metrics."""
  total, metrics = solved.loss, {"episodic_loss": solved.loss, **solved.scores}
  for number, (name, (weight, term)) in enumerate(terms.items()):
    metrics[name] = term(params, solved, jax.random.fold_in(key, number))
    total = total + weight * metrics[name]
  return total, metrics
