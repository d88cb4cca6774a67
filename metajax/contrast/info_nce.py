"""InfoNCE over task models, an alternative to eq. 4 that is not in the paper."""

import jax
from jax import lax
import jax.numpy as jnp

from metajax.contrast.distances import Distance
from metajax.contrast.over_devices import mean_over_devices
from metajax.contrast.representations import check_views, tasks_here, tasks_in_all
from metajax.types import Array, PyTree


def info_nce(full: PyTree, views: PyTree, distance: Distance, axis_name: str | None = None, *, temperature: float = 1.0
             ) -> Array:
  """Returns the loss, in nats, of identifying the task of a view.

  With `s = -phi / temperature`, the mean over tasks and views of
  `-log [exp s(e_k, e*) / (exp s(e_k, e*) + sum over other tasks of exp s(e*, e*'))]`.

  Arguments and errors as in `contrast.inner_task_distance` and `inter_task_distance`.

  Raises:
    ValueError: also if the temperature is not positive.
  """
  if temperature <= 0:
    raise ValueError(f"the temperature of InfoNCE must be positive, but it is {temperature}.")
  check_views(full, views)
  own, everyone = jnp.arange(tasks_here(full), dtype=jnp.int32), full
  num_tasks = tasks_in_all(full, axis_name)
  if axis_name is not None:
    own = own + lax.axis_index(axis_name) * own.size
    everyone = lax.all_gather(full, axis_name, tiled=True)

  def row(task, parts, index):
    positive = -jax.vmap(distance, in_axes=(0, None))(parts, task) / temperature
    to_all = -jax.vmap(distance, in_axes=(None, 0))(task, everyone) / temperature
    others = jnp.arange(num_tasks, dtype=jnp.int32) != index
    negative = jax.nn.logsumexp(to_all, where=others)
    return jnp.mean(jnp.logaddexp(positive, negative) - positive)

  return mean_over_devices(jnp.mean(jax.vmap(row)(full, views, own)), axis_name)
