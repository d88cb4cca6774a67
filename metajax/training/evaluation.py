"""Meta-test: a frozen list of episodes, their mean and its interval.

Episode number `i` of a list is a function of the list's key and `i`, so every learner and every checkpoint meets the
same episodes.
"""

from typing import Any, Callable, Mapping, NamedTuple

import jax
from jax import lax
import jax.numpy as jnp
from jax.sharding import Mesh
import numpy as np

from metajax.checks import check_integers
from metajax.objectives.solve import solve
from metajax.tasks.sampling import listed_task
from metajax.training.hosts import wait
from metajax.training.sharding import TASKS, over_tasks, replicate
from metajax.types import Learner, Params, PerExample, PerSet, PRNGKey, TaskDistribution


class Estimate(NamedTuple):
  """A mean over test episodes."""
  mean: float
  interval: float  # half the width of the 95 % interval, 1.96 standard errors
  values: np.ndarray  # [episodes], one each, in the order of the list

  def __str__(self) -> str:
    return f"{self.mean:.4f} ± {self.interval:.4f}"

  def __repr__(self) -> str:  # not every episode, where a notebook shows it
    return str(self)


def make_evaluate(learner: Learner, loss: PerExample, scores: Mapping[str, PerExample], tasks: TaskDistribution, *,
                  num_episodes: int, key: PRNGKey, chunk: int = 32, mesh: Mesh | None = None,
                  measures: Mapping[str, PerSet] | None = None) -> Callable[[Params], dict[str, Estimate]]:
  """Returns a function from parameters to an `Estimate` of the loss and of each score.

  Args:
    learner: any learner; it may take other inner steps than the one that was trained.
    loss: `(outputs [Q, ...], targets [Q, ...]) -> [Q]`, reported as `loss`.
    scores: further measures of the same form.
    tasks: where the episodes come from.
    num_episodes: how many, at least 2.
    key: the key of the list.
    chunk: episodes solved at once.
    mesh: devices, of all processes, that solve a part of the list each; the parameters must be on all of them.
    measures: further ones, of the query set as a whole, reported before the scores.

  Raises:
    ValueError: if there are fewer than 2 episodes, of which no interval can be had.
  """
  check_integers(num_episodes=num_episodes)
  if num_episodes < 2:
    raise ValueError(f"an interval needs at least 2 test episodes, but num_episodes is {num_episodes}.")
  key_list, key_adapt = jax.random.split(key)

  measures = measures or {}
  share = -(-num_episodes // (mesh.size if mesh else 1))  # the last of them go beyond the list, and are dropped

  def part(params, data):
    first = lax.axis_index(TASKS) * share if mesh else 0

    def one(place):
      episode = listed_task(tasks, data, key_list, place)
      solved = solve(learner, loss, scores, params, episode, jax.random.fold_in(key_adapt, place))
      query = solved.query
      whole = {name: measure(solved.outputs, query.targets, query.mask) for name, measure in measures.items()}
      return {"loss": solved.loss, **whole, **solved.scores}

    found = lax.map(one, first + jnp.arange(share, dtype=jnp.int32), batch_size=min(chunk, share))
    return lax.all_gather(found, TASKS, tiled=True) if mesh else found

  run = jax.jit(over_tasks(part, mesh) if mesh else part)
  data = replicate(tasks.data, mesh) if mesh else tasks.data

  compiled: list[Any] = []

  def evaluate(params: Params) -> dict[str, Estimate]:
    if not compiled:
      compiled.append(run.lower(params, data).compile())
      if mesh:
        wait("compiled")
    found = jax.device_get(compiled[0](params, data))  # in the order of the alphabet
    return {name: estimate(found[name][:num_episodes]) for name in ("loss", *measures, *scores)}

  return evaluate


def estimate(values: np.ndarray) -> Estimate:
  """Returns the mean of `values [episodes]` with its 95 % interval.

  >>> import numpy as np
  >>> from metajax import evaluation
  >>> print(evaluation.estimate(np.array([0.5, 1.0, 1.0, 0.5])))
  0.7500 ± 0.2829
  """
  values = np.asarray(values)
  wide = values.astype(np.float64)
  return Estimate(float(wide.mean()), float(1.96 * wide.std(ddof=1) / np.sqrt(len(wide))), values)
