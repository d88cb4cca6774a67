"""Convolution and pooling in the forms that XLA computes right, and fast enough, under every transformation.

Meta-learning asks more of a convolution than training does: weights that differ from task to task (`vmap`), gradients
of gradients, all inside loops. On CPU `vmap(lax.conv)` is then an order of magnitude slower than patches times a
matrix; and max-pooling by `reshape(...).max(...)` gives wrong gradients under `jit` at some shapes, silently.

Layout: images `[N, H, W, I]`, kernels `[3, 3, I, O]`, padding of one pixel, stride 1 or 2.
"""

import functools

import jax
from jax import lax
import jax.numpy as jnp

from metajax.types import Array

_FEW = 4  # input channels
_PART, _PARTS = 16, 8  # images at a time, at least, and parts, at most: each is compiled by itself


def patches(images: Array, kernel: Array, stride: int = 1) -> Array:
  """Convolves by gathering 3x3 patches and multiplying by one matrix: for weights that differ from task to task."""
  return jnp.concatenate(shifted(images, stride), axis=-1) @ kernel.reshape(-1, kernel.shape[-1])


def shifted(images: Array, stride: int) -> list[Array]:
  """Returns what each of a kernel's nine taps meets, `[N, H, W, I]` each at stride 1."""
  height, width = (stride * (-(-size // stride) - 1) + 1 for size in images.shape[1:3])
  padded = jnp.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
  return [padded[:, i:i + height:stride, j:j + width:stride] for i in range(3) for j in range(3)]


def moved(x: Array, axis: int, by: int) -> Array:
  """Returns the array with its entries moved along an axis, zeros moving in."""
  return lax.pad(x, jnp.zeros((), x.dtype), [(by, -by, 0) if axis == i else (0, 0, 0) for i in range(x.ndim)])


def library(images: Array, kernel: Array, stride: int = 1) -> Array:
  """Convolves by `lax.conv_general_dilated`: for weights that all tasks share, and for accelerators."""
  return lax.conv_general_dilated(images, kernel, (stride, stride), ((1, 1), (1, 1)),
                                  dimension_numbers=("NHWC", "HWIO", "NHWC"))


def shared(images: Array, kernel: Array, stride: int = 1) -> Array:
  """Convolves by `patches` where few channels come in (three times faster there on CPU), by `library` elsewhere.

  On CPU the kernel's gradient is the sum of gradients over a few images each: XLA:CPU's own form of it takes up to
  four times as long, the longer the more images there are.
  """
  return _shared(images, kernel, stride)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def _shared(images: Array, kernel: Array, stride: int) -> Array:
  return (patches if kernel.shape[2] <= _FEW else library)(images, kernel, stride)


@functools.partial(_shared.defjvp, symbolic_zeros=True)
def _shared_derivative(stride, primals, tangents):
  (images, kernel), (to_images, to_kernel) = primals, tangents
  fixed = [type(tangent) is jax.custom_derivatives.SymbolicZero for tangent in tangents]
  outputs = _shared(images, kernel, stride)
  terms = [] if fixed[0] else [_shared(to_images, kernel, stride)]
  terms += [] if fixed[1] else [_in_parts(images, to_kernel, stride)]
  return outputs, sum(terms) if terms else jnp.zeros_like(outputs)


def _in_parts(images: Array, kernel: Array, stride: int) -> Array:
  """Convolves a few images at a time, in a form whose transpose, the gradient with respect to the kernel, is fast."""
  # Accelerators have kernels for the whole; and parts in bfloat16 would be summed in bfloat16.
  if jax.default_backend() != "cpu" or images.dtype == jnp.bfloat16:
    return _shared(images, kernel, stride)
  size = max(_PART, -(-len(images) // _PARTS))
  convolve = _columns if kernel.shape[2] <= _FEW else library
  return jnp.concatenate([convolve(images[start:start + size], kernel, stride)
                          for start in range(0, len(images), size)])


def _columns(images: Array, kernel: Array, stride: int) -> Array:
  """Convolves by `patches` laid out in columns: the transpose is a product of two matrices as they lie in memory."""
  shape = len(images), *(-(-size // stride) for size in images.shape[1:3]), kernel.shape[3]
  return lax.dot_general(_in_columns(images, stride), kernel.reshape(-1, kernel.shape[3]),
                         (((0,), (0,)), ((), ()))).reshape(shape)


def _in_columns(images: Array, stride: int) -> Array:
  """Returns what the taps meet, `[9 I, N H W]` at stride 1."""
  return jnp.concatenate([jnp.moveaxis(part, -1, 0).reshape(images.shape[3], -1) for part in shifted(images, stride)])


def looped(images: Array, kernel: Array, stride: int = 1) -> Array:
  """Convolves as `shared`, for tasks that are mapped in a loop (`objectives.in_chunks`); no forward-mode derivative.

  XLA:CPU has one layout of a convolution that it computes fast, and turns others into it outside of loops only. The
  gradients here are written in that layout, and as products of matrices.
  """
  return _looped(images, kernel, stride)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _looped(images: Array, kernel: Array, stride: int) -> Array:
  return _shared(images, kernel, stride)


def _looped_forward(images, kernel, stride):
  return _looped(images, kernel, stride), (images, kernel)


def _looped_backward(stride, residuals, cotangent):
  images, kernel = residuals
  channels, filters = kernel.shape[2:]
  # Each output met nine inputs; each input is met by the outputs around it, in the opposite order.
  padding = [(1, size - stride * (outputs - 1)) for size, outputs in zip(images.shape[1:3], cotangent.shape[1:3])]
  to_images = lax.conv_general_dilated(
      cotangent, jnp.flip(kernel, (0, 1)).swapaxes(2, 3), (1, 1), padding, lhs_dilation=(stride, stride),
      dimension_numbers=("NHWC", "HWIO", "NHWC"))
  flat = cotangent.reshape(-1, filters)
  if channels <= _FEW:
    to_kernel = _in_columns(images, stride) @ flat
  else:  # tap by tap: all patches at once would be nine times the images
    to_kernel = jnp.stack([lax.dot_general(part.reshape(-1, channels), flat, (((0,), (0,)), ((), ())))
                           for part in shifted(images, stride)])
  return to_images, to_kernel.reshape(kernel.shape)


_looped.defvjp(_looped_forward, _looped_backward)


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
  # Kept together: XLA would choose the largest anew, from four times the numbers, for each thing that is done with it.
  return lax.optimization_barrier(largest(images, direction)[0])


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
