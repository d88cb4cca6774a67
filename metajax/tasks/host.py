"""Examples that stay on the host because the device cannot hold them: fetched by the compiled step, or read ahead.

In the data of a task distribution, `HostExamples` replaces an array and is indexed like one. `rows_asked` finds out
which rows a task needs without reading any; `from_read` builds the task from the rows that were read.
"""

from typing import Any, Callable, Iterator
import zlib

import jax
import jax.numpy as jnp
import numpy as np

from metajax.types import Array, Episode, PRNGKey, PyTree

Sample = Callable[[PyTree, PRNGKey], Episode]  # `sample` of a task distribution

_CHECKED = 10_000  # rows in the checksum; all rows of a memory map would take minutes


def fits_device(num_bytes: int, share: float = 0.5) -> bool:
  """Returns whether `num_bytes` is at most the fraction `share` of the device's memory; True if its size is unknown."""
  stats = jax.local_devices()[0].memory_stats()
  return not stats or "bytes_limit" not in stats or num_bytes <= share * stats["bytes_limit"]


class Stored:
  """An array `[n, ...]` on the host, possibly a memory map, which JAX compares by identity."""

  def __init__(self, array: np.ndarray):
    self.array = array

  def read(self, rows: np.ndarray) -> np.ndarray:
    """Returns the given rows, with the axes of `rows` first."""
    return np.ascontiguousarray(self.array[np.asarray(rows)])


@jax.tree_util.register_pytree_node_class
class HostExamples:
  """An array on the host that a compiled program can index: one callback fetches the rows of all vmapped tasks.

  Its one leaf is a checksum of up to 10,000 evenly spaced rows of the array, which identifies the data.
  """

  def __init__(self, array: np.ndarray):
    some = np.ascontiguousarray(array[::-(-len(array) // _CHECKED) or 1])
    self.stored, self.checksum = Stored(array), np.uint32(zlib.crc32(some.data, len(array)))

  def __getitem__(self, rows: Array) -> Array:
    array = self.stored.array
    shape = jax.ShapeDtypeStruct((*rows.shape, *array.shape[1:]), array.dtype)
    return jax.pure_callback(self.stored.read, shape, rows, vmap_method="broadcast_all")

  def tree_flatten(self) -> tuple[tuple[Any], Stored]:
    """Returns the leaf, and the static part that programs are compiled for."""
    return (self.checksum,), self.stored

  @classmethod
  def tree_unflatten(cls, stored: Stored, leaves: tuple[Any]) -> "HostExamples":
    """The inverse of `tree_flatten`."""
    new = object.__new__(cls)
    new.stored, (new.checksum,) = stored, leaves
    return new


class _Asked:
  """Replaces examples: records the rows that are requested, and returns zeros."""

  def __init__(self, stored: Stored, asked: list[Array]):
    self._array, self._asked = stored.array, asked

  def __getitem__(self, rows: Array) -> Array:
    self._asked.append(rows)
    return jnp.zeros((*rows.shape, *self._array.shape[1:]), self._array.dtype)


class _Read:
  """Replaces examples: returns the blocks that were read, in the order of the requests."""

  def __init__(self, blocks: Iterator[Array]):
    self._blocks = blocks

  def __getitem__(self, rows: Array) -> Array:
    return next(self._blocks)


class _Withheld:
  """Replaces examples: any request is an error."""

  def __getitem__(self, rows: Array) -> Array:
    raise ValueError("tasks that are chosen by their examples, as by diverse, cannot be read ahead; let each "
                     "step fetch its own examples instead.")


def stores(data: PyTree) -> list[Stored]:
  """Returns the arrays of a task distribution's data that stay on the host, if any."""
  return [leaf.stored for leaf in jax.tree.leaves(data, is_leaf=_is_host) if _is_host(leaf)]


def rows_asked(sample: Sample, data: PyTree, key: PRNGKey) -> tuple[Array, ...]:
  """Returns the rows that one task reads of the only array on the host, in the order of the requests.

  Raises:
    ValueError: unless exactly one array stays on the host.
    jax.errors.UnexpectedTracerError: if a task is selected from several that are drawn at once, as by `hardest_of`.
  """
  asked: list[Array] = []
  sample(_replaced(data, lambda stored: _Asked(stored, asked)), key)
  return tuple(asked)


def from_read(sample: Sample, data: PyTree, key: PRNGKey, blocks: tuple[Array, ...]) -> Episode:
  """Returns the task of a key, built from the rows that were read for it; errors as in `rows_asked`."""
  left = iter(blocks)
  return sample(_replaced(data, lambda stored: _Read(left)), key)


def without_examples(data: PyTree) -> PyTree:
  """Returns the data with examples that raise ValueError when indexed; errors as in `rows_asked`."""
  return _replaced(data, lambda stored: _Withheld())


def _replaced(data: PyTree, other: Any) -> PyTree:
  if len(stores(data)) != 1:
    raise ValueError(f"tasks can be read ahead if one array of their data stays on the host, but {len(stores(data))} "
                     "do; build them with on_host=True.")
  return jax.tree.map(lambda leaf: other(leaf.stored) if _is_host(leaf) else leaf, data, is_leaf=_is_host)


def _is_host(leaf: Any) -> bool:
  return isinstance(leaf, HostExamples)
