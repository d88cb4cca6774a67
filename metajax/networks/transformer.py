"""A decoder transformer over tokens with given positions and attention mask, for in-context learning.

GPT-2's blocks (pre-layer-norm, GELU, learned positions), a linear read-in and read-out; no dropout. `L` tokens.
Sizes as in Garg et al., 2022, https://arxiv.org/abs/2208.01066: tiny (3 layers, 2 heads, width 64), small (6, 4, 128),
standard (12, 8, 256).
"""

from flax import linen as nn
import jax
import jax.numpy as jnp

from metajax.types import SequenceNetwork

SIZES = {"tiny": (3, 2, 64), "small": (6, 4, 128), "standard": (12, 8, 256)}


class Block(nn.Module):
  """Attention and a two-layer network, each with a residual connection."""
  heads: int

  @nn.compact
  def __call__(self, x, attends):
    length, width = x.shape
    size = width // self.heads
    normed = _norm(x.dtype)(x)
    query, key, value = jnp.split(_dense(3 * width, x.dtype)(normed), 3, axis=-1)
    split = lambda y: y.reshape(length, self.heads, size).transpose(1, 0, 2)
    scores = split(query) @ split(key).transpose(0, 2, 1) / size**0.5
    scores = jnp.where(attends[None], scores, jnp.full((), -1e9, scores.dtype))
    mixed = (jax.nn.softmax(scores, axis=-1) @ split(value)).transpose(1, 0, 2).reshape(length, width)
    x = x + _dense(width, x.dtype)(mixed)
    hidden = nn.gelu(_dense(4 * width, x.dtype)(_norm(x.dtype)(x)))
    return x + _dense(width, x.dtype)(hidden)


class Transformer(nn.Module):
  """Blocks between a linear read-in and a linear read-out."""
  layers: int
  heads: int
  width: int
  max_tokens: int
  num_outputs: int

  @nn.compact
  def __call__(self, tokens, positions, attends):
    table = self.param("positions", _init(), (self.max_tokens, self.width), tokens.dtype)
    # Positions out of range give NaN; plain indexing would clamp them to the last one.
    embedded = table.at[positions].get(mode="fill", fill_value=jnp.nan)
    x = _dense(self.width, tokens.dtype, nn.linear.default_kernel_init)(tokens) + embedded
    for _ in range(self.layers):
      x = Block(self.heads)(x, attends)
    return _dense(self.num_outputs, x.dtype, nn.linear.default_kernel_init)(_norm(x.dtype)(x))


def transformer(num_outputs: int, *, max_tokens: int, layers: int, heads: int, width: int) -> SequenceNetwork:
  """Returns a decoder transformer; see `SIZES` for common `(layers, heads, width)`.

  Args:
    num_outputs: outputs per token.
    max_tokens: the number of learned positions; a prompt of N examples and a query needs `2 N + 1`.
    layers, heads, width: the size of the transformer.

  Raises:
    ValueError: if `heads` does not divide `width`; from `init`, if there are more tokens than positions.
  """
  if width % heads:
    raise ValueError(f"the heads of a transformer must divide its width, but {heads} does not divide {width}; change "
                     "one of them.")
  module = Transformer(layers, heads, width, max_tokens, num_outputs)

  def init(key, tokens):
    length = tokens.shape[0]
    if length > max_tokens:
      raise ValueError(f"a transformer needs a position for each token, but it is given {length} tokens and "
                       f"max_tokens={max_tokens}; give it fewer tokens or a larger max_tokens.")
    with jax.numpy_dtype_promotion("standard"):  # flax's layer norm promotes dtypes internally
      return module.init(key, tokens, jnp.zeros(length, jnp.int32), jnp.ones((length, length), bool))["params"]

  def apply(params, tokens, positions, attends):
    with jax.numpy_dtype_promotion("standard"):
      return module.apply({"params": params}, tokens, positions, attends)

  return SequenceNetwork(init, apply, max_tokens)


def _init():
  return nn.initializers.normal(0.02)


# Parameters and arithmetic both have the dtype of the tokens.
def _dense(features, dtype, kernel_init=None):
  return nn.Dense(features, dtype=dtype, param_dtype=dtype, kernel_init=kernel_init or _init())


def _norm(dtype):
  return nn.LayerNorm(dtype=dtype, param_dtype=dtype)
