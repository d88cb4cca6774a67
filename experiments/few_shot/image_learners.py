"""The parts of learners on images: a Conv4, its parts, and the networks around it."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from experiments import learner_table
from experiments.learner_table import Film, Parts
from experiments.settings import choose
from metajax import losses, networks
from metajax.learners.in_training import trains_its_networks
from metajax.learners.padding import ignore_padding
from metajax.networks.film_resnet import film_resnet
from metajax.networks.normalisation import Normalise, batch_statistics, none
from metajax.networks.precision import computing_in
from metajax.networks.transformer import SIZES, transformer
from metajax.types import Learner, Network

_FEATURES = 16  # per example, next to its one-hot label
_UNITS = 128  # of the hidden layers and the task vector, in fully connected networks

shared_mlp = functools.partial(networks.mlp, weights="shared")


def make_learner(config: Any, normalise: Normalise, ways: int, num_steps: int) -> Learner:
  """Returns the learner that `config.learner` names.

  Args:
    config: settings of the recipe omniglot, or derived from it.
    normalise: the normalisation of all convolutional networks.
    ways: the maximum number of classes per task.
    num_steps: the number of inner steps, for learners that have them.
  """
  row = choose("learner", config.learner, learner_table.offered("images"))
  choose("convolution", config.convolution, {"auto": None})
  dtype = choose("compute", config.compute, {"float32": None, "bfloat16": jnp.bfloat16})
  average = not config.max_pool

  def conv4(*outputs, weights, average=False):
    network = networks.conv4(*outputs, filters=config.filters, normalise=normalise, max_pool=config.max_pool,
                             average=average, weights=weights)
    return network if dtype is None else computing_in(network, dtype)

  # A vector has no spatial axes to normalise over: use batch statistics or none.
  vectors = spread(conv4(_FEATURES, weights="shared"), batch_statistics if config.norm == "batch" else none)
  layers, heads, width = choose("size", config.size, SIZES)
  # The figures use up to 20 examples per class. An example has two tokens; one more is for the query or dummy input.
  examples = ways * max(20, config.shots + max(config.train_queries, config.test_queries))
  return row.make(Parts(
      config, losses.softmax_cross_entropy, num_steps, ways, network=conv4(ways, average=average, weights="per_task"),
      body=conv4(average=average, weights="shared"), head=networks.mlp((), ways), features=conv4(weights="shared"),
      describe=shared_mlp((_UNITS,), _UNITS), decide=shared_mlp((_UNITS,), ways),
      similarity=shared_mlp((_UNITS,), 1), vectors=vectors, on_vectors=functools.partial(with_features, vectors),
      sequence=transformer(ways, max_tokens=2 * examples + 1, layers=layers, heads=heads, width=width),
      film=_film(config, normalise)))


def _film(config: Any, normalise: Normalise) -> Film:
  # Fewer channels at high resolution: a residual network downsamples late, and most of its work is in early stages.
  stages = [-(-config.filters // part) for part in (4, 2, 1, 1)]
  backbone = film_resnet(stages, normalise=normalise)
  encoder = networks.conv4(filters=config.filters, normalise=normalise, max_pool=False, average=True, weights="shared")
  return Film(backbone, encoder, shared_mlp((config.filters,), backbone.num_film),
              shared_mlp((_UNITS,), stages[-1] + 1))


@trains_its_networks
def with_features(network: Network, learner: Learner) -> Learner:
  """Returns the learner on top of a network: its inputs are the features `[N, D]`, computed once per example."""

  def init(key, inputs):
    key_network, key_learner = jax.random.split(key)
    weights = network.init(key_network, inputs)
    features = network.apply(weights, inputs, jnp.ones(jax.tree.leaves(inputs)[0].shape[:1], bool))
    return {"network": weights, "learner": learner.init(key_learner, features)}

  def embed(params, inputs, mask):
    return learner.embed(params["learner"], network.apply(params["network"], inputs, mask), mask)

  # The other functions have no inputs.
  within = lambda function: lambda params, *rest: function(params["learner"], *rest)
  return ignore_padding(
      Learner(init, embed, within(learner.adapt), within(learner.predict), within(learner.represent)))


def spread(network: Network, normalise: Normalise) -> Network:
  """Returns the network with outputs `[N, D]` normalised and scaled to length 1, so that they are well separated.

  The outputs of a network are similar at initialisation. Learners that must discover that the label depends on the most
  similar example start to learn only once outputs differ.
  """

  def apply(params, inputs, mask):
    outputs = normalise(network.apply(params, inputs, mask)[:, None, None, :], mask)[:, 0, 0, :]
    square = jnp.sum(jnp.square(outputs), axis=-1, keepdims=True)
    return outputs * jax.lax.rsqrt(jnp.maximum(square, 1e-12))

  return Network(network.init, apply)
