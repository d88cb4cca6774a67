"""Tasks from grouped rows, one task per group (patient, assay, shop), for regression or classification.

Groups differ in size, so query sets are padded and masked. Everything is drawn inside the compiled step.
"""

from typing import Callable, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metajax.checks import check_integers
from metajax.examples import examples
from metajax.tasks.classes import choose
from metajax.types import Array, Episode, PyTree, TaskDistribution

_SHUFFLED = 8  # all rows of a group are shuffled unless it has more than this times the rows of a task


class GroupData(NamedTuple):
  """Rows on the host, sorted by group; group `g` has the rows `[counts[:g].sum(), counts[:g + 1].sum())`."""
  inputs: PyTree  # arrays [n, ...]
  targets: np.ndarray  # [n] int32, classes with the same meaning in all groups, or [n, outputs] float32
  counts: np.ndarray  # [groups] int32
  names: tuple[str, ...]  # one per group
  source: str  # a sentence: where the data was read from, for logs and results


class GroupArrays(NamedTuple):
  """The same on the device."""
  inputs: PyTree
  targets: Array
  starts: Array
  counts: Array
  strata: PyTree = ()  # of large groups: rows sorted by class within groups [n], and each class's start and size there


def group_tasks(source: GroupData, *, shots: int, queries: int, stratified: bool = False,
                prepare: Callable[[PyTree], Array] | None = None, in_turn: bool = False) -> TaskDistribution:
  """Returns the distribution whose tasks are the groups, with equal probability.

  Args:
    source: the rows.
    shots: rows in the support set, over all classes.
    queries: maximum rows in the query set. A smaller group uses all its remaining rows, and the rest is padding.
    stratified: for classification: keep the class proportions of the group in both sets, up to rounding.
    prepare: maps stored inputs `[N, ...]` to network inputs; by default they are not changed.
    in_turn: test episodes cycle through the groups, so that each is used equally often; their rows are drawn each time.

  Raises:
    ValueError: if a set would be empty, a group has too few rows, or stratified targets are real.
  """
  check_integers(shots=shots, queries=queries)
  if shots < 1 or queries < 1:
    raise ValueError(f"a task needs at least 1 support and 1 query row, but got shots={shots}, queries={queries}.")
  smallest = int(np.argmin(source.counts))
  if source.counts[smallest] < shots + 1:
    raise ValueError(f"shots={shots} leave no row for a query in group {source.names[smallest]!r}, which has "
                     f"{source.counts[smallest]}; give fewer, or drop small groups (metajax.tasks.groups.at_least).")
  if stratified and source.targets.dtype.kind not in "iu":
    raise ValueError("only classes can be stratified, but the targets are real numbers; give stratified=False.")
  largest = int(source.counts.max())
  total = min(shots + queries, largest)
  large = largest > _SHUFFLED * total
  classes = int(source.targets.max()) + 1 if stratified else 1
  starts = np.concatenate([[0], np.cumsum(source.counts)[:-1]]).astype(np.int32)
  strata = _strata(source, classes) if large and stratified else ()
  data = GroupArrays(*jax.tree.map(jnp.asarray, (source.inputs, source.targets, starts,
                                                 source.counts.astype(np.int32), strata)))

  def order(key, labels, valid):
    """Returns the indices of the group's rows in random order, classes interleaved if stratified, padding last."""
    ranks = jax.random.uniform(key, valid.shape)
    if stratified:
      members = (labels[None, :] == jnp.arange(classes, dtype=labels.dtype)[:, None]) & valid[None, :]
      # The i-th drawn of a class's m rows gets the rank (i + 1/2) / m: each class is spread evenly over the order.
      at = jnp.argsort(jnp.argsort(jnp.where(members, ranks[None, :], 2.0), axis=1), axis=1)
      sizes = jnp.maximum(jnp.sum(members, axis=1, keepdims=True), 1).astype(jnp.float32)
      spread = jnp.sum(jnp.where(members, (at.astype(jnp.float32) + 0.5) / sizes, 0.0), axis=0)
      ranks = spread + 1e-4 * ranks  # ties between classes are broken at random
    return jnp.argsort(jnp.where(valid, ranks, 3.0))

  def sample(data, key):
    key_group, key_rows = jax.random.split(key)
    return draw(data, jax.random.randint(key_group, (), 0, len(source.counts)), key_rows)

  def listed(data, key, index):
    return draw(data, index % len(source.counts), key)

  def shuffled(data, group, key):
    """Returns rows `[total]` and which of them there are, from a random order of all rows of the group."""
    indices = jnp.arange(largest, dtype=jnp.int32)
    valid = indices < data.counts[group]
    rows = data.starts[group] + jnp.where(valid, indices, 0)
    chosen = order(key, data.targets[rows] if stratified else None, valid)[:total]
    return rows[chosen], valid[chosen]

  def chosen(data, group, key):
    """Returns the same in another order, at a cost that does not grow with the group."""
    valid = jnp.arange(total, dtype=jnp.int32) < data.counts[group]
    if not stratified:
      return data.starts[group] + jnp.where(valid, choose(key, data.counts[group], total), 0), valid
    by_class, class_starts, class_counts = data.strata
    key_rows, key_ties = jax.random.split(key)
    sizes = class_counts[group][:, None]
    places = jax.vmap(choose, (0, 0, None))(jax.random.split(key_rows, classes), sizes[:, 0], total)
    at = jnp.broadcast_to(jnp.arange(total, dtype=jnp.int32), (classes, total))
    # As in `order`: the i-th drawn of a class's m rows has the rank (i + 1/2) / m.
    spread = (at.astype(jnp.float32) + 0.5) / jnp.maximum(sizes, 1).astype(jnp.float32)
    ranks = jnp.where(at < sizes, spread + 1e-4 * jax.random.uniform(key_ties, at.shape), 3.0)
    first = jnp.argsort(ranks.ravel())[:total]
    rows = by_class[class_starts[group][:, None] + jnp.where(at < sizes, places, 0)]
    return jnp.where(valid, rows.ravel()[first], data.starts[group]), valid

  def draw(data, group, key_rows):
    taken, there = (chosen if large else shuffled)(data, group, key_rows)
    inputs = jax.tree.map(lambda leaf: leaf[taken], data.inputs)
    if prepare is not None:
      inputs = prepare(inputs)
    whole = examples(inputs, data.targets[taken], there)
    part = lambda where: jax.tree.map(lambda leaf: leaf[where], whole)
    return Episode(part(slice(None, shots)), part(slice(shots, None)))

  return TaskDistribution(sample, data, listed=listed if in_turn else None)


def _strata(source: GroupData, classes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Rows sorted by group and class `[n]`; the start and the number of each class of each group `[groups, classes]`."""
  group = np.repeat(np.arange(len(source.counts)), source.counts)
  counts = np.zeros((len(source.counts), classes), np.int32)
  np.add.at(counts, (group, source.targets), 1)
  starts = (np.cumsum(counts) - counts.ravel()).reshape(counts.shape)
  # A class that is not in a group may start beyond the last row.
  return (np.lexsort((source.targets, group)).astype(np.int32),
          np.minimum(starts, len(group) - 1).astype(np.int32), counts)


def at_least(source: GroupData, rows: int) -> GroupData:
  """Returns the groups with at least `rows` rows; `source` notes how many were left out.

  Raises:
    ValueError: if there is no such group.
  """
  kept = source.counts >= rows
  if not kept.any():
    raise ValueError(f"no group has {rows} rows; the largest has {int(source.counts.max())}. Give fewer shots.")
  if kept.all():
    return source
  kept_rows = np.repeat(kept, source.counts)
  return GroupData(jax.tree.map(lambda leaf: leaf[kept_rows], source.inputs), source.targets[kept_rows],
                   source.counts[kept], tuple(name for name, keep in zip(source.names, kept) if keep),
                   f"{source.source} {int((~kept).sum())} groups with fewer than {rows} rows are left out.")


def by_group(inputs: np.ndarray, targets: np.ndarray, groups: np.ndarray, source: str) -> GroupData:
  """Returns the rows sorted by group, in their original order within a group.

  Args:
    inputs: `[n, features]`.
    targets: `[n]` integers or `[n, outputs]` reals.
    groups: `[n]`, the name of each row's group.
    source: a sentence on where the data comes from, shown with results.
  """
  names, numbers, counts = np.unique(groups, return_inverse=True, return_counts=True)
  rows = np.argsort(numbers, kind="stable")
  return GroupData(inputs[rows], targets[rows], counts.astype(np.int32), tuple(map(str, names)), source)
