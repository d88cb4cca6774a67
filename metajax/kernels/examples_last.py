"""A block of convolution, max-pooling and batch normalisation, fast on CPU, for weights shared by all tasks.

Between blocks, images are stored as `[C, H, W, N]`, channels first and examples last. Shifting pixels then moves whole
rows of examples, products and their gradients read them without a copy, and sums over a channel run along memory.
Kernels are `[3, 3, I, O]`; strides are one.
"""

import functools

import jax
from jax import lax
import jax.numpy as jnp

from metajax.kernels import pooling
from metajax.kernels.convolution import are_few, moved
from metajax.types import Array


def block(images: Array, mask: Array, kernel: Array, scale: Array, bias: Array, *, epsilon: float) -> Array:
  """Returns the result of `conv4.block` for a convolution with max-pooling and batch statistics.

  Values and gradients of any order are equal up to rounding. Forward-mode derivatives (`jax.jvp`) raise an error. As by
  default in flax, the variance is the mean of squares minus the square of the mean. It loses all digits if a channel's
  mean is a thousand times its standard deviation.

  Args:
    images: `[N, H, W, I]`.
    mask: `[N]`; examples masked out are not counted in the statistics.
    kernel: `[3, 3, I, O]`.
    scale, bias: `[1, 1, 1, O]`.
    epsilon: added to the variance.

  Returns:
    `[N, H // 2, W // 2, O]`.
  """
  # This transpose and the one of the next block cancel.
  outputs = convolve(_turned(images), kernel)
  return _turned(pooled(outputs, mask, scale.reshape(-1), bias.reshape(-1), epsilon))


def convolve(images: Array, kernel: Array) -> Array:
  """Convolves images `[I, H, W, N]`, to `[O, H, W, N]`."""
  return _convolve(images, kernel)


def pooled(x: Array, mask: Array, scale: Array, bias: Array, epsilon: float) -> Array:
  """Pools `x [C, H, W, N]`, normalises it, scales and shifts it by `[C]` numbers, and applies ReLU, in few passes."""
  return _pooled(epsilon, x, mask, scale, bias)


# Three products, each the gradient of the other two. As in `gathered`, three columns are gathered before a product, and
# the contributions of three rows are added after it.


@jax.custom_vjp
def _convolve(images: Array, kernel: Array) -> Array:
  size, (channels, filters) = images.shape[1:], kernel.shape[2:]
  if are_few(channels, filters):
    return (kernel.reshape(-1, filters).T @ _flat(_nine(images))).reshape(filters, *size)
  matrix = kernel.transpose(0, 3, 1, 2).reshape(3 * filters, 3 * channels)
  return _sum_moved((matrix @ _flat(_three(images, 2, (1, 0, -1)))).reshape(3, filters, *size), 1, (1, 0, -1))


@jax.custom_vjp
def _to_kernel(images: Array, outputs: Array) -> Array:
  channels, filters = images.shape[0], outputs.shape[0]
  if are_few(channels, filters):
    return _with_transpose(outputs, _nine(images)).T.reshape(3, 3, channels, filters)  # the longer first: faster
  by_tap = _with_transpose(_three(outputs, 1, (-1, 0, 1)), _three(images, 2, (1, 0, -1)))
  return by_tap.reshape(3, filters, 3, channels).transpose(0, 2, 3, 1)


@jax.custom_vjp
def _to_images(outputs: Array, kernel: Array) -> Array:
  size, (channels, filters) = outputs.shape[1:], kernel.shape[2:]
  matrix = kernel.transpose(1, 2, 0, 3).reshape(3 * channels, 3 * filters)
  return _sum_moved((matrix @ _flat(_three(outputs, 1, (-1, 0, 1)))).reshape(3, channels, *size), 2, (-1, 0, 1))


_convolve.defvjp(lambda images, kernel: (_convolve(images, kernel), (images, kernel)),
                 lambda kept, c: (_to_images(c, kept[1]), _to_kernel(kept[0], c)))
_to_kernel.defvjp(lambda images, outputs: (_to_kernel(images, outputs), (images, outputs)),
                  lambda kept, c: (_to_images(kept[1], c), _convolve(kept[0], c)))
_to_images.defvjp(lambda outputs, kernel: (_to_images(outputs, kernel), (outputs, kernel)),
                  lambda kept, c: (_convolve(c, kept[1]), _to_kernel(c, kept[0])))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _pooled(epsilon: float, x: Array, mask: Array, scale: Array, bias: Array) -> Array:
  return _pooled_forward(epsilon, x, mask, scale, bias)[0]


def _pooled_forward(epsilon, x, mask, scale, bias):
  # All but the pooling is monotone in x, with the sign of the scale, so pooling can come first (see `conv4.block`).
  largest = pooling.largest(x, _column(jnp.sign(scale)))[0]
  wide = x.dtype if x.dtype.itemsize >= 4 else jnp.float32  # sums of many small numbers
  size = (jnp.maximum(jnp.sum(mask), 1) * (x.shape[1] * x.shape[2])).astype(wide)
  mean = _over_examples(x.astype(wide), mask) / size
  variance = jnp.maximum(_over_examples(jnp.square(x.astype(wide)), mask) / size - jnp.square(mean), 0)
  mean, rate = mean.astype(x.dtype), lax.rsqrt(variance + epsilon).astype(x.dtype)
  kept = x, mask, largest, scale, bias, mean, rate, size.astype(x.dtype)
  return pooling.relu(_affine(largest, scale, bias, mean, rate)), kept


def _pooled_backward(epsilon, kept, c):
  del epsilon
  x, mask, largest, scale, bias, mean, rate, size = kept
  passed = jnp.where(_affine(largest, scale, bias, mean, rate) > 0, c, jnp.zeros_like(c))
  # Both sums read arrays that are needed elsewhere anyway. With deviations from the mean instead, XLA would repeat the
  # pooling, which reads four times as many numbers, for each sum.
  to_bias = jnp.sum(passed, axis=(1, 2, 3))
  to_scale = (jnp.sum(passed * largest, axis=(1, 2, 3)) - mean * to_bias) * rate
  slope = scale * rate
  # The gradient through the statistics is linear in x, and the same for all unmasked examples.
  to_square, to_mean = -slope * rate * to_scale / size, -slope * to_bias / size
  of_statistics = x * _column(to_square) + _column(to_mean - to_square * mean)
  to_x = jnp.where(mask.reshape(1, 1, 1, -1), of_statistics, jnp.zeros_like(x))
  places = pooling.largest(x, _column(jnp.sign(scale)))[1]
  to_x += pooling.unpooled(passed * _column(slope), places, x.shape[1:3])
  # This always adds zero, but it makes XLA:CPU store the gradient, because the sum reads it. Otherwise XLA:CPU computes
  # the gradient inside each product, pixel by pixel of a flattened array, which took three times as long.
  to_bias += (jnp.sum(to_x, axis=(1, 2, 3)) > jnp.inf).astype(to_bias.dtype)
  return to_x, None, to_scale, to_bias


_pooled.defvjp(_pooled_forward, _pooled_backward)


def _affine(x: Array, scale: Array, bias: Array, mean: Array, rate: Array) -> Array:
  slope = scale * rate
  return x * _column(slope) + _column(bias - slope * mean)


def _over_examples(x: Array, mask: Array) -> Array:
  """Returns the sum `[C]` over all axes but the channels, of the unmasked examples."""
  per_example = jnp.sum(x, axis=(1, 2))  # first, so that the mask applies to [C, N] numbers
  return jnp.sum(jnp.where(mask[None, :], per_example, jnp.zeros_like(per_example)), axis=1)


def _three(x: Array, axis: int, by: tuple[int, int, int]) -> Array:
  """Returns three shifted copies of the array along an axis, stacked."""
  return jnp.concatenate([moved(x, axis, step) if step else x for step in by])


def _sum_moved(parts: Array, axis: int, by: tuple[int, int, int]) -> Array:
  """Returns the sum of three arrays `[3, ...]`, each shifted differently along an axis."""
  return functools.reduce(jnp.add, [moved(part, axis, step) if step else part for part, step in zip(parts, by)])


def _nine(images: Array) -> Array:
  return _three(_three(images, 2, (1, 0, -1)), 1, (1, 0, -1))


def _with_transpose(a: Array, b: Array) -> Array:
  """Contracts all axes of two arrays but the first."""
  return lax.dot_general(_flat(a), _flat(b), (((1,), (1,)), ((), ())))


def _flat(x: Array) -> Array:
  return x.reshape(len(x), -1)


def _column(x: Array) -> Array:
  return x.reshape(-1, 1, 1, 1)


def _turned(images: Array) -> Array:
  return images.transpose(3, 1, 2, 0)
