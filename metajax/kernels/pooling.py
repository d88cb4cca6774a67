"""Pooling and rectification with the right gradients under every transformation.

Max-pooling by `reshape(...).max(...)` has wrong gradients under `jit` at some shapes, without a warning.
"""

import jax
from jax import lax
import jax.numpy as jnp

from metajax.types import Array


def max_pool(images: Array, direction: Array | None = None) -> Array:
  """Returns the largest entry of each 2x2 block, `[N, H // 2, W // 2, C]`; an odd last row or column is left out.

  A comparison decides which entry that is, and a block's gradient goes to it alone (of equal ones to the first, going
  down the columns): nothing is recomputed that could round differently.

  Args:
    images: `[N, H, W, C]`.
    direction: `[1, 1, 1, C]` or the like: take the entry whose product with it is largest, the smallest one where it is
      negative and the first where it is zero. It has no gradient.
  """
  return _pool(images, jnp.ones((1, 1, 1, 1), images.dtype) if direction is None else lax.stop_gradient(direction))


@jax.custom_jvp
def _pool(images: Array, direction: Array) -> Array:
  return largest(images, direction)[0]


@_pool.defjvp
def _pool_derivative(primals, tangents):
  # The transpose of the slices in `largest` would write each gradient into zeros that are mostly padding, four times;
  # that of a choice among the four is one pass.
  outputs, images = _pool(*primals), tangents[0]
  _, place = largest(*primals)
  count, height, width, channels = outputs.shape
  blocks = images[:, :2 * height, :2 * width].reshape(count, height, 2, width, 2, channels)
  return outputs, jnp.sum(jnp.where(_chosen(place), blocks, jnp.zeros_like(blocks)), axis=(2, 4))


def largest(images: Array, direction: Array) -> tuple[Array, Array]:
  """Returns the entries of 2x2 blocks that are largest along the direction, and their places, down the columns.

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
  """Returns the values at their places (`largest`) in blocks of height and width `size`, zeros elsewhere."""
  first, height, width, last = values.shape
  blocks = jnp.where(_chosen(places), values.reshape(first, height, 1, width, 1, last), jnp.zeros((), values.dtype))
  more = [(0, 0), (0, size[0] - 2 * height), (0, size[1] - 2 * width), (0, 0)]  # the odd row or column
  return jnp.pad(blocks.reshape(first, 2 * height, 2 * width, last), more)


def _chosen(places: Array) -> Array:
  """Returns which entries of blocks were chosen, `[..., H, 2, W, 2, ...]`."""
  first, height, width, last = places.shape
  every = jnp.arange(4, dtype=places.dtype).reshape(2, 2).T.reshape(1, 1, 2, 1, 2, 1)
  return places.reshape(first, height, 1, width, 1, last) == every


def relu(x: Array) -> Array:
  """Returns `max(x, 0)`, with gradient zero at zero."""
  return jax.nn.relu(x)
