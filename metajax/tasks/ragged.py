"""Few-shot tasks with variable ways and shots, padded to one shape and masked.

Triantafillou et al., Meta-Dataset, 2020, https://arxiv.org/abs/1903.03096, draw tasks in this way, and each from one
group of classes (an alphabet, a super-class).
"""

from typing import Callable

import jax
import jax.numpy as jnp
import numpy as np

from metajax.checks import check_integers
from metajax.examples import examples
from metajax.tasks.class_data import ClassData
from metajax.tasks.classes import choose, class_arrays, unit_range
from metajax.types import Array, Episode, TaskDistribution


def ragged_tasks(source: ClassData, *, ways: tuple[int, int], shots: tuple[int, int], queries: int,
                 balanced: bool = True, one_group: bool = False, prepare: Callable[[Array], Array] | None = None,
                 on_host: bool = False, unequal: bool = False) -> TaskDistribution:
  """Returns the distribution of tasks with ways and shots drawn uniformly from ranges, both ends included.

  An episode's inputs are `[W * S, ...]` and `[W * queries, ...]`, where `W` and `S` are the maximum ways and shots. Its
  targets are integers in [0, ways of the task) where the mask is true.

  Args:
    source: the labelled examples; they are copied to the device as stored.
    ways: minimum, at least 2, and maximum.
    shots: minimum, at least 1, and maximum, per class.
    queries: queries per class.
    balanced: draw the shots once for all classes of a task; otherwise separately for each class.
    one_group: draw all classes of a task from one of `source.groups`, chosen uniformly from those with enough classes.
      Small groups limit the ways.
    prepare: maps stored examples to network inputs; by default uint8 in [0, 255] becomes float32 in [0, 1].
    on_host: leave the examples on the host, as in `class_tasks`.
    unequal: a class with fewer examples than the most shots and the queries has fewer of both, at least `shots[0]` and
      1, and the rest is padding; otherwise such a class is an error.

  Raises:
    ValueError: if a range is empty or starts too low, if there are too few classes or examples, or if `one_group` is
      set and there are no groups.
  """
  check_integers(fewest_ways=ways[0], most_ways=ways[1], fewest_shots=shots[0], most_shots=shots[1], queries=queries)
  members, starts_of_group, sizes = _groups(source, one_group)
  _check(source, sizes, ways, (shots[0], shots[0]) if unequal and shots[0] <= shots[1] else shots,
         min(queries, 1) if unequal else queries, one_group)
  check_integers(queries=queries)
  usable = np.flatnonzero(sizes >= ways[0])
  most, deepest = ways[1], shots[1]
  padded = int(np.min(source.counts)) < deepest + queries
  prepare = unit_range if prepare is None else prepare
  data = class_arrays(source, on_host), *(jnp.asarray(part, jnp.int32) for part in (
      members, starts_of_group[usable], sizes[usable]))

  def sample(data, key):
    arrays, members, group_starts, group_sizes = data
    key_group, key_ways, key_classes, key_shots, key_rows = jax.random.split(key, 5)
    group = jax.random.randint(key_group, (), 0, len(usable))
    size = group_sizes[group]
    drawn_ways = jax.random.randint(key_ways, (), ways[0], jnp.minimum(ways[1], size) + 1)
    indices = jnp.minimum(choose(key_classes, size, most), size - 1)  # entries beyond the group are masked below
    classes = members[group_starts[group] + indices]
    drawn_shots = jax.random.randint(key_shots, (1 if balanced else most,), shots[0], shots[1] + 1)
    rows = jax.vmap(choose, in_axes=(0, 0, None))(jax.random.split(key_rows, most), arrays.counts[classes],
                                                  deepest + queries)
    used_classes = (jnp.arange(most, dtype=jnp.int32) < drawn_ways)[:, None]
    own_shots = drawn_shots[:, None]
    used_queries = jnp.broadcast_to(used_classes, (most, queries))
    if padded:  # a class without enough rows keeps one or more for queries, which follow its shots
      own = arrays.counts[classes][:, None]
      own_shots = jnp.minimum(own_shots, own - 1)
      after = jnp.where(own < deepest + queries, own_shots, deepest) + jnp.arange(queries, dtype=jnp.int32)[None, :]
      places = jnp.concatenate([jnp.broadcast_to(jnp.arange(deepest, dtype=jnp.int32), (most, deepest)), after], axis=1)
      rows = jnp.where(places < own, jnp.take_along_axis(rows, places, axis=1), 0)
      used_queries = used_queries & (after < own)
    inputs = prepare(arrays.examples[arrays.starts[classes][:, None] + rows])
    used_shots = used_classes & (jnp.arange(deepest, dtype=jnp.int32)[None, :] < own_shots)
    labels = jnp.broadcast_to(jnp.arange(most, dtype=jnp.int32)[:, None], rows.shape)
    flat = lambda array: array.reshape(-1, *array.shape[2:])
    return Episode(examples(flat(inputs[:, :deepest]), flat(labels[:, :deepest]), flat(used_shots)),
                   examples(flat(inputs[:, deepest:]), flat(labels[:, deepest:]), flat(used_queries)))

  return TaskDistribution(sample, data)


def _groups(source: ClassData, one_group: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Returns the classes sorted by group, and each group's start and size; without `one_group`, all are one group."""
  if not one_group:
    return np.arange(len(source.counts)), np.zeros(1, int), np.asarray([len(source.counts)])
  if not source.groups:
    raise ValueError("one_group draws the classes of a task from one group, but the classes have no groups; give "
                     "one_group=False.")
  _, numbers, sizes = np.unique(np.asarray(source.groups), return_inverse=True, return_counts=True)
  return np.argsort(numbers, kind="stable"), np.concatenate([[0], np.cumsum(sizes)[:-1]]), sizes


def _check(source: ClassData, sizes: np.ndarray, ways: tuple[int, int], shots: tuple[int, int], queries: int,
           one_group: bool) -> None:
  for name, (low, high), lowest in (("ways", ways, 2), ("shots", shots, 1)):
    if not lowest <= low <= high:
      raise ValueError(f"{name} must go from {lowest} or more to no less than that, but they go from {low} to {high}.")
  if queries < 1:
    raise ValueError(f"a task needs at least 1 query of each class, but queries={queries}.")
  largest = int(sizes.max())
  if ways[0] > largest or not one_group and ways[1] > largest:
    kind = "classes of the largest group" if one_group else "available classes"
    raise ValueError(f"ways from {ways[0]} to {ways[1]} are more than the {largest} {kind}; give fewer.")
  smallest = int(np.argmin(source.counts))
  if shots[1] + queries > source.counts[smallest]:
    raise ValueError(f"up to {shots[1]} shots plus queries={queries} is more than the {source.counts[smallest]} "
                     f"examples of class {source.names[smallest]!r}; give fewer together.")
