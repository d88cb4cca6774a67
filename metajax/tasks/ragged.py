"""Few-shot tasks whose ways and shots differ from task to task, padded to one shape and masked.

Triantafillou et al., Meta-Dataset, 2020, https://arxiv.org/abs/1903.03096, draw tasks so, and of one group of classes
(an alphabet, a super-class) at a time.
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
                 on_host: bool = False) -> TaskDistribution:
  """Returns the distribution of tasks with ways and shots drawn uniformly from ranges, both ends included.

  An episode's inputs are `[W * S, ...]` and `[W * queries, ...]` for the most ways `W` and shots `S`, its targets
  integers in [0, ways of the task) where the mask is true.

  Args:
    source: the labelled examples; they are put on the device as they are stored.
    ways: the fewest, at least 2, and the most.
    shots: the fewest, at least 1, and the most, of a class.
    queries: of each class.
    balanced: draw the shots once for all classes of a task; otherwise for each class.
    one_group: draw all classes of a task from one of `source.groups`, each group of enough classes as likely; a small
      group has fewer ways than the most.
    prepare: from stored examples to network inputs; by default uint8 in [0, 255] becomes float32 in [0, 1].
    on_host: leave the examples on the host, as in `class_tasks`.

  Raises:
    ValueError: if a range is empty or begins too low, there are fewer classes, or examples of one, than it asks for,
      or there are no groups.
  """
  check_integers(fewest_ways=ways[0], most_ways=ways[1], fewest_shots=shots[0], most_shots=shots[1], queries=queries)
  members, starts_of_group, sizes = _groups(source, one_group)
  _check(source, sizes, ways, shots, queries, one_group)
  usable = np.flatnonzero(sizes >= ways[0])
  most, deepest = ways[1], shots[1]
  prepare = unit_range if prepare is None else prepare
  data = class_arrays(source, on_host), *(jnp.asarray(part, jnp.int32) for part in (
      members, starts_of_group[usable], sizes[usable]))

  def sample(data, key):
    arrays, members, group_starts, group_sizes = data
    key_group, key_ways, key_classes, key_shots, key_rows = jax.random.split(key, 5)
    group = jax.random.randint(key_group, (), 0, len(usable))
    size = group_sizes[group]
    drawn_ways = jax.random.randint(key_ways, (), ways[0], jnp.minimum(ways[1], size) + 1)
    places = jnp.minimum(choose(key_classes, size, most), size - 1)  # what is beyond the group is masked below
    classes = members[group_starts[group] + places]
    drawn_shots = jax.random.randint(key_shots, (1 if balanced else most,), shots[0], shots[1] + 1)
    rows = jax.vmap(choose, in_axes=(0, 0, None))(jax.random.split(key_rows, most), arrays.counts[classes],
                                                  deepest + queries)
    inputs = prepare(arrays.examples[arrays.starts[classes][:, None] + rows])
    there = (jnp.arange(most, dtype=jnp.int32) < drawn_ways)[:, None]
    used = there & (jnp.arange(deepest, dtype=jnp.int32)[None, :] < drawn_shots[:, None])
    labels = jnp.broadcast_to(jnp.arange(most, dtype=jnp.int32)[:, None], rows.shape)
    asked = jnp.broadcast_to(there, (most, queries))
    flat = lambda array: array.reshape(-1, *array.shape[2:])
    return Episode(examples(flat(inputs[:, :deepest]), flat(labels[:, :deepest]), flat(used)),
                   examples(flat(inputs[:, deepest:]), flat(labels[:, deepest:]), flat(asked)))

  return TaskDistribution(sample, data)


def _groups(source: ClassData, one_group: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """The classes sorted by group, where each group starts among them, and how many it has; without groups one of all."""
  if not one_group:
    return np.arange(len(source.counts)), np.zeros(1, int), np.asarray([len(source.counts)])
  if not source.groups:
    raise ValueError("classes of one group can only be drawn where classes have groups, and these have none; give "
                     "one_group=False.")
  _, numbers, sizes = np.unique(np.asarray(source.groups), return_inverse=True, return_counts=True)
  return np.argsort(numbers, kind="stable"), np.concatenate([[0], np.cumsum(sizes)[:-1]]), sizes


def _check(source: ClassData, sizes: np.ndarray, ways: tuple[int, int], shots: tuple[int, int], queries: int,
           one_group: bool) -> None:
  for name, (low, high), lowest in (("ways", ways, 2), ("shots", shots, 1)):
    if not lowest <= low <= high:
      raise ValueError(f"{name} must go from {lowest} or more to as many or more, but they go from {low} to {high}.")
  if queries < 1:
    raise ValueError(f"a task needs at least 1 query of each class, but queries={queries}.")
  largest = int(sizes.max())
  if ways[0] > largest or not one_group and ways[1] > largest:
    kind = "classes that the largest group has" if one_group else "classes there are"
    raise ValueError(f"ways from {ways[0]} to {ways[1]} are more than the {largest} {kind}; ask for fewer.")
  smallest = int(np.argmin(source.counts))
  if shots[1] + queries > source.counts[smallest]:
    raise ValueError(f"up to {shots[1]} shots plus queries={queries} is more than the {source.counts[smallest]} "
                     f"examples of class {source.names[smallest]!r}; ask for fewer together.")
