"""Examples that stay on the host and are gathered from there by the compiled step: for more than the device can hold.
"""

from typing import Callable

import jax
import numpy as np

from metajax.types import Array


def fits_device(num_bytes: int, share: float = 0.5) -> bool:
  """Returns whether so many bytes take at most a share of the device's memory; True where that is not known."""
  stats = jax.local_devices()[0].memory_stats()
  return not stats or "bytes_limit" not in stats or num_bytes <= share * stats["bytes_limit"]


def host_gather(examples: np.ndarray) -> Callable[[Array], Array]:
  """Returns `rows [...] -> examples [..., ...]`, to be called in a compiled program.

  Mapped over tasks it asks the host once for all of them. The array, `[n, ...]`, may be a memory map.
  """

  def fetch(rows):
    return np.ascontiguousarray(examples[np.asarray(rows)])

  def gather(rows: Array) -> Array:
    shape = jax.ShapeDtypeStruct((*rows.shape, *examples.shape[1:]), examples.dtype)
    return jax.pure_callback(fetch, shape, rows, vmap_method="broadcast_all")

  return gather
