"""Means over the tasks of all devices, and over all pairs of tasks.

Every device gets the value over all tasks, and the gradient with respect to its own tasks. The mean of these gradients
over the devices (`pmean`, as for any loss) is the full gradient.
"""

import jax
from jax import lax
import jax.numpy as jnp

from metajax.contrast.distances import Distance, Quadratic, squared_norm
from metajax.contrast.representations import tasks_here, tasks_in_all
from metajax.types import Array, PyTree


def mean_over_devices(share: Array, axis_name: str | None) -> Array:
  """Returns the mean of a number over devices, with the gradient of this device's own number."""
  # The gradient of pmean differs between mappings (pmap, shard_map with and without check_vma); this one is the same
  # under each.
  if axis_name is None:
    return share
  return lax.stop_gradient(lax.pmean(share, axis_name)) + (share - lax.stop_gradient(share))


def mean_over_pairs(full: PyTree, distance: Distance, axis_name: str | None) -> Array:
  """Returns the mean of a symmetric distance over all ordered pairs of different tasks, of `full [T, D]`.

  Raises:
    ValueError: if there is only one task in total.
  """
  num_tasks = tasks_in_all(full, axis_name)
  if isinstance(distance, Quadratic):
    return _variance(full, distance, axis_name, num_tasks)
  return _around_the_ring(full, distance, axis_name, num_tasks)


def _variance(full: PyTree, distance: Quadratic, axis_name: str | None, num_tasks: int) -> Array:
  """Returns the mean over pairs as a variance: `2 T/(T - 1) scale mean_t |f(e_t) - mean f|^2`."""
  # With one of the tasks as the origin, the coordinates of close tasks keep their digits. The result does not depend
  # on the origin, which therefore needs no gradient.
  first = lax.stop_gradient(jax.tree.map(lambda leaf: leaf[0], full))
  origin = first if axis_name is None else lax.pmean(first, axis_name)
  coordinates = jax.vmap(distance.difference, in_axes=(0, None))(full, origin)
  centre = jax.tree.map(lambda leaf: jnp.mean(leaf, axis=0), coordinates)
  if axis_name is not None:  # the deviations of all tasks sum to zero, so the gradient through their mean is zero
    centre = lax.stop_gradient(lax.pmean(centre, axis_name))
  deviations = jax.tree.map(lambda leaf, mean: leaf - mean[None], coordinates, centre)
  spread = mean_over_devices(jnp.mean(jax.vmap(squared_norm)(deviations)), axis_name)
  return 2 * num_tasks / (num_tasks - 1) * distance.scale * spread


def _around_the_ring(full: PyTree, distance: Distance, axis_name: str | None, num_tasks: int) -> Array:
  """Returns the mean over pairs; devices pass their tasks around a ring, one device's tasks at a time.

  No device ever holds all tasks, or an array of size `T x T`: the gradient is computed together with the distances.
  Since a distance is symmetric, the gradient through both arguments is twice that through the first. No forward mode.
  """
  num_own = tasks_here(full)
  devices = num_tasks // num_own
  places = jnp.arange(num_own, dtype=jnp.int32)

  def to_visitors(task, place, visitors, at_home):
    to_all = jax.vmap(distance, in_axes=(None, 0))(task, visitors)
    others = (places != place) | (not at_home)
    return jnp.sum(jnp.where(others, to_all, jnp.zeros_like(to_all))) / ((num_tasks - 1) * num_own)

  def around(row, full):
    """Returns, for each task, the sum of `row(task, visitor)` over all visitors."""

    def meet(visitors, at_home):
      return lax.map(lambda task_and_place: row(*task_and_place, visitors, at_home), (full, places))

    def turn(carry, _):
      visitors = lax.ppermute(carry[1], axis_name, [(i, (i + 1) % devices) for i in range(devices)])
      return (jax.tree.map(jnp.add, carry[0], meet(visitors, False)), visitors), None

    at_home = meet(full, True)
    return at_home if devices == 1 else lax.scan(turn, (at_home, full), length=devices - 1)[0][0]

  @jax.custom_vjp
  def share(full):
    return jnp.sum(around(to_visitors, full))

  def forward(full):
    value, gradient = around(jax.value_and_grad(to_visitors), full)
    return jnp.sum(value), jax.tree.map(lambda leaf: 2 * leaf, gradient)

  share.defvjp(forward, lambda gradient, cotangent: (jax.tree.map(lambda g: cotangent.astype(g.dtype) * g, gradient),))
  return mean_over_devices(share(full), axis_name)
