"""Tasks from rows that come in groups: one task a group (a patient, an assay, a shop), regression or classification.

Groups differ in size, so a task's query set is padded and masked. Everything is drawn inside the compiled step.
"""

from typing import Callable, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metajax.checks import check_integers
from metajax.examples import examples
from metajax.types import Array, Episode, PyTree, TaskDistribution


class GroupData(NamedTuple):
  """Rows on the host, sorted by group; group `g` owns `[counts[:g].sum(), counts[:g + 1].sum())`."""
  inputs: PyTree  # arrays [n, ...]
  targets: np.ndarray  # [n] int32, classes that mean the same in all groups, or [n, outputs] float32
  counts: np.ndarray  # [groups] int32
  names: tuple[str, ...]  # one a group
  source: str  # a sentence: where it was read from, for logs and results


class GroupArrays(NamedTuple):
  """The same on the device."""
  inputs: PyTree
  targets: Array
  starts: Array
  counts: Array


def group_tasks(source: GroupData, *, shots: int, queries: int, stratified: bool = False,
                prepare: Callable[[PyTree], Array] | None = None, in_turn: bool = False) -> TaskDistribution:
  """Returns the distribution whose tasks are the groups, each as likely.

  Args:
    source: the rows.
    shots: rows in the support set, of all classes together.
    queries: the most rows in the query set; a smaller group gives all that it has left, the rest is padding.
    stratified: for classes: keep the group's shares of them in both sets, as nearly as whole rows can.
    prepare: from stored inputs `[N, ...]` to what the network takes; by default they stay as they are.
    in_turn: a test list takes the groups in turn, each as often as any other; its rows are drawn anew every time.

  Raises:
    ValueError: if a set would be empty, a group has too few rows, or real targets should be stratified.
  """
  check_integers(shots=shots, queries=queries)
  if shots < 1 or queries < 1:
    raise ValueError(f"a task needs at least 1 support and 1 query row, but got shots={shots}, queries={queries}.")
  smallest = int(np.argmin(source.counts))
  if source.counts[smallest] < shots + 1:
    raise ValueError(f"shots={shots} leave no row for a query in group {source.names[smallest]!r}, which has "
                     f"{source.counts[smallest]}; ask for fewer, or drop small groups (metajax.tasks.groups.at_least).")
  if stratified and source.targets.dtype.kind not in "iu":
    raise ValueError("only classes can be stratified, but the targets are real numbers; give stratified=False.")
  largest = int(source.counts.max())
  total = min(shots + queries, largest)
  classes = int(source.targets.max()) + 1 if stratified else 1
  starts = np.concatenate([[0], np.cumsum(source.counts)[:-1]]).astype(np.int32)
  data = GroupArrays(*jax.tree.map(jnp.asarray, (source.inputs, source.targets, starts,
                                                 source.counts.astype(np.int32))))

  def order(key, labels, there):
    """Places of the group's rows in random order, strata interleaved, what is not there last."""
    ranks = jax.random.uniform(key, there.shape)
    if stratified:
      members = (labels[None, :] == jnp.arange(classes, dtype=labels.dtype)[:, None]) & there[None, :]
      # Of a class with m rows, the i-th drawn stands at (i + 1/2) / m: each class is spread evenly over the order.
      at = jnp.argsort(jnp.argsort(jnp.where(members, ranks[None, :], 2.0), axis=1), axis=1)
      sizes = jnp.maximum(jnp.sum(members, axis=1, keepdims=True), 1).astype(jnp.float32)
      spread = jnp.sum(jnp.where(members, (at.astype(jnp.float32) + 0.5) / sizes, 0.0), axis=0)
      ranks = spread + 1e-4 * ranks  # and classes in the same place, by chance
    return jnp.argsort(jnp.where(there, ranks, 3.0))

  def sample(data, key):
    key_group, key_rows = jax.random.split(key)
    return draw(data, jax.random.randint(key_group, (), 0, len(source.counts)), key_rows)

  def listed(data, key, place):
    return draw(data, place % len(source.counts), key)

  def draw(data, group, key_rows):
    places = jnp.arange(largest, dtype=jnp.int32)
    there = places < data.counts[group]
    rows = data.starts[group] + jnp.where(there, places, 0)
    chosen = order(key_rows, data.targets[rows] if stratified else None, there)[:total]
    taken = rows[chosen]
    inputs = jax.tree.map(lambda leaf: leaf[taken], data.inputs)
    if prepare is not None:
      inputs = prepare(inputs)
    whole = examples(inputs, data.targets[taken], there[chosen])
    part = lambda where: jax.tree.map(lambda leaf: leaf[where], whole)
    return Episode(part(slice(None, shots)), part(slice(shots, None)))

  return TaskDistribution(sample, data, listed=listed if in_turn else None)


def at_least(source: GroupData, rows: int) -> GroupData:
  """Returns the groups that have at least so many rows, and says in `source` how many were left out.

  Raises:
    ValueError: if none has.
  """
  kept = source.counts >= rows
  if not kept.any():
    raise ValueError(f"no group has {rows} rows; the largest has {int(source.counts.max())}. Ask for fewer shots.")
  if kept.all():
    return source
  of_row = np.repeat(kept, source.counts)
  return GroupData(jax.tree.map(lambda leaf: leaf[of_row], source.inputs), source.targets[of_row],
                   source.counts[kept], tuple(name for name, keep in zip(source.names, kept) if keep),
                   f"{source.source} {int((~kept).sum())} groups with fewer than {rows} rows are left out.")


def by_group(inputs: np.ndarray, targets: np.ndarray, groups: np.ndarray, source: str) -> GroupData:
  """Returns rows sorted by group, those of a group in the order they came.

  Args:
    inputs: `[n, features]`.
    targets: `[n]` integers or `[n, outputs]` reals.
    groups: `[n]`, what names the group of each row.
    source: the sentence to say beside results.
  """
  names, numbers, counts = np.unique(groups, return_inverse=True, return_counts=True)
  rows = np.argsort(numbers, kind="stable")
  return GroupData(inputs[rows], targets[rows], counts.astype(np.int32), tuple(map(str, names)), source)
