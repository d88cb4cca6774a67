"""Max-pooling and ReLU with correct gradients under every transformation.

Max-pooling by `reshape(...).max(...)` has wrong gradients under `jit` at some shapes, without a warning.
"""

import jax
from jax import lax
import jax.numpy as jnp

from metajax.types import Array


def max_pool(images: Array, direction: Array | None = None) -> Array:
  """Returns the largest entry of each 2x2 block, `[N, H // 2, W // 2, C]`; an odd last row or column is left out.

  A comparison selects the entry, and the block's gradient goes only to it (among equal entries, to the first in
  column order). Nothing is recomputed that could round differently.

  Args:
    images: `[N, H, W, C]`.
    direction: `[1, 1, 1, C]`, or a shape that broadcasts: the entry with the largest product with it is selected. This
      is the smallest entry where it is negative, and the first where it is zero. It has no gradient.
  """
  return _pool(images, jnp.ones((1, 1, 1, 1), images.dtype) if direction is None else lax.stop_gradient(direction))


@jax.custom_jvp
def _pool(images: Array, direction: Array) -> Array:
  return largest(images, direction)[0]


@_pool.defjvp
def _pool_derivative(primals, tangents):
  # The transpose of the slices in `largest` would write each gradient four times, into arrays that are mostly zeros;
  # the transpose of a selection among the four is one pass.
  outputs, images = _pool(*primals), tangents[0]
  _, place = largest(*primals)
  count, height, width, channels = outputs.shape
  blocks = images[:, :2 * height, :2 * width].reshape(count, height, 2, width, 2, channels)
  return outputs, jnp.sum(jnp.where(_chosen(place), blocks, jnp.zeros_like(blocks)), axis=(2, 4))


def largest(images: Array, direction: Array) -> tuple[Array, Array]:
  """Returns the entries of 2x2 blocks that are largest along the direction, and their indices in column order.

  Blocks are of the second and third axis, `[..., H, W, ...]` to `[..., H // 2, W // 2, ...]`; see `max_pool`.
  """
  height, width = (size // 2 * 2 for size in images.shape[1:3])
  entries = [(images[:, row:height:2, column:width:2], jnp.uint8(row + 2 * column))
             for column in range(2) for row in range(2)]

  def larger(a, b):
    second = b[0] * direction > a[0] * direction
    return jnp.where(second, b[0], a[0]), jnp.where(second, b[1], a[1])

  return larger(larger(*entries[:2]), larger(*entries[2:]))


def unpooled(values: Array, places: Array, size: tuple[int, int]) -> Array:
  """Returns the values at their indices (from `largest`) in blocks of height and width `size`, zeros elsewhere."""
  first, height, width, last = values.shape
  blocks = jnp.where(_chosen(places), values.reshape(first, height, 1, width, 1, last), jnp.zeros((), values.dtype))
  more = [(0, 0), (0, size[0] - 2 * height), (0, size[1] - 2 * width), (0, 0)]  # the odd row or column
  return jnp.pad(blocks.reshape(first, 2 * height, 2 * width, last), more)


def _chosen(places: Array) -> Array:
  """Returns which entries of blocks were selected, `[..., H, 2, W, 2, ...]`."""
  first, height, width, last = places.shape
  every = jnp.arange(4, dtype=places.dtype).reshape(2, 2).T.reshape(1, 1, 2, 1, 2, 1)
  return places.reshape(first, height, 1, width, 1, last) == every


def relu(x: Array) -> Array:
  """Returns `max(x, 0)`, with gradient zero at zero."""
  return jax.nn.relu(x)
