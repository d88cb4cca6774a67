"""Meta-test: a frozen list of episodes, their mean and its interval.

Episode number `i` of a list is a function of the list's key and `i`, so every learner and every checkpoint meets the
same episodes.
"""

from typing import Callable, Mapping, NamedTuple

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from metajax.checks import check_integers
from metajax.data.sampling import sample_tasks
from metajax.objectives.tasks import solve
from metajax.types import Learner, Params, PerExample, PRNGKey, TaskDistribution


class Estimate(NamedTuple):
  """A mean over test episodes."""
  mean: float
  interval: float  # half the width of the 95 % interval, 1.96 standard errors
  values: np.ndarray  # [episodes], one each, in the order of the list

  def __str__(self) -> str:
    return f"{self.mean:.4f} ± {self.interval:.4f}"


def make_evaluate(learner: Learner, loss: PerExample, scores: Mapping[str, PerExample], tasks: TaskDistribution, *,
                  num_episodes: int, key: PRNGKey, chunk: int = 32) -> Callable[[Params], dict[str, Estimate]]:
  """Returns a function from parameters to an `Estimate` of the loss and of each score.

  Args:
    learner: any learner; it may take other inner steps than the one that was trained.
    loss: `(outputs [Q, ...], targets [Q, ...]) -> [Q]`, reported as `loss`.
    scores: further measures of the same form.
    tasks: where the episodes come from.
    num_episodes: how many, at least 2.
    key: the key of the list.
    chunk: episodes solved at once.

  Raises:
    ValueError: if there are fewer than 2 episodes, of which no interval can be had.
  """
  check_integers(num_episodes=num_episodes)
  if num_episodes < 2:
    raise ValueError(f"an interval needs at least 2 test episodes, but num_episodes is {num_episodes}.")
  key_list, key_adapt = jax.random.split(key)

  @jax.jit
  def run(params, data):

    def one(place):
      episode = jax.tree.map(lambda leaf: leaf[0], sample_tasks(tasks, data, key_list, place[None]))
      solved = solve(learner, loss, scores, params, episode, jax.random.fold_in(key_adapt, place))
      return {"loss": solved.loss, **solved.scores}

    return lax.map(one, jnp.arange(num_episodes, dtype=jnp.int32), batch_size=min(chunk, num_episodes))

  def evaluate(params: Params) -> dict[str, Estimate]:
    return {name: estimate(values) for name, values in jax.device_get(run(params, tasks.data)).items()}

  return evaluate


def estimate(values: np.ndarray) -> Estimate:
  """Returns the mean of `values [episodes]` with its 95 % interval."""
  values = np.asarray(values)
  wide = values.astype(np.float64)
  return Estimate(float(wide.mean()), float(1.96 * wide.std(ddof=1) / np.sqrt(len(wide))), values)
