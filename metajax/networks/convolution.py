"""Convolution and pooling in the forms that XLA computes right, and fast enough, under every transformation.

Meta-learning asks more of a convolution than training does: weights that differ from task to task (`vmap`), gradients
of gradients, all inside loops. On CPU `vmap(lax.conv)` is then an order of magnitude slower than patches times a
matrix; and max-pooling by `reshape(...).max(...)` gives wrong gradients under `jit` at some shapes, silently.

Layout: images `[N, H, W, I]`, kernels `[3, 3, I, O]`, padding of one pixel, stride 1 or 2.
"""

import jax
from jax import lax
import jax.numpy as jnp

from metajax.types import Array


def patches(images: Array, kernel: Array, stride: int = 1) -> Array:
  """Convolves by gathering 3x3 patches and multiplying by one matrix: for weights that differ from task to task."""
  height, width = (-(-size // stride) for size in images.shape[1:3])
  padded = jnp.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
  shifted = [padded[:, i:i + stride * (height - 1) + 1:stride, j:j + stride * (width - 1) + 1:stride]
             for i in range(3) for j in range(3)]
  columns = jnp.concatenate(shifted, axis=-1)
  return columns @ kernel.reshape(-1, kernel.shape[-1])


def library(images: Array, kernel: Array, stride: int = 1) -> Array:
  """Convolves by `lax.conv_general_dilated`: for weights that all tasks share, and for accelerators."""
  return lax.conv_general_dilated(images, kernel, (stride, stride), ((1, 1), (1, 1)),
                                  dimension_numbers=("NHWC", "HWIO", "NHWC"))


def shared(images: Array, kernel: Array, stride: int = 1) -> Array:
  """Convolves by `patches` where few channels come in (three times faster there on CPU), by `library` elsewhere."""
  return (patches if kernel.shape[2] <= 4 else library)(images, kernel, stride)


def max_pool(images: Array) -> Array:
  """Returns the maximum of each 2x2 block, `[N, H // 2, W // 2, C]`; an odd last row or column is left out.

  A comparison decides which entry a block's gradient goes to (the first of equal ones), and nothing is recomputed
  that could round differently.
  """
  height, width = (size // 2 * 2 for size in images.shape[1:3])
  rows = _larger(images[:, 0:height:2, :width], images[:, 1:height:2, :width])
  return _larger(rows[:, :, 0::2], rows[:, :, 1::2])


def _larger(a: Array, b: Array) -> Array:
  return jnp.where(b > a, b, a)


def relu(x: Array) -> Array:
  """Returns `max(x, 0)`, with gradient zero at zero."""
  return jax.nn.relu(x)
