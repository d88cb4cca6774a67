"""The contrastive part of ConML, from arrays of representations: alignment, discrimination and their difference.

`T` tasks, `K` views, `D` features; a representation is a pytree read as a vector, so `[T, D]` stands for a pytree of
leaves `[T, ...]`. With an `axis_name` the `T` tasks are this device's share, and the contrast is over all devices:
every device gets the value over all tasks, and the gradient of its own share of it. Average the gradients over the
devices (`pmean`), as one does with any loss, and they are those of the whole.

Wu et al., Learning to Learn with Contrastive Meta-Objective, 2025, eqs. 2-4, https://arxiv.org/abs/2410.05975.
"""

import jax
from jax import lax
import jax.numpy as jnp

from metajax.contrast.distances import Distance, Products, Quadratic, difference, dot, products, squared_norm
from metajax.contrast.representations import as_vectors, check_origin, check_views, tasks_here, tasks_in_all
from metajax.kernels.storing import gradient_stored
from metajax.types import Array, PyTree


def inner_task_distance(full: PyTree, views: PyTree, distance: Distance, axis_name: str | None = None,
                        origin: PyTree | None = None) -> Array:
  """Returns D_in, the mean distance of a task's views to the whole of the same task (eq. 2; small = aligned).

  Args:
    full: `[T, D]`, the representation of each task learned from all its examples.
    views: `[T, K, D]`, those learned from subsets.
    distance: `(a [D], b [D]) -> scalar`.
    axis_name: the mapped axis over which the tasks are spread, if any.
    origin: `[D]`, if `full` and `views` are what each representation adds to an origin that all tasks share.

  Raises:
    ValueError: if there is no view, the shapes disagree, or the distance is no `distances.Quadratic` but there is an
      origin.
  """
  check_views(full, views)
  check_origin(origin, full, distance)
  if isinstance(distance, Quadratic):
    full, views, origin = as_vectors(full, 1), as_vectors(views, 2), as_vectors(origin, 0)
    of = jax.vmap(jax.vmap(products, in_axes=(0, None, None)), in_axes=(0, 0, None))(views, full, origin)
    distances = jax.vmap(jax.vmap(distance.between))(of)
  else:
    distances = jax.vmap(jax.vmap(distance, in_axes=(0, None)))(views, full)
  return _over_devices(jnp.mean(distances), axis_name)


def inter_task_distance(full: PyTree, distance: Distance, axis_name: str | None = None,
                        origin: PyTree | None = None) -> Array:
  """Returns D_out, the mean distance over all ordered pairs of different tasks (eq. 3; large = discriminated).

  For a `distances.Quadratic` it is a variance: `scale 2/(T-1) sum_i |f(e_i) - mean f|^2`, linear in `T`, exact. For any
  other distance, which must be symmetric, every task meets every other as devices pass their tasks around: no device
  holds more than two devices' tasks, and nothing is `T x T`. That road has a gradient, but no forward-mode derivative.

  Args and errors as in `inner_task_distance`; besides,

  Raises:
    ValueError: if there is only one task in all, since D_out divides by T (T - 1).
  """
  check_origin(origin, full, distance)
  if isinstance(distance, Quadratic):
    return _variance(as_vectors(full, 1), distance, axis_name, tasks_in_all(full, axis_name), as_vectors(origin, 0))
  return _mean_over_pairs(full, distance, axis_name)


def contrastive_loss(full: PyTree, views: PyTree, distance: Distance, axis_name: str | None = None,
                     origin: PyTree | None = None) -> Array:
  """Returns D_in - D_out, to be added to the episodic loss with a weight lambda (eq. 4).

  Args and errors as in `inner_task_distance` and `inter_task_distance`.

  >>> import jax.numpy as jnp
  >>> from metajax import contrast, distances
  >>> full = jnp.array([[1.0, 0.0], [0.0, 1.0]])  # two tasks that are told apart: D_out is 1
  >>> views = jnp.array([[[1.0, 0.0]], [[1.0, 0.0]]])  # one view of each, that of the second a bad one: D_in is 1/2
  >>> round(float(contrast.contrastive_loss(full, views, distances.cosine)), 3)
  -0.5
  """
  check_views(full, views)  # first: what is no array cannot be stored
  full, views = gradient_stored((full, views))
  return (inner_task_distance(full, views, distance, axis_name, origin)
          - inter_task_distance(full, distance, axis_name, origin))


def info_nce(full: PyTree, views: PyTree, distance: Distance, axis_name: str | None = None, *, temperature: float = 1.0
             ) -> Array:
  """Returns a contrastive loss in nats that is ours, not the paper's: a view must be told to be of its own task.

  With `s = -phi / temperature`, the mean over tasks and views of
  `-log [exp s(e_k, e*) / (exp s(e_k, e*) + sum over other tasks of exp s(e*, e*'))]`.

  Args and errors as in `inner_task_distance` and `inter_task_distance`; besides,

  Raises:
    ValueError: if the temperature is not positive.
  """
  if temperature <= 0:
    raise ValueError(f"the temperature of InfoNCE must be positive, but it is {temperature}.")
  check_views(full, views)
  own, everyone, num_tasks = _places(full, axis_name)

  def row(task, parts, index):
    positive = -jax.vmap(distance, in_axes=(0, None))(parts, task) / temperature
    to_all = -jax.vmap(distance, in_axes=(None, 0))(task, everyone) / temperature
    others = jnp.arange(num_tasks, dtype=jnp.int32) != index
    negative = jax.nn.logsumexp(to_all, where=others)
    return jnp.mean(jnp.logaddexp(positive, negative) - positive)

  return _over_devices(jnp.mean(jax.vmap(row)(full, views, own)), axis_name)


def _variance(full: PyTree, distance: Quadratic, axis_name: str | None, num_tasks: int, origin: PyTree | None
              ) -> Array:
  # The mean squared distance of two is twice the variance, and that the mean square about any origin less the square
  # of the mean. With one of the tasks as the origin, distances are small and keep their digits; D_out does not depend
  # on which, so it needs no gradient.
  gaps, square = full, None
  if origin is None:
    first = jax.tree.map(lambda leaf: leaf[0], full)
    origin = lax.stop_gradient(first if axis_name is None else lax.pmean(first, axis_name))
    gaps, square = jax.vmap(difference, in_axes=(0, None))(full, origin), jax.vmap(squared_norm)(full)
  along = jax.vmap(dot, in_axes=(0, None))(gaps, origin)
  square_gap = jax.vmap(squared_norm)(gaps)
  if square is None:
    square = squared_norm(origin) + 2 * along + square_gap
  of = Products(square, -(along + square_gap), square_gap)  # of the origin and each task
  by_gap, by_origin = jax.vmap(distance.shift)(of)  # f(task) - f(origin) = by_gap (task - origin) + by_origin origin

  def mean(of_tasks):
    return _over_devices(jnp.mean(of_tasks), axis_name)

  def weighted(gap):
    return _over_devices(_weighted_sum(by_gap, gap) / by_gap.size, axis_name)

  shift = mean(by_origin)
  square_centre = (squared_norm(jax.tree.map(weighted, gaps)) + 2 * shift * mean(by_gap * along)
                   + shift * shift * squared_norm(origin))
  spread = mean(jax.vmap(distance.between)(of)) - distance.scale * square_centre
  return 2 * num_tasks / (num_tasks - 1) * spread


@jax.custom_jvp
def _weighted_sum(weights: Array, leaf: Array) -> Array:
  """Returns the sum over tasks of a leaf `[T, ...]`, each times its weight."""
  return _row_times(weights, leaf)


@_weighted_sum.defjvp
def _weighted_sum_derivative(primals, tangents):
  # With respect to the leaf a sum, whose transpose is elementwise, and joins what else is done with its gradient; with
  # respect to the weights a product, whose transpose is one.
  (weights, leaf), (to_weights, to_leaf) = primals, tangents
  column = weights.reshape(-1, *[1] * (leaf.ndim - 1))
  return _weighted_sum(weights, leaf), jnp.sum(column * to_leaf, axis=0) + _row_times(to_weights, leaf)


def _row_times(weights: Array, leaf: Array) -> Array:
  # As a row times a matrix, for which nothing is copied: XLA:CPU transposes the leaf for a vector times an array, and
  # sums over a leading axis many times more slowly.
  matrix = leaf.reshape(len(weights), -1)
  return jnp.matmul(weights[None], matrix, precision=lax.Precision.HIGHEST).reshape(leaf.shape[1:])


def _mean_over_pairs(full: PyTree, distance: Distance, axis_name: str | None) -> Array:
  """Returns the mean distance over pairs as the tasks of the other devices pass by, one device's at a time.

  No device ever holds the tasks of all, nor anything of size `T x T`: the gradient is taken as the distances are. As a
  distance is symmetric, the gradient through both of its arguments is twice that through the first.
  """
  num_tasks, num_own = tasks_in_all(full, axis_name), tasks_here(full)
  devices = num_tasks // num_own
  places = jnp.arange(num_own, dtype=jnp.int32)

  def to_visitors(task, place, visitors, at_home):
    to_all = jax.vmap(distance, in_axes=(None, 0))(task, visitors)
    others = (places != place) | (not at_home)
    return jnp.sum(jnp.where(others, to_all, jnp.zeros_like(to_all))) / ((num_tasks - 1) * num_own)

  def around(row, full):
    """Returns, for each task, the sum over all visitors of what `row` makes of the two."""

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
  return _over_devices(share(full), axis_name)


def _places(full: PyTree, axis_name: str | None) -> tuple[Array, PyTree, int]:
  """Returns the places of this device's tasks among all, the representations of all, and how many they are."""
  own = jnp.arange(tasks_here(full), dtype=jnp.int32)
  num_tasks = tasks_in_all(full, axis_name)
  if axis_name is None:
    return own, full, num_tasks
  return own + lax.axis_index(axis_name) * own.size, lax.all_gather(full, axis_name, tiled=True), num_tasks


def _over_devices(share: Array, axis_name: str | None) -> Array:
  # The value of all devices with the gradient of one: a gradient through pmean means different things under
  # different mappings (pmap, shard_map with and without check_vma); this one means the same under each.
  if axis_name is None:
    return share
  return lax.stop_gradient(lax.pmean(share, axis_name)) + (share - lax.stop_gradient(share))
