"""Convolution by 3x3 kernels whose weights may differ between tasks.

On CPU a vmapped `lax.conv` is an order of magnitude slower than matrix products of gathered pixels. Gathering all nine
pixels of an output makes nine copies of the images, which take longer to write than to multiply. Here only the pixels
under a kernel's three columns are gathered before the product; the contributions of its three rows are added after it.
Gradients of any order are products of the same kind. Other platforms use `lax.conv`.

Images are `[N, H, W, I]`, kernels `[3, 3, I, O]`, outputs `[N, H, W, O]` at stride 1, half of that at stride 2.
"""

from dataclasses import dataclass
import functools

from jax import lax
import jax.numpy as jnp

from metajax.kernels.family import product
from metajax.types import Array

# For each stride, one entry per residue of the row index (stride 1: all rows; stride 2: even rows, odd rows): the
# kernel rows that read such image rows, each with the offset of the output row it contributes to. Columns likewise.
_TAPS = {1: (((0, 1), (1, 0), (2, -1)),),
         2: (((1, 0),), ((2, 0), (0, 1)))}


def convolve(images: Array, kernel: Array, stride: int = 1) -> Array:
  """Convolves with padding of one pixel, at stride 1 or 2, for shared weights as well as per-task weights."""
  return product(_Convolution(stride, images.shape[1:3]), images, kernel)


@dataclass(frozen=True)
class _Convolution:
  """Images of one size, convolved at one stride."""
  stride: int
  size: tuple[int, ...]  # of an image: height, width

  def plain(self, images: Array, kernel: Array) -> Array:
    return lax.conv_general_dilated(images, kernel, (self.stride, self.stride), ((1, 1), (1, 1)),
                                    dimension_numbers=("NHWC", "HWIO", "NHWC"))

  def outputs(self, images: Array, kernel: Array) -> Array:
    channels, filters = kernel.shape[2:]
    if are_few(channels, filters):
      return jnp.concatenate(shifted(images, self.stride), axis=-1) @ kernel.reshape(-1, filters)
    outputs = []
    for pixels, matrix, taps in zip(_gathered(images, self.stride), _matrices(kernel, self.stride), _TAPS[self.stride]):
      by_tap = jnp.split(pixels @ matrix, len(taps), axis=-1)
      outputs += [moved(part, 1, move) for part, (_, move) in zip(by_tap, taps)]
    return functools.reduce(jnp.add, outputs)

  def weights(self, images: Array, outputs: Array) -> Array:
    channels, filters = images.shape[-1], outputs.shape[-1]
    if are_few(channels, filters):
      kernel = _flat(jnp.concatenate(shifted(images, self.stride), axis=-1)).T @ _flat(outputs)
      return kernel.reshape(3, 3, channels, filters)
    of_tap: dict[int, Array] = {}
    for pixels, given, taps in zip(_gathered(images, self.stride), _given(outputs, self.stride), _TAPS[self.stride]):
      parts = jnp.split(_flat(pixels).T @ _flat(given), len(taps), axis=-1)
      of_tap |= {tap: part.reshape(3, channels, filters) for (tap, _), part in zip(taps, parts)}
    return jnp.stack([of_tap[tap] for tap in range(3)])

  def inputs(self, outputs: Array, kernel: Array) -> Array:
    rows = []
    for given, matrix in zip(_given(outputs, self.stride), _matrices(kernel, self.stride)):
      by_column = jnp.split(given @ matrix.T, 3, axis=-1)
      columns = [functools.reduce(jnp.add, [moved(by_column[tap], 2, -move) for tap, move in taps])
                 for taps in _TAPS[self.stride]]
      rows.append(jnp.stack(columns, axis=3))
    every = jnp.stack(rows, axis=2)  # [N, rows, stride, columns, stride, I]
    height, width = every.shape[1] * self.stride, every.shape[3] * self.stride
    return every.reshape(len(outputs), height, width, -1)[:, :self.size[0], :self.size[1]]


def are_few(channels: int, filters: int) -> bool:
  """Returns whether nine copies of the images are smaller than three of them and three of the outputs."""
  return 2 * channels <= filters


def _gathered(images: Array, stride: int) -> list[Array]:
  """Returns, for each residue, the pixels under the kernel's three columns, `[N, H, W, 3 I]` at stride 1."""
  height, width = (-(-size // stride) for size in images.shape[1:3])
  last = stride * (width - 1)
  padded = jnp.pad(images, ((0, 0), (0, stride * height - images.shape[1]), (1, last + 2 - images.shape[2]), (0, 0)))
  return [jnp.concatenate([padded[:, row::stride, j:j + last + 1:stride] for j in range(3)], axis=-1)
          for row in range(stride)]


def _given(outputs: Array, stride: int) -> list[Array]:
  """Returns, for each residue, the outputs that its rows contribute to, side by side in the order of `_TAPS`."""
  return [jnp.concatenate([moved(outputs, 1, -move) for _, move in taps], axis=-1) for taps in _TAPS[stride]]


def _matrices(kernel: Array, stride: int) -> list[Array]:
  """Returns, for each residue, the matrix `[3 I, taps O]` from gathered pixels to contributions."""
  return [jnp.concatenate([kernel[tap].reshape(-1, kernel.shape[3]) for tap, _ in taps], axis=-1)
          for taps in _TAPS[stride]]


def _flat(x: Array) -> Array:
  return x.reshape(-1, x.shape[-1])


def shifted(images: Array, stride: int) -> list[Array]:
  """Returns the pixels under each of a kernel's nine taps, `[N, H, W, I]` each at stride 1."""
  height, width = (stride * (-(-size // stride) - 1) + 1 for size in images.shape[1:3])
  padded = jnp.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
  return [padded[:, i:i + height:stride, j:j + width:stride] for i in range(3) for j in range(3)]


def moved(x: Array, axis: int, by: int) -> Array:
  """Returns the array with its entries moved along an axis, zeros moving in."""
  return lax.pad(x, jnp.zeros((), x.dtype), [(by, -by, 0) if axis == i else (0, 0, 0) for i in range(x.ndim)])
