"""Examples that stay on the host, for more than the device can hold: fetched by the compiled step, or read before it.

In the data of a task distribution, `HostExamples` stands where an array would, and is indexed like one. Which rows a
task will ask for can be told without reading any (`rows_asked`), and the task be made of what was read (`from_read`).
"""

from typing import Any, Callable, Iterator
import zlib

import jax
import jax.numpy as jnp
import numpy as np

from metajax.types import Array, Episode, PRNGKey, PyTree

Sample = Callable[[PyTree, PRNGKey], Episode]  # that of a task distribution

_CHECKED = 10_000  # rows; all of what a memory map holds would take minutes


def fits_device(num_bytes: int, share: float = 0.5) -> bool:
  """Returns whether so many bytes take at most a share of the device's memory; True where that is not known."""
  stats = jax.local_devices()[0].memory_stats()
  return not stats or "bytes_limit" not in stats or num_bytes <= share * stats["bytes_limit"]


class Stored:
  """An array `[n, ...]` of the host, perhaps a memory map, that is the same to JAX as itself alone."""

  def __init__(self, array: np.ndarray):
    self.array = array

  def read(self, rows: np.ndarray) -> np.ndarray:
    """Returns the rows `[...]` as `[..., ...]`."""
    return np.ascontiguousarray(self.array[np.asarray(rows)])


@jax.tree_util.register_pytree_node_class
class HostExamples:
  """What a compiled program indexes in the place of an array: it asks the host, once for all tasks it is mapped over.

  Its one leaf is a checksum of up to 10,000 rows of the array, evenly spaced, by which other data are told apart.
  """

  def __init__(self, array: np.ndarray):
    some = np.ascontiguousarray(array[::-(-len(array) // _CHECKED) or 1])
    self.stored, self.checksum = Stored(array), np.uint32(zlib.crc32(some.data, len(array)))

  def __getitem__(self, rows: Array) -> Array:
    array = self.stored.array
    shape = jax.ShapeDtypeStruct((*rows.shape, *array.shape[1:]), array.dtype)
    return jax.pure_callback(self.stored.read, shape, rows, vmap_method="broadcast_all")

  def tree_flatten(self) -> tuple[tuple[Any], Stored]:
    """Returns the leaf, and what a program is compiled for."""
    return (self.checksum,), self.stored

  @classmethod
  def tree_unflatten(cls, stored: Stored, leaves: tuple[Any]) -> "HostExamples":
    """The inverse of `tree_flatten`."""
    new = object.__new__(cls)
    new.stored, (new.checksum,) = stored, leaves
    return new


class _Asked:
  """In the place of examples: notes the rows that are asked for, and answers with zeros."""

  def __init__(self, stored: Stored, asked: list[Array]):
    self._array, self._asked = stored.array, asked

  def __getitem__(self, rows: Array) -> Array:
    self._asked.append(rows)
    return jnp.zeros((*rows.shape, *self._array.shape[1:]), self._array.dtype)


class _Read:
  """In the place of examples: hands out what was read, in the order in which it was asked for."""

  def __init__(self, blocks: Iterator[Array]):
    self._blocks = blocks

  def __getitem__(self, rows: Array) -> Array:
    return next(self._blocks)


class _Withheld:
  """In the place of examples: nothing may be asked for."""

  def __getitem__(self, rows: Array) -> Array:
    raise ValueError("tasks that are chosen by their examples, as by diverse, cannot be read ahead; let each step "
                     "fetch its own.")


def stores(data: PyTree) -> list[Stored]:
  """Returns what stays on the host of the data of a task distribution; none where all of it is on the device."""
  return [leaf.stored for leaf in jax.tree.leaves(data, is_leaf=_is_host) if _is_host(leaf)]


def rows_asked(sample: Sample, data: PyTree, key: PRNGKey) -> tuple[Array, ...]:
  """Returns the rows that one task reads of the one array its data leave on the host, by order of asking.

  Raises:
    ValueError: unless there is one such array.
    jax.errors.UnexpectedTracerError: if a task is one of several that are drawn at once, as by `hardest_of`.
  """
  asked: list[Array] = []
  sample(_in_place(data, lambda stored: _Asked(stored, asked)), key)
  return tuple(asked)


def from_read(sample: Sample, data: PyTree, key: PRNGKey, blocks: tuple[Array, ...]) -> Episode:
  """Returns the task of a key, made of what was read of the rows that it asks for; errors as in `rows_asked`."""
  left = iter(blocks)
  return sample(_in_place(data, lambda stored: _Read(left)), key)


def without_examples(data: PyTree) -> PyTree:
  """Returns the data, in which to index the examples is a ValueError; errors as in `rows_asked`."""
  return _in_place(data, lambda stored: _Withheld())


def _in_place(data: PyTree, other: Any) -> PyTree:
  if len(stores(data)) != 1:
    raise ValueError(f"tasks can be read ahead if one array of their data stays on the host, but {len(stores(data))} "
                     "do; make them with on_host=True.")
  return jax.tree.map(lambda leaf: other(leaf.stored) if _is_host(leaf) else leaf, data, is_leaf=_is_host)


def _is_host(leaf: Any) -> bool:
  return isinstance(leaf, HostExamples)
