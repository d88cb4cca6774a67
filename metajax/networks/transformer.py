"""A decoder transformer over tokens whose places and sight are given, as in-context learning needs.

GPT-2's blocks (layer norm first, GELU, learned positions), a linear read-in and read-out; no dropout. `L` tokens.
Sizes as in Garg et al., 2022, https://arxiv.org/abs/2208.01066: tiny (3 layers, 2 heads, width 64), small (6, 4, 128),
standard (12, 8, 256).
"""

from flax import linen as nn
import jax
import jax.numpy as jnp

from metajax.types import SequenceNetwork

SIZES = {"tiny": (3, 2, 64), "small": (6, 4, 128), "standard": (12, 8, 256)}


class Block(nn.Module):
  """Attention and a two-layer network, each added to what comes in."""
  heads: int

  @nn.compact
  def __call__(self, x, sight):
    length, width = x.shape
    size = width // self.heads
    normed = nn.LayerNorm(dtype=x.dtype)(x)
    query, key, value = jnp.split(nn.Dense(3 * width, dtype=x.dtype, kernel_init=_init())(normed), 3, axis=-1)
    split = lambda y: y.reshape(length, self.heads, size).transpose(1, 0, 2)
    scores = split(query) @ split(key).transpose(0, 2, 1) / size**0.5
    scores = jnp.where(sight[None], scores, jnp.full((), -1e9, scores.dtype))
    mixed = (jax.nn.softmax(scores, axis=-1) @ split(value)).transpose(1, 0, 2).reshape(length, width)
    x = x + nn.Dense(width, dtype=x.dtype, kernel_init=_init())(mixed)
    hidden = nn.gelu(nn.Dense(4 * width, dtype=x.dtype, kernel_init=_init())(nn.LayerNorm(dtype=x.dtype)(x)))
    return x + nn.Dense(width, dtype=x.dtype, kernel_init=_init())(hidden)


class Transformer(nn.Module):
  """Blocks between a linear read-in and a linear read-out."""
  layers: int
  heads: int
  width: int
  max_tokens: int
  num_outputs: int

  @nn.compact
  def __call__(self, tokens, places, sight):
    positions = self.param("positions", _init(), (self.max_tokens, self.width))
    # A place beyond the last has no position: NaN, where an index would have been clamped to the last one.
    at_places = positions.at[places].get(mode="fill", fill_value=jnp.nan)
    x = nn.Dense(self.width, dtype=tokens.dtype)(tokens) + at_places.astype(tokens.dtype)
    for _ in range(self.layers):
      x = Block(self.heads)(x, sight)
    return nn.Dense(self.num_outputs, dtype=x.dtype)(nn.LayerNorm(dtype=x.dtype)(x))


def transformer(num_outputs: int, *, max_tokens: int, layers: int, heads: int, width: int) -> SequenceNetwork:
  """Returns a decoder transformer; see `SIZES` for usual `(layers, heads, width)`.

  Args:
    num_outputs: of a token.
    max_tokens: the number of learned positions; a prompt of N examples and a query needs `2 N + 1`.
    layers, heads, width: its size.

  Raises:
    ValueError: if the heads do not divide the width; from `init`, if there are more tokens than positions.
  """
  if width % heads:
    raise ValueError(f"the heads of a transformer must divide its width, but {heads} does not divide {width}.")
  module = Transformer(layers, heads, width, max_tokens, num_outputs)

  def init(key, tokens):
    length = tokens.shape[0]
    if length > max_tokens:
      raise ValueError(f"a transformer has a position for each token, but it is given {length} tokens and "
                       f"max_tokens={max_tokens}; give it fewer tokens or a larger max_tokens.")
    with jax.numpy_dtype_promotion("standard"):  # flax's layer norm is not strict within
      return module.init(key, tokens, jnp.zeros(length, jnp.int32), jnp.ones((length, length), bool))["params"]

  def apply(params, tokens, places, sight):
    with jax.numpy_dtype_promotion("standard"):
      return module.apply({"params": params}, tokens, places, sight)

  return SequenceNetwork(init, apply, max_tokens)


def _init():
  return nn.initializers.normal(0.02)
