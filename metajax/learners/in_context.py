"""In-context learning: the task model is the prompt that a sequence network reads.

The prompt is `x1, y1, x2, y2, ...`; a prediction is read off at an x token. Garg et al., 2022,
https://arxiv.org/abs/2208.01066. psi is the output at a dummy input `u` after the prompt, drawn from N(0, I) and the
same for all tasks and views of a meta-batch (Wu et al., 2025, section 4.2).
"""

from typing import Callable

import jax
import jax.numpy as jnp

from metajax.learners.class_means import one_hot
from metajax.learners.in_training import trains_its_networks
from metajax.learners.padding import ignore_padding
from metajax.types import Array, Examples, Learner, Network, Params, PRNGKey, SequenceNetwork


def read(network: SequenceNetwork, params: Params, inputs: Array, targets: Array, mask: Array, queries: Array,
         seen: Array | None = None) -> tuple[Array, Array]:
  """Returns the network's predictions along a prompt, and for queries that follow the prompt or a prefix of it.

  Args:
    network: a network over tokens of the inputs' width.
    params: its parameters.
    inputs: `[N, d]`, the inputs of the prompt.
    targets: `[N, m]` with `m <= d`; a y token is the target padded with zeros.
    mask: `[N]`; masked-out examples are not attended to and take no position.
    queries: `[Q, d]`; each attends to the prompt and to itself, but not to other queries.
    seen: `[Q]` integers, the number of prompt examples that each query attends to and follows; None means all. Prompt
      tokens attend only to earlier tokens, so a query after `n` examples is answered as if the prompt ended there.

  Returns:
    Outputs `[N, m]` at the prompt's x tokens, each of which attends to the examples before it, and `[Q, m]` at the
    queries.

  Raises:
    ValueError: if the prompt, padding included, and a query after it need more positions than the network has.
  """
  count, width = inputs.shape
  # All queries share one position, the one after the prompt.
  needed = 2 * count + (1 if queries.shape[0] != 0 else 0)
  if network.max_tokens is not None and needed > network.max_tokens:
    raise ValueError(f"a prompt of {count} examples with {queries.shape[0]} queries after it takes {needed} positions, "
                     f"but the network has max_tokens={network.max_tokens}; give it a larger max_tokens or fewer "
                     "examples.")
  padded = jnp.pad(targets, ((0, 0), (0, width - targets.shape[1])))
  prompt = jnp.stack([inputs, padded], axis=1).reshape(2 * count, width)
  used = mask.astype(jnp.int32)
  before = jnp.cumsum(used, dtype=jnp.int32) - used
  seen = jnp.broadcast_to(jnp.sum(used, dtype=jnp.int32), queries.shape[:1]) if seen is None else seen.astype(jnp.int32)
  positions = jnp.concatenate([jnp.stack([2 * before, 2 * before + 1], axis=1).reshape(-1), 2 * seen])
  order = jnp.arange(2 * count)
  earlier = (order[:, None] >= order[None, :]) & jnp.repeat(mask, 2)[None, :]
  after = jnp.repeat(mask[None, :] & (before[None, :] < seen[:, None]), 2, axis=1)
  # Every token attends to itself, padding too: the softmax of a fully masked row is undefined.
  own = jnp.eye(2 * count + queries.shape[0], dtype=bool)
  attends = own | jnp.pad(jnp.concatenate([earlier, after]), ((0, 0), (0, queries.shape[0])))
  outputs = network.apply(params, jnp.concatenate([prompt, queries]), positions, attends)
  return outputs[:2 * count:2], outputs[2 * count:]


@trains_its_networks
def in_context(network: SequenceNetwork, *, num_classes: int | None = None, encoder: Network | None = None,
               dummy: Callable[[PRNGKey, tuple[int, ...]], Array] = jax.random.normal) -> Learner:
  """Returns the in-context learner.

  Args:
    network: a network over tokens of width `d`, with one output per entry of a target.
    num_classes: `C <= d` for integer targets `[N]`, which become one-hot y tokens; None for targets `[N, m]`.
    encoder: maps inputs to the tokens `[N, d]`, once per example; None uses flat inputs `[N, d]` directly.
    dummy: draws the dummy input `u`, given a key and a shape.
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
    del params, key  # nothing is computed: the model is the prompt
    targets = examples.targets if num_classes is None else one_hot(examples, num_classes, examples.inputs.dtype)
    return examples._replace(targets=targets)

  def predict(params, prompt: Examples, inputs, mask):
    del mask
    return read(network, reader(params), prompt.inputs, prompt.targets, prompt.mask, inputs)[1]

  def represent(params, prompt: Examples, key):
    u = dummy(key, prompt.inputs.shape[1:]).astype(prompt.inputs.dtype)
    return read(network, reader(params), prompt.inputs, prompt.targets, prompt.mask, u[None])[1][0]

  return ignore_padding(Learner(init, embed, adapt, predict, represent))
