"""ConML's equations as in the paper: alignment (eq. 2), discrimination (eq. 3) and their difference (eq. 4).

`T` tasks, `K` views, `D` features. A representation is a pytree read as one vector, so `[T, D]` stands for a pytree of
leaves `[T, ...]`. With an `axis_name`, the `T` tasks are this device's share and the contrast covers all devices;
`contrast.over_devices` defines value and gradient in this case.

Wu et al., Learning to Learn with Contrastive Meta-Objective, 2025, https://arxiv.org/abs/2410.05975.
"""

import jax
import jax.numpy as jnp

from metajax.contrast.distances import Distance
from metajax.contrast.over_devices import mean_over_devices, mean_over_pairs
from metajax.contrast.representations import check_views
from metajax.types import Array, PyTree


def inner_task_distance(full: PyTree, views: PyTree, distance: Distance, axis_name: str | None = None) -> Array:
  """Returns D_in, the mean distance of a task's views to the whole task (eq. 2; small = aligned).

  `D_in = 1/(T K) sum_t sum_k phi(e_tk, e*_t)`

  Args:
    full: `e* [T, D]`, the representation of each task, learned from all its examples.
    views: `e [T, K, D]`, the representations learned from subsets.
    distance: `phi: (a [D], b [D]) -> scalar`.
    axis_name: the mapped axis over which the tasks are sharded, if any.

  Raises:
    ValueError: if there are no views, or the shapes disagree.
  """
  check_views(full, views)
  phi = jax.vmap(jax.vmap(distance, in_axes=(0, None)))(views, full)  # [T, K]
  return mean_over_devices(jnp.mean(phi), axis_name)


def inter_task_distance(full: PyTree, distance: Distance, axis_name: str | None = None) -> Array:
  """Returns D_out, the mean distance over all ordered pairs of different tasks (eq. 3; large = discriminated).

  `D_out = 1/(T (T - 1)) sum_t sum_{t' != t} phi(e*_t, e*_t')`

  Arguments as in `inner_task_distance`; a distance must be symmetric. Linear in `T` for a `distances.Quadratic`.

  Raises:
    ValueError: if there is only one task in total, for which D_out is undefined.
  """
  return mean_over_pairs(full, distance, axis_name)


def contrastive_loss(full: PyTree, views: PyTree, distance: Distance, axis_name: str | None = None) -> Array:
  """Returns `D_in - D_out`, to be added to the episodic loss with a weight lambda (eq. 4).

  Arguments and errors as in `inner_task_distance` and `inter_task_distance`.

  >>> import jax.numpy as jnp
  >>> from metajax import contrast, distances
  >>> full = jnp.array([[1.0, 0.0], [0.0, 1.0]])  # two orthogonal tasks: D_out is 1
  >>> views = jnp.array([[[1.0, 0.0]], [[1.0, 0.0]]])  # one view each; that of the second is wrong: D_in is 1/2
  >>> round(float(contrast.contrastive_loss(full, views, distances.cosine)), 3)
  -0.5
  """
  d_in = inner_task_distance(full, views, distance, axis_name)
  d_out = inter_task_distance(full, distance, axis_name)
  return d_in - d_out
