"""In-context learning: a task is learned by being read; the task model is the prompt.

The prompt is `x1, y1, x2, y2, ...`; a prediction is read at an x token. Garg et al., 2022,
https://arxiv.org/abs/2208.01066. psi is the output at a dummy input `u` after the prompt, drawn from N(0, I) and the
same for all tasks and views of a meta-batch (Wu et al., 2025, section 4.2).
"""

from typing import Callable

import jax
import jax.numpy as jnp

from metajax.learners.class_means import one_hot
from metajax.learners.identity import identity_embed
from metajax.types import Array, Examples, Learner, Params, PRNGKey, SequenceNetwork


def read(network: SequenceNetwork, params: Params, inputs: Array, targets: Array, mask: Array, queries: Array
         ) -> tuple[Array, Array]:
  """Returns what the network predicts along a prompt, and for queries after it.

  Args:
    network: over tokens of the inputs' width.
    params: its parameters.
    inputs: `[N, d]`, the prompt's.
    targets: `[N, m]` with `m <= d`; a y token is the target, filled up with zeros.
    mask: `[N]`; examples masked out are neither seen nor counted as places.
    queries: `[Q, d]`; each sees the prompt and itself, and stands in the same place.

  Returns:
    Outputs `[N, m]` at the prompt's x tokens, each of which sees the examples before it, and `[Q, m]` at the queries.
  """
  count, width = inputs.shape
  padded = jnp.pad(targets, ((0, 0), (0, width - targets.shape[1])))
  prompt = jnp.stack([inputs, padded], axis=1).reshape(2 * count, width)
  seen = jnp.repeat(mask, 2)
  before = jnp.cumsum(mask.astype(jnp.int32)) - mask.astype(jnp.int32)
  places = jnp.concatenate([jnp.stack([2 * before, 2 * before + 1], axis=1).reshape(-1),
                            jnp.broadcast_to(2 * jnp.sum(mask.astype(jnp.int32)), queries.shape[:1])])
  order = jnp.arange(2 * count)
  earlier = (order[:, None] >= order[None, :]) & seen[None, :]
  # Every token sees itself, padding too: a row that saw nothing would have no softmax.
  own = jnp.eye(2 * count + queries.shape[0], dtype=bool)
  after = jnp.broadcast_to(seen[None, :], (queries.shape[0], 2 * count))
  sight = own | jnp.pad(jnp.concatenate([earlier, after]), ((0, 0), (0, queries.shape[0])))
  outputs = network.apply(params, jnp.concatenate([prompt, queries]), places, sight)
  return outputs[:2 * count:2], outputs[2 * count:]


def in_context(network: SequenceNetwork, *, num_classes: int | None = None,
               dummy: Callable[[PRNGKey, tuple[int, ...]], Array] = jax.random.normal) -> Learner:
  """Returns the in-context learner, on flat inputs `[N, d]`.

  Args:
    network: over tokens of width `d`, with as many outputs as a target has.
    num_classes: `C <= d` for integer targets `[N]`, which become one-hot y tokens; None for targets `[N, m]`.
    dummy: draws `u` of the given shape, like the inputs.
  """

  def init(key, inputs):
    return network.init(key, inputs)

  def adapt(params, examples: Examples, key):
    del params, key  # nothing is computed: the model is what was read
    targets = examples.targets if num_classes is None else one_hot(examples, num_classes, examples.inputs.dtype)
    return examples._replace(targets=targets)

  def predict(params, prompt: Examples, inputs, mask):
    del mask
    return read(network, params, prompt.inputs, prompt.targets, prompt.mask, inputs)[1]

  def represent(params, prompt: Examples, key):
    u = dummy(key, prompt.inputs.shape[1:]).astype(prompt.inputs.dtype)
    return read(network, params, prompt.inputs, prompt.targets, prompt.mask, u[None])[1][0]

  return Learner(init, identity_embed, adapt, predict, represent)
