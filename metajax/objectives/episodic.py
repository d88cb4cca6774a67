"""The episodic objective: the loss on the query set of the model learned from the support set, averaged over tasks.

Wu et al., 2025, eq. 1; Vinyals et al., 2016.
"""

from typing import Mapping

from metajax.examples import check_episodes
from metajax.objectives.solve import solve, task_keys
from metajax.objectives.task_map import TaskMap, at_once
from metajax.types import Learner, Objective, PerExample


def episodic(learner: Learner, loss: PerExample, scores: Mapping[str, PerExample] | None = None, *,
             task_map: TaskMap = at_once, axis_name: str | None = None) -> Objective:
  """Returns the plain objective of a learner.

  Args:
    learner: any learner.
    loss: `(outputs [Q, ...], targets [Q, ...]) -> [Q]`.
    scores: further measures of the same form, averaged and reported under their names.
    task_map: how tasks are mapped: `at_once` or `in_chunks(n)`.
    axis_name: the mapped axis over which the tasks are spread over devices, if any.

  Returns:
    An objective whose metrics are `loss`, `episodic_loss` and the scores. It raises ValueError for malformed episodes.
  """
  scores = dict(scores or {})

  def objective(params, episodes, key):
    num_tasks = check_episodes(episodes)

    def task(params, episode_and_key):
      solved = solve(learner, loss, scores, params, *episode_and_key)
      return solved.loss, solved.scores

    mean_loss, mean_scores = task_map.mean(task, params, (episodes, task_keys(key, num_tasks, axis_name).adapt))
    return mean_loss, {"loss": mean_loss, "episodic_loss": mean_loss, **mean_scores}

  return objective
