"""The parts of learners on images: a Conv4, its parts, and the networks around it."""

import functools
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp

from experiments import learner_table
from experiments.learner_table import Film, Parts
from experiments.settings import choose
from metajax import losses, networks
from metajax.learners.in_training import trains_its_networks
from metajax.learners.padding import ignore_padding
from metajax.networks import from_linen
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

  vectors = spread(conv4(_FEATURES, weights="shared"), config.norm)
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


def spread(network: Network, norm: str) -> Network:
  """Returns the network with outputs `[N, D]` normalised and scaled to length 1, so that they are well separated.

  The outputs of a network are similar at initialisation. Learners that must discover that the label depends on the most
  similar example start to learn only once outputs differ. A vector has no space to normalise over, so it is normalised
  by running averages where images are normalised by `group` or `running`.
  """
  if norm in ("batch", "none"):
    normalise = batch_statistics if norm == "batch" else none

    def apply(params, inputs, mask):
      return _of_length_1(normalise(network.apply(params, inputs, mask)[:, None, None, :], mask)[:, 0, 0, :])

    return Network(network.init, apply)
  return _followed(network, from_linen(_Spread(), independent=True))


class _Spread(nn.Module):
  """Normalises vectors by running averages, and to length 1."""

  @nn.compact
  def __call__(self, x, mask, train):
    return _of_length_1(nn.BatchNorm(use_running_average=not train, momentum=0.9, use_bias=False, use_scale=False)(
        x, mask=mask[:, None]))


def _of_length_1(x):
  return x * jax.lax.rsqrt(jnp.maximum(jnp.sum(jnp.square(x), axis=-1, keepdims=True), 1e-12))


def _followed(first: Network, second: Network) -> Network:
  """Returns the network that applies one network to the outputs of another."""

  def init(key, inputs):
    mask = jnp.ones(jnp.shape(inputs)[:1], bool)
    params = first.init(jax.random.fold_in(key, 0), inputs)
    outputs = jax.eval_shape(first.apply, params, inputs, mask)
    return {"first": params, "second": second.init(jax.random.fold_in(key, 1), jnp.zeros(outputs.shape, outputs.dtype))}

  def both(first, second):
    return lambda params, inputs, mask: second.apply(params["second"], first.apply(params["first"], inputs, mask), mask)

  def in_training(key):
    live = [part.in_training(jax.random.fold_in(key, index)) if part.in_training else part
            for index, part in enumerate((first, second))]
    return Network(init, both(*live))

  return Network(init, both(first, second), first.independent and second.independent, in_training)
