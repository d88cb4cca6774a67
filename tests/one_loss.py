"""A user's program that imports one loss: mypy checks it strictly (setup.cfg), test_ergonomics.py runs it."""

import jax
import jax.numpy as jnp

from metajax import contrast
from metajax.contrast import distances

Params = dict[str, jax.Array]


def features(params: Params, inputs: jax.Array) -> jax.Array:
  """Returns the features `[N, D]` of inputs `[N, I]`."""
  return jnp.tanh(inputs @ params["weights"])


def loss(params: Params, support: jax.Array, query: jax.Array) -> jax.Array:
  """Returns ConML's loss of class means, for `[T, C, N, I]` examples of C classes in each of T tasks."""

  def means(examples: jax.Array) -> jax.Array:
    return features(params, examples).mean(axis=-2)

  full = means(jnp.concatenate([support, query], axis=2))
  gap: jax.Array = contrast.contrastive_loss(full, means(support)[:, None], distances.cosine)
  own = jnp.square(features(params, query) - means(support)[:, :, None]).mean()
  return own + 0.1 * gap


def main() -> tuple[float, Params]:
  """Returns the loss and its gradient on three tasks of two classes."""
  keys = jax.random.split(jax.random.key(0), 3)
  params = {"weights": jax.random.normal(keys[0], (4, 3))}
  support, query = (jax.random.normal(key, (3, 2, 5, 4)) for key in keys[1:])
  value, gradient = jax.jit(jax.value_and_grad(loss))(params, support, query)
  return float(value), gradient
