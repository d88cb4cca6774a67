"""In-context learning: a task is learned by being read; the task model is the prompt.

The prompt is `x1, y1, x2, y2, ...`; a prediction is read at an x token. Garg et al., 2022,
https://arxiv.org/abs/2208.01066. psi is the output at a dummy input `u` after the prompt, drawn from N(0, I) and the
same for all tasks and views of a meta-batch (Wu et al., 2025, section 4.2).
"""

from typing import Callable

import jax
import jax.numpy as jnp

from metajax.learners.class_means import one_hot
from metajax.learners.padding import ignore_padding
from metajax.types import Array, Examples, Learner, Network, Params, PRNGKey, SequenceNetwork


def read(network: SequenceNetwork, params: Params, inputs: Array, targets: Array, mask: Array, queries: Array,
         seen: Array | None = None) -> tuple[Array, Array]:
  """Returns what the network predicts along a prompt, and for queries after it or after its beginning.

  Args:
    network: over tokens of the inputs' width.
    params: its parameters.
    inputs: `[N, d]`, the prompt's.
    targets: `[N, m]` with `m <= d`; a y token is the target, filled up with zeros.
    mask: `[N]`; examples masked out are neither seen nor counted as places.
    queries: `[Q, d]`; each sees the prompt and itself, none sees another.
    seen: `[Q]` integers, how many of the prompt's examples each query sees and stands after; None is all of them. A
      token of the prompt sees only what came before, so a query after `n` examples is answered as if there were no
      more.

  Returns:
    Outputs `[N, m]` at the prompt's x tokens, each of which sees the examples before it, and `[Q, m]` at the queries.

  Raises:
    ValueError: if the prompt, padding included, and the queries after it take more places than the network has.
  """
  count, width = inputs.shape
  # All queries stand at one place, the one after the prompt.
  needed = 2 * count + min(queries.shape[0], 1)
  if network.max_tokens is not None and needed > network.max_tokens:
    raise ValueError(f"a prompt of {count} examples with {queries.shape[0]} queries after it takes {needed} places, "
                     f"but the network has max_tokens={network.max_tokens}; give it a larger max_tokens or fewer "
                     "examples.")
  padded = jnp.pad(targets, ((0, 0), (0, width - targets.shape[1])))
  prompt = jnp.stack([inputs, padded], axis=1).reshape(2 * count, width)
  used = mask.astype(jnp.int32)
  before = jnp.cumsum(used, dtype=jnp.int32) - used
  seen = jnp.broadcast_to(jnp.sum(used, dtype=jnp.int32), queries.shape[:1]) if seen is None else seen.astype(jnp.int32)
  places = jnp.concatenate([jnp.stack([2 * before, 2 * before + 1], axis=1).reshape(-1), 2 * seen])
  order = jnp.arange(2 * count)
  earlier = (order[:, None] >= order[None, :]) & jnp.repeat(mask, 2)[None, :]
  after = jnp.repeat(mask[None, :] & (before[None, :] < seen[:, None]), 2, axis=1)
  # Every token sees itself, padding too: a row that saw nothing would have no softmax.
  own = jnp.eye(2 * count + queries.shape[0], dtype=bool)
  sight = own | jnp.pad(jnp.concatenate([earlier, after]), ((0, 0), (0, queries.shape[0])))
  outputs = network.apply(params, jnp.concatenate([prompt, queries]), places, sight)
  return outputs[:2 * count:2], outputs[2 * count:]


def in_context(network: SequenceNetwork, *, num_classes: int | None = None, encoder: Network | None = None,
               dummy: Callable[[PRNGKey, tuple[int, ...]], Array] = jax.random.normal) -> Learner:
  """Returns the in-context learner.

  Args:
    network: over tokens of width `d`, with as many outputs as a target has.
    num_classes: `C <= d` for integer targets `[N]`, which become one-hot y tokens; None for targets `[N, m]`.
    encoder: inputs to the features `[N, d]` that are read, once per example; None reads flat inputs `[N, d]` as they
      are.
    dummy: draws `u` of the given shape, like the inputs that are read.
  """

  def init(key, inputs):
    if encoder is None:
      return network.init(key, inputs)
    key_network, key_encoder = jax.random.split(key)
    weights = encoder.init(key_encoder, inputs)
    mask = jnp.ones(jax.tree.leaves(inputs)[0].shape[:1], bool)
    return {"network": network.init(key_network, encoder.apply(weights, inputs, mask)), "encoder": weights}

  def embed(params, inputs, mask):
    return inputs if encoder is None else encoder.apply(params["encoder"], inputs, mask)

  def reader(params):
    return params if encoder is None else params["network"]

  def adapt(params, examples: Examples, key):
    del params, key  # nothing is computed: the model is what was read
    targets = examples.targets if num_classes is None else one_hot(examples, num_classes, examples.inputs.dtype)
    return examples._replace(targets=targets)

  def predict(params, prompt: Examples, inputs, mask):
    del mask
    return read(network, reader(params), prompt.inputs, prompt.targets, prompt.mask, inputs)[1]

  def represent(params, prompt: Examples, key):
    u = dummy(key, prompt.inputs.shape[1:]).astype(prompt.inputs.dtype)
    return read(network, reader(params), prompt.inputs, prompt.targets, prompt.mask, u[None])[1][0]

  return ignore_padding(Learner(init, embed, adapt, predict, represent))
