"""From a task distribution to a meta-batch."""

import jax
import jax.numpy as jnp

from metajax.checks import check_integers
from metajax.kinds import checked
from metajax.types import Array, Episode, PRNGKey, PyTree, TaskDistribution


def listed_task(tasks: TaskDistribution, data: PyTree, key: PRNGKey, index: Array) -> Episode:
  """Returns the episode at one index of the test list that `key` defines."""
  own = jax.random.fold_in(key, index)
  return tasks.sample(data, own) if tasks.listed is None else tasks.listed(data, own, index)


def sample_tasks(tasks: TaskDistribution, data: PyTree, key: PRNGKey, indices: Array) -> Episode:
  """Returns the episodes, with leading axis `[T]`, at `indices [T]` of the list that `key` defines.

  An episode is a function of `(data, key, index)`: it does not depend on which others are sampled, where, or when.
  """
  return jax.vmap(tasks.sample, in_axes=(None, 0))(data, tasks.keys(data, key, indices))


@checked
def sample_batch(tasks: TaskDistribution, key: PRNGKey, num_tasks: int) -> Episode:
  """Returns a batch of `num_tasks` tasks, with leading `T`, to look at or to try an objective on.

  Raises ValueError unless the key is a key, and the number of tasks an integer of at least 1.

  >>> import jax
  >>> from metajax import tasks
  >>> tasks.sample_batch(tasks.sinusoids(shots=5, queries=10), jax.random.key(0), 3).query.inputs.shape
  (3, 10, 1)
  """
  check_integers(num_tasks=num_tasks)
  if num_tasks < 1:
    raise ValueError(f"a batch needs at least 1 task, but num_tasks is {num_tasks}.")
  return jax.jit(lambda data: sample_tasks(tasks, data, key, jnp.arange(num_tasks, dtype=jnp.int32)))(tasks.data)


def meta_batch(tasks: TaskDistribution, data: PyTree, key: PRNGKey, step: Array, indices: Array) -> Episode:
  """Returns the tasks at `indices [T]` of the meta-batch after `step` steps, with leading `T`."""
  return sample_tasks(tasks, tasks.at_step(data, step), jax.random.split(jax.random.fold_in(key, step))[0], indices)
