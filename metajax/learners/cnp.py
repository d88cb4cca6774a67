"""Conditional neural processes: the task model is one vector, the mean of the encoded examples.

Garnelo et al., 2018, https://arxiv.org/abs/1807.01613, eqs. 3-5, with a deterministic output. psi is that vector.
"""

import jax
import jax.numpy as jnp

from metajax.learners.class_means import one_hot
from metajax.learners.identity import identity_embed, identity_represent
from metajax.learners.in_training import trains_its_networks
from metajax.learners.padding import ignore_padding
from metajax.types import Examples, Learner, Network


@trains_its_networks
def cnp(encoder: Network, decoder: Network, *, num_outputs: int = 1, num_classes: int | None = None) -> Learner:
  """Returns the conditional-neural-process learner, on flat inputs `[N, features]`.

  Args:
    encoder: concatenated input and target `[N, features + outputs]` to `[N, D]`.
    decoder: concatenated task vector and input `[Q, D + features]` to outputs.
    num_outputs: width of the targets `[N, num_outputs]`, for regression.
    num_classes: `C`, for integer targets `[N]` instead, which are encoded one-hot.
  """

  def pairs(examples: Examples):
    targets = examples.targets if num_classes is None else one_hot(examples, num_classes, examples.inputs.dtype)
    return jnp.concatenate([examples.inputs, targets], axis=1)

  def init(key, inputs):
    key_encoder, key_decoder = jax.random.split(key)
    mask = jnp.ones(inputs.shape[:1], bool)
    targets = jnp.zeros((inputs.shape[0], num_classes or num_outputs), inputs.dtype)
    joined = jnp.concatenate([inputs, targets], axis=1)
    weights = encoder.init(key_encoder, joined)
    vectors = encoder.apply(weights, joined, mask)
    return {"encoder": weights, "decoder": decoder.init(key_decoder, jnp.concatenate([vectors, inputs], axis=1))}

  def adapt(params, examples, key):
    del key
    vectors = encoder.apply(params["encoder"], pairs(examples), examples.mask)
    kept = jnp.where(examples.mask[:, None], vectors, jnp.zeros_like(vectors))
    return jnp.sum(kept, axis=0) / jnp.maximum(jnp.sum(examples.mask), 1).astype(vectors.dtype)

  def predict(params, vector, inputs, mask):
    known = jnp.broadcast_to(vector[None, :], (inputs.shape[0], vector.shape[0]))
    return decoder.apply(params["decoder"], jnp.concatenate([known, inputs], axis=1), mask)

  return ignore_padding(Learner(init, identity_embed, adapt, predict, identity_represent))
