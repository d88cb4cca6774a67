"""Meta-test: scores on a frozen list of episodes, with their mean and its confidence interval.

Episode `i` of a list is a function of the list's key and `i`, so every learner and every checkpoint is tested on the
same episodes.
"""

from typing import Any, Callable, Mapping, NamedTuple

import jax
from jax import lax
import jax.numpy as jnp
from jax.sharding import Mesh
import numpy as np

from metajax.checks import check_integers
from metajax.examples import masked_mean
from metajax.kinds import checked
from metajax.objectives.solve import predict_alone, solve
from metajax.tasks.sampling import listed_task
from metajax.training.hosts import wait
from metajax.training.sharding import TASKS, over_tasks, replicate
from metajax.types import Array, Examples, Learner, Params, PerExample, PerSet, PRNGKey, TaskDistribution


class Estimate(NamedTuple):
  """A mean over test episodes."""
  mean: float
  interval: float  # half the width of the 95 % confidence interval, 1.96 standard errors
  values: np.ndarray  # [episodes], in the order of the list

  def __str__(self) -> str:
    return f"{self.mean:.4f} ± {self.interval:.4f}"

  def __repr__(self) -> str:  # keeps notebooks from showing every episode
    return str(self)


@checked
def make_evaluate(learner: Learner, loss: PerExample, scores: Mapping[str, PerExample], tasks: TaskDistribution, *,
                  num_episodes: int, key: PRNGKey, chunk: int = 32, mesh: Mesh | None = None,
                  measures: Mapping[str, PerSet] | None = None, one_at_a_time: bool = False
                  ) -> Callable[[Params], dict[str, Estimate]]:
  """Returns a function from parameters to an `Estimate` of the loss and of each score.

  Args:
    learner: any learner; it may use a different number of inner steps than in training.
    loss: `(outputs [Q, ...], targets [Q, ...]) -> [Q]`, reported as `loss`.
    scores: further measures of the same form.
    tasks: where the episodes come from.
    num_episodes: the length of the list, at least 2.
    key: the key of the list.
    chunk: the number of episodes solved at once.
    mesh: the devices of all processes, each of which solves a shard of the list; the parameters must be replicated.
    measures: measures of the whole query set, reported before the scores.
    one_at_a_time: also report the loss and the scores, as `<name>_one_at_a_time`, of a model that is given the support
      set first, and then each query alone. They differ where predictions depend on the other queries (transductive).

  Raises:
    ValueError: for fewer than 2 episodes, which give no interval.
  """
  check_integers(num_episodes=num_episodes)
  if num_episodes < 2:
    raise ValueError(f"an interval needs at least 2 test episodes, but num_episodes is {num_episodes}.")
  key_list, key_adapt = jax.random.split(key)

  measures = measures or {}
  per_device = -(-num_episodes // (mesh.size if mesh else 1))  # rounded up; the excess is dropped at the end

  def shard(params, data):
    first = lax.axis_index(TASKS) * per_device if mesh else 0

    def one(index):
      episode = listed_task(tasks, data, key_list, index)
      solved = solve(learner, loss, scores, params, episode, jax.random.fold_in(key_adapt, index))
      whole = measured(measures, solved.outputs, solved.query)
      return {"loss": solved.loss, **whole, **solved.scores,
              **(alone(params, episode, jax.random.fold_in(key_adapt, index)) if one_at_a_time else {})}

    def alone(params, episode, key):
      outputs, query = predict_alone(learner, params, episode, key), episode.query
      return {f"{name}_one_at_a_time": masked_mean(measure(outputs, query.targets), query.mask)
              for name, measure in {"loss": loss, **scores}.items()}

    indices = first + jnp.arange(per_device, dtype=jnp.int32)
    found = lax.map(one, indices, batch_size=min(chunk, per_device))
    return lax.all_gather(found, TASKS, tiled=True) if mesh else found

  run = jax.jit(over_tasks(shard, mesh) if mesh else shard)
  data = replicate(tasks.data, mesh) if mesh else tasks.data

  compiled: list[Any] = []

  def evaluate(params: Params) -> dict[str, Estimate]:
    if not compiled:
      compiled.append(run.lower(params, data).compile())
      if mesh:
        wait("compiled")
    found = jax.device_get(compiled[0](params, data))  # jax sorts the names
    names = ["loss", *measures, *scores]
    names += [f"{name}_one_at_a_time" for name in ("loss", *scores) if one_at_a_time]
    return {name: estimate(found[name][:num_episodes]) for name in names}

  return evaluate


def measured(measures: Mapping[str, PerSet], outputs: Array, query: Examples) -> dict[str, Array]:
  """Returns measures of a whole query set; raises ValueError for one that is not one number."""
  found = {name: measure(outputs, query.targets, query.mask) for name, measure in measures.items()}
  for name, value in found.items():
    if jnp.shape(value):
      raise ValueError(f"the measure {name!r} must return one number for a query set, but it returned "
                       f"{list(jnp.shape(value))}; average over the queries, or give it as a score.")
  return found


def estimate(values: np.ndarray) -> Estimate:
  """Returns the mean of `values [episodes]` with its 95 % confidence interval.

  >>> import numpy as np
  >>> from metajax.training import evaluation
  >>> print(evaluation.estimate(np.array([0.5, 1.0, 1.0, 0.5])))
  0.7500 ± 0.2829
  """
  values = np.asarray(values)
  wide = values.astype(np.float64)
  return Estimate(float(wide.mean()), float(1.96 * wide.std(ddof=1) / np.sqrt(len(wide))), values)
