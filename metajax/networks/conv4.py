"""The four-layer convolutional network of few-shot learning.

Four blocks of 3x3 convolution, normalisation, ReLU and downsampling by 2. ProtoNet's network flattens the final
activations and has no head (Snell et al., 2017); MAML's network for Omniglot downsamples by strided convolution,
averages over space, and has a linear head (Finn et al., 2017).
"""

import functools

from flax import linen as nn
import jax.numpy as jnp

from metajax.kernels import examples_last
from metajax.kernels.convolution import convolve
from metajax.kernels.platform import per_platform
from metajax.kernels.pooling import max_pool as pool
from metajax.kernels.pooling import relu
from metajax.networks import mixture, normalisation
from metajax.networks.linen import from_linen
from metajax.networks.weights import Weights, check_weights
from metajax.types import Array, Network


class Conv4(nn.Module):
  """Images `[N, H, W, channels]`, or mixtures of two, to outputs `[N, num_outputs]` or, without a head, features."""
  filters: int
  num_outputs: int | None
  normalise: normalisation.Normalise
  max_pool: bool
  average: bool
  weights: Weights

  @nn.compact
  def __call__(self, inputs, mask, train=False):
    x, channels, dtype = inputs, mixture.first(inputs).shape[-1], mixture.first(inputs).dtype
    vector = lambda name, start: self.param(name, start, (1, 1, 1, self.filters), dtype)
    for layer in range(4):
      kernel = self.param(f"kernel{layer}", nn.initializers.glorot_uniform(), (3, 3, channels, self.filters), dtype)
      scale = None if self.normalise is normalisation.none else vector(f"scale{layer}", nn.initializers.ones)
      bias, channels = vector(f"bias{layer}", nn.initializers.zeros), self.filters
      normalise = self._normalise(layer, train, dtype)
      x = mixture.through(x, layer, functools.partial(self._block, mask, kernel, scale, bias, normalise))
    x = mixture.mixed(x, 4)
    x = jnp.mean(x, axis=(1, 2)) if self.average else x.reshape(x.shape[0], -1)
    return x if self.num_outputs is None else nn.Dense(self.num_outputs, param_dtype=x.dtype)(x)

  def _normalise(self, layer, train, dtype):
    """Returns how a layer normalises in training or in tests."""
    if not isinstance(self.normalise, normalisation.running_averages):
      return self.normalise
    mean, variance = (self.variable("averages", f"{name}{layer}", start, (1, 1, 1, self.filters), dtype)
                      for name, start in (("mean", jnp.zeros), ("variance", jnp.ones)))
    if not train:
      kept = mean.value, variance.value
      return lambda x, mask, values: normalisation.by(values, *(each.astype(x.dtype) for each in kept))
    keep = self.normalise.momentum

    def by_batch(x, mask, values):
      found = normalisation.statistics(x, mask)
      for average, new in zip((mean, variance), found):
        average.value = keep * average.value + (1 - keep) * new.astype(average.value.dtype)
      return normalisation.by(values, *found)

    return by_batch

  def _block(self, mask, kernel, scale, bias, normalise, x):
    if not self.max_pool:
      return block(convolve(x, kernel, 2), mask, normalise, scale, bias, False)
    if self.weights == "shared" and normalise is normalisation.batch_statistics:
      whole = per_platform(_pooled_block, cpu=functools.partial(examples_last.block, epsilon=normalisation.EPSILON))
      return whole(x, mask, kernel, scale, bias)
    return block(convolve(x, kernel), mask, normalise, scale, bias, True)


def block(x: Array, mask: Array, normalise: normalisation.Normalise, scale: Array | None, bias: Array, max_pool: bool
          ) -> Array:
  """Returns a block's convolution outputs after normalisation, scale, bias, ReLU and, optionally, pooling.

  All of these but the pooling are monotone in `x` in each channel of an example, increasing or decreasing by the sign
  of the scale. So pooling first gives the same function, with the rest computed on a quarter of the activations.

  Args:
    x: `[N, H, W, C]`.
    mask: `[N]`.
    normalise: as in `conv4`.
    scale, bias: `[1, 1, 1, C]`; the scale may be None, for no scaling.
    max_pool: whether to halve height and width.
  """
  kept = pool(x, None if scale is None else jnp.sign(scale)) if max_pool else x
  kept = normalise(x, mask, kept)
  return relu((kept if scale is None else kept * scale) + bias)


def _pooled_block(x: Array, mask: Array, kernel: Array, scale: Array, bias: Array) -> Array:
  return block(convolve(x, kernel), mask, normalisation.batch_statistics, scale, bias, True)


def conv4(num_outputs: int | None = None, *, filters: int = 64,
          normalise: normalisation.Normalise = normalisation.batch_statistics, max_pool: bool = True,
          average: bool = False, weights: Weights = "per_task") -> Network:
  """Returns a Conv4.

  Args:
    num_outputs: units of the linear head; None omits the head and returns the features.
    filters: channels of each block, commonly 64 or 32.
    normalise: `normalisation.batch_statistics`, `normalisation.running_averages()`, `normalisation.group(n)` or
      `normalisation.none`.
    max_pool: downsample by 2x2 max-pooling; otherwise by convolutions with stride 2.
    average: average the last activations over space instead of flattening them.
    weights: "per_task" if a learner adapts them (always correct), "shared" if all tasks share them, as in metric-based
      learners (faster on CPU, but without forward-mode derivatives).

  Raises:
    ValueError: for other `weights`.
  """
  check_weights(weights)
  network = from_linen(Conv4(filters, num_outputs, normalise, max_pool, average, weights),
                       independent=normalisation.independent(normalise))
  averages = isinstance(normalise, normalisation.running_averages)
  return network if averages else network._replace(in_training=None)
