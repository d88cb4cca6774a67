"""Few-shot classification tasks from labelled examples that stay on the device.

A task is a few classes (ways) in random order. Its support set has a few examples of each class (shots), its query set
a few others. Everything is drawn and gathered inside the compiled step. Vinyals et al., Matching Networks, 2016.
"""

from typing import Callable, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metajax.checks import check_integers
from metajax.examples import examples
from metajax.tasks.class_data import ClassData
from metajax.tasks.host import HostExamples
from metajax.types import Array, Episode, PRNGKey, TaskDistribution


class ClassArrays(NamedTuple):
  """A labelled data set on the device, sorted by class."""
  examples: Array | HostExamples  # [n, ...] as stored, uint8 for images
  starts: Array  # [classes] int32, the first row of each class
  counts: Array  # [classes] int32, the number of rows of each class


def class_tasks(source: ClassData, *, ways: int, shots: int, queries: int, rotations: bool = False,
                one_turn: bool = False, prepare: Callable[[Array], Array] | None = None, on_host: bool = False,
                unequal: bool = False) -> TaskDistribution:
  """Returns the distribution of `ways`-way `shots`-shot tasks with `queries` queries per class.

  An episode's inputs are `[ways * shots, ...]` and `[ways * queries, ...]`, sorted by class. Its targets are integers
  in [0, ways).

  Args:
    source: the labelled examples; they are copied to the device as stored.
    ways, shots, queries: at least 2, 1 and 1.
    rotations: add each class rotated by 90, 180 and 270 degrees as three more classes (images `[H, H, channels]`).
    one_turn: with rotations, rotate all classes of a task by the same angle. Otherwise, as usual, classes are drawn
      from all rotations, and a task may hold one class at two angles.
    prepare: maps stored examples to network inputs; by default uint8 in [0, 255] becomes float32 in [0, 1].
    on_host: leave the examples on the host, for data that does not fit on the device. The episodes are the same; their
      examples are fetched by each step, or read ahead (`training.pipeline`).
    unequal: a class with fewer examples than shots and queries has fewer queries, and the rest is padding; otherwise
      such a class is an error.

  Raises:
    ValueError: if there are more ways than classes, or more shots and queries than the smallest class has examples; if
      `unequal`, more shots than leave it one query.
  """
  if one_turn and not rotations:
    raise ValueError("one_turn rotates the classes of a task by the same angle and needs rotations=True.")
  num_classes = len(source.counts) * (4 if rotations and not one_turn else 1)
  _check(source, num_classes, ways, shots, min(queries, 1) if unequal else queries, rotations)
  check_integers(queries=queries)
  padded = int(np.min(source.counts)) < shots + queries
  prepare = unit_range if prepare is None else prepare

  def sample(data, key):
    key_classes, key_rows = jax.random.split(key)
    if one_turn:
      key_turn, key_classes = jax.random.split(key_classes)
      classes = choose(key_classes, jnp.int32(num_classes), ways)
      turns = jnp.broadcast_to(jax.random.randint(key_turn, (), 0, 4), (ways,))
    else:
      turns, classes = jnp.divmod(choose(key_classes, jnp.int32(num_classes), ways), len(source.counts))
    keys = jax.random.split(key_rows, ways)
    rows = jax.vmap(choose, in_axes=(0, 0, None))(keys, data.counts[classes], shots + queries)
    there = jnp.arange(shots + queries, dtype=jnp.int32)[None, :] < data.counts[classes][:, None] if padded else None
    rows = data.starts[classes][:, None] + (rows if there is None else jnp.where(there, rows, 0))
    images = prepare(data.examples[rows])
    if rotations:
      images = jax.vmap(_turn)(images, turns)
    labels = jnp.broadcast_to(jnp.arange(ways)[:, None], rows.shape)
    flat = lambda array: array.reshape(-1, *array.shape[2:])
    return Episode(examples(flat(images[:, :shots]), flat(labels[:, :shots])),
                   examples(flat(images[:, shots:]), flat(labels[:, shots:]),
                            None if there is None else flat(there[:, shots:])))

  return TaskDistribution(sample, class_arrays(source, on_host))


def class_arrays(source: ClassData, on_host: bool = False) -> ClassArrays:
  """Returns a labelled data set on the device; with `on_host`, its examples stay on the host.

  Examples that are already on the device are not copied.
  """
  starts = np.concatenate([[0], np.cumsum(source.counts)[:-1]]).astype(np.int32)
  stored = HostExamples(source.examples) if on_host else jnp.asarray(source.examples)
  return ClassArrays(stored, jnp.asarray(starts), jnp.asarray(source.counts.astype(np.int32)))


def choose(key: PRNGKey, population: Array, num: int) -> Array:
  """Returns `[num]` distinct integers in [0, population), uniformly at random and in random order.

  The work depends only on `num`, and `population` may be traced. If it is less than `num`, only the first `population`
  entries are valid.
  """

  def draw(chosen, index_and_key):
    index, key = index_and_key
    rank = jax.random.randint(key, (), 0, jnp.maximum(population - index, 1))
    # The integer of this rank among those not yet chosen: skip each smaller integer that is taken. With the taken
    # integers sorted, the j-th is skipped if and only if it is at most rank + j.
    taken = jnp.sort(jnp.where(jnp.arange(num) < index, chosen, jnp.iinfo(jnp.int32).max))
    value = rank + jnp.sum(taken - jnp.arange(num, dtype=jnp.int32) <= rank, dtype=jnp.int32)
    return chosen.at[index].set(value), None

  steps = jnp.arange(num, dtype=jnp.int32), jax.random.split(key, num)
  return jax.lax.scan(draw, jnp.zeros(num, jnp.int32), steps)[0]


def unit_range(stored: Array) -> Array:
  """Returns uint8 in [0, 255] as float32 in [0, 1], and other types as float32."""
  return stored.astype(jnp.float32) / 255 if stored.dtype == jnp.uint8 else stored.astype(jnp.float32)


def _turn(images: Array, quarters: Array) -> Array:
  """Returns `images [M, H, H, channels]` rotated by a traced number of quarter turns."""
  turned = jnp.stack([jnp.rot90(images, quarter, axes=(1, 2)) for quarter in range(4)])
  return turned[quarters]


def _check(source: ClassData, num_classes: int, ways: int, shots: int, queries: int, rotations: bool) -> None:
  check_integers(ways=ways, shots=shots, queries=queries)
  if ways < 2 or shots < 1 or queries < 1:
    raise ValueError(f"a classification task needs at least 2 ways, 1 shot and 1 query, but got ways={ways}, "
                     f"shots={shots}, queries={queries}.")
  if ways > num_classes:
    raise ValueError(f"ways={ways} is more than the {num_classes} available classes; give {num_classes} or fewer.")
  smallest = int(np.min(source.counts))
  if shots + queries > smallest:
    name = source.names[int(np.argmin(source.counts))]
    raise ValueError(f"shots={shots} plus queries={queries} is {shots + queries}, more than the {smallest} examples "
                     f"of class {name!r}; give {smallest} or fewer together.")
  if rotations and (source.examples.ndim != 4 or source.examples.shape[1] != source.examples.shape[2]):
    raise ValueError("rotations need square images [n, H, H, channels], but the examples are "
                     f"{list(source.examples.shape)}.")
