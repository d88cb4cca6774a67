"""Matching networks: a query takes the labels of similar support examples.

`p(y | x) = sum_i softmax_i(cosine(x, x_i)) y_i`. Vinyals et al., 2016, https://arxiv.org/abs/1606.04080, eqs. 1-2; with
full-context embeddings, section 2.1.2 and appendix A. psi is the class means in label order (Wu et al., 2025, Table 1).
"""

from typing import NamedTuple

from flax import linen as nn
import jax
import jax.numpy as jnp

from metajax.learners.class_means import check_num_classes, class_means, one_hot
from metajax.learners.in_training import trains_its_networks
from metajax.learners.padding import ignore_padding
from metajax.types import Array, Examples, Learner, Network


class Memory(NamedTuple):
  """The task model of a matching network: the support set."""
  features: Array  # [N, D]
  labels: Array  # [N, C], zero in rows of padding
  mask: Array  # [N]
  means: Array  # [C, D]


class FullContext(nn.Module):
  """Embeddings in the context of the support set: `g` by a bidirectional LSTM over it, `f` by attention to it."""
  size: int
  reads: int  # attention steps per query
  dtype: jnp.dtype

  def setup(self):
    self.forward = nn.RNN(nn.OptimizedLSTMCell(self.size, dtype=self.dtype), return_carry=False)
    self.backward = nn.RNN(nn.OptimizedLSTMCell(self.size, dtype=self.dtype), reverse=True, keep_order=True)
    self.reader = nn.OptimizedLSTMCell(self.size, dtype=self.dtype)

  def encode(self, features: Array, mask: Array) -> Array:
    """Returns `g` of each support example `[N, D]`; padding is sorted last and not read by the LSTM."""
    order = jnp.argsort(~mask, stable=True)
    lengths = jnp.sum(mask)[None]
    ordered = features[order][None]
    start = jnp.zeros_like(ordered[:, 0]), jnp.zeros_like(ordered[:, 0])
    read = sum(run(ordered, seq_lengths=lengths, initial_carry=start)[0] for run in (self.forward, self.backward))
    encoded = features.at[order].add(read)
    return jnp.where(mask[:, None], encoded, jnp.zeros_like(encoded))

  def attend(self, query: Array, features: Array, mask: Array) -> Array:
    """Returns `f` of queries `[Q, D]` against encoded support features `[N, D]`."""
    carry = jnp.zeros_like(query), jnp.zeros_like(query)
    state = query
    for _ in range(self.reads):
      carry, hidden = self.reader(carry, query)
      state = hidden + query
      scores = jnp.where(mask[None, :], state @ features.T, jnp.full((), -1e9, state.dtype))
      read = jax.nn.softmax(scores, axis=1) @ features
      carry = (carry[0], state + read)
    return state

  def __call__(self, features, mask):
    return self.attend(features, self.encode(features, mask), mask)


def predict(memory: Memory, features: Array, temperature: float) -> Array:
  """Returns log probabilities `[Q, C]` in nats, given the queries' features `[Q, D]`."""
  similarity = _unit(features) @ _unit(memory.features).T / temperature
  similarity = jnp.where(memory.mask[None, :], similarity, jnp.full((), -1e9, similarity.dtype))
  probabilities = jax.nn.softmax(similarity, axis=1) @ memory.labels
  # A class without support examples has probability zero; a bounded logarithm keeps gradients finite.
  return jnp.log(probabilities + 1e-6)


@trains_its_networks
def matchingnet(network: Network, *, num_classes: int, temperature: float = 0.1, full_context: int = 0) -> Learner:
  """Returns the matching-network learner.

  Args:
    network: inputs to features `[N, D]`, shared by all tasks.
    num_classes: `C`, the maximum number of classes in a task.
    temperature: temperature of the attention over cosine similarities; 1 in the paper, smaller learns faster.
    full_context: attention steps of the full-context embeddings, which depend on the order of the support set; 0
      disables them.

  Raises:
    ValueError: for fewer than 2 classes, a temperature that is not positive, or a negative number of steps.
  """
  check_num_classes(num_classes)
  if temperature <= 0 or full_context < 0:
    raise ValueError("a matching network needs a positive temperature and full_context of 0 or more, but got "
                     f"{temperature} and {full_context}.")

  def context(features):
    return FullContext(features.shape[-1], full_context, features.dtype)

  def init(key, inputs):
    key_network, key_context = jax.random.split(key)
    weights = network.init(key_network, inputs)
    if not full_context:
      return {"network": weights}
    mask = jnp.ones(jax.tree.leaves(inputs)[0].shape[:1], bool)
    features = network.apply(weights, inputs, mask)
    return {"network": weights, "context": context(features).init(key_context, features, mask)["params"]}

  def embed(params, inputs, mask):
    return network.apply(params["network"], inputs, mask)

  def adapt(params, examples: Examples, key):
    del key
    features = examples.inputs
    if full_context:
      features = context(features).apply({"params": params["context"]}, features, examples.mask, method="encode")
    means, _ = class_means(examples._replace(inputs=features), num_classes)
    return Memory(features, one_hot(examples, num_classes, features.dtype), examples.mask, means)

  def predict_task(params, memory, features, mask):
    del mask
    if full_context:
      features = context(features).apply({"params": params["context"]}, features, memory.features, memory.mask,
                                         method="attend")
    return predict(memory, features, temperature)

  def represent(params, memory, key):
    del params, key
    return memory.means

  return ignore_padding(Learner(init, embed, adapt, predict_task, represent))


def _unit(features: Array) -> Array:
  square = jnp.sum(jnp.square(features), axis=-1, keepdims=True)
  return features * jax.lax.rsqrt(jnp.maximum(square, 1e-12))
