"""What learners of images are made of: a Conv4, its parts, and the networks around it."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from experiments import learner_table
from experiments.learner_table import Film, Parts, Row
from experiments.settings import choose, tasks_at_a_time
from metajax import losses, networks
from metajax.kernels import convolution, examples_last
from metajax.kernels.gathered import gathered
from metajax.networks.film_resnet import film_resnet
from metajax.networks.normalisation import Normalise, batch_statistics, none
from metajax.networks.precision import computing_in
from metajax.networks.transformer import SIZES, transformer
from metajax.types import Learner, Network

_FEATURES = 16  # of an example, next to its one-hot label
_UNITS = 128  # of the hidden layers, and of a task vector, in fully connected networks


def make_learner(config: Any, normalise: Normalise, ways: int, num_steps: int) -> Learner:
  """Returns the learner that `config.learner` names.

  Args:
    config: that of the recipe omniglot.
    normalise: in all convolutional networks.
    ways: the most classes that a task has.
    num_steps: inner steps, for learners that take them.
  """
  row = choose("learner", config.learner, learner_table.offered("images"))
  dtype = choose("compute", config.compute, {"float32": None, "bfloat16": jnp.bfloat16})
  conv = _conv(config, row, normalise)
  average = not config.max_pool

  def conv4(*outputs, **options):
    network = networks.conv4(*outputs, **{"filters": config.filters, "normalise": normalise,
                                          "max_pool": config.max_pool, **options})
    return network if dtype is None else computing_in(network, dtype)

  # A vector has no space to be normalised over: by batch statistics or not at all.
  vectors = spread(conv4(_FEATURES, **conv.shared), batch_statistics if config.norm == "batch" else none)
  layers, heads, width = choose("size", config.size, SIZES)
  # The pictures show it 20 examples of a class; two tokens an example, and one for the query or dummy input after.
  examples = ways * max(20, config.shots + max(config.train_queries, config.test_queries))
  return row.make(Parts(
      config, losses.softmax_cross_entropy, num_steps, ways, network=conv4(ways, average=average, **conv.per_task),
      body=conv4(average=average, **conv.shared), head=networks.mlp((), ways), features=conv4(**conv.shared),
      describe=networks.mlp((_UNITS,), _UNITS), decide=networks.mlp((_UNITS,), ways),
      similarity=networks.mlp((_UNITS,), 1), vectors=vectors, on_vectors=functools.partial(with_features, vectors),
      sequence=transformer(ways, max_tokens=2 * examples + 1, layers=layers, heads=heads, width=width),
      film=_film(config, normalise, conv)))


class _Conv(NamedTuple):
  """How convolutions are computed, as arguments of `networks.conv4`."""
  per_task: dict[str, Any]  # whose weights differ from task to task
  shared: dict[str, Any]  # whose weights all tasks share
  unpooled: dict[str, Any]  # likewise, where there is no max-pooling


def _conv(config: Any, row: Row, normalise: Normalise) -> _Conv:
  """Returns the forms that are fastest: the one place where recipes choose them."""
  # Where weights differ from task to task, patches for implicit gradients, as measured.
  own = choose("convolution", config.convolution, {
      "auto": gathered if row.descends and not row.implicit else convolution.patches, "gathered": gathered,
      "patches": convolution.patches, "library": convolution.library})
  # In a loop, XLA:CPU needs the gradients of a shared convolution written out.
  alone = convolution.looped if tasks_at_a_time(config.training) else convolution.shared
  unpooled: dict[str, Any] = {"convolve": alone}
  # Whole blocks on CPU, where there are such.
  whole = jax.default_backend() == "cpu" and config.max_pool and normalise is batch_statistics
  return _Conv({"convolve": own}, {"convolve": own, "fused": examples_last.block} if whole else unpooled, unpooled)


def _film(config: Any, normalise: Normalise, conv: _Conv) -> Film:
  # Fewer channels where there are more pixels: a residual network halves late, and most of the work is there.
  stages = [-(-config.filters // part) for part in (4, 2, 1, 1)]
  backbone = film_resnet(stages, normalise=normalise)
  encoder = networks.conv4(filters=config.filters, normalise=normalise, max_pool=False, average=True, **conv.unpooled)
  return Film(backbone, encoder, networks.mlp((config.filters,), backbone.num_film),
              networks.mlp((_UNITS,), stages[-1] + 1))


def with_features(network: Network, learner: Learner) -> Learner:
  """Returns the learner as one that gets the features `[N, D]` of a network, computed once per example, for inputs."""

  def init(key, inputs):
    key_network, key_learner = jax.random.split(key)
    weights = network.init(key_network, inputs)
    features = network.apply(weights, inputs, jnp.ones(jax.tree.leaves(inputs)[0].shape[:1], bool))
    return {"network": weights, "learner": learner.init(key_learner, features)}

  def embed(params, inputs, mask):
    return learner.embed(params["learner"], network.apply(params["network"], inputs, mask), mask)

  # The rest never sees an input.
  within = lambda function: lambda params, *rest: function(params["learner"], *rest)
  return Learner(init, embed, within(learner.adapt), within(learner.predict), within(learner.represent))


def spread(network: Network, normalise: Normalise) -> Network:
  """Returns the network with outputs `[N, D]` normalised, then of length 1: as unlike as the labels they are read with.

  Outputs of a network at its start are much alike. Learners that must find out for themselves that labels go with
  examples like the one asked for do not begin to before they see a difference.
  """

  def apply(params, inputs, mask):
    outputs = normalise(network.apply(params, inputs, mask)[:, None, None, :], mask)[:, 0, 0, :]
    square = jnp.sum(jnp.square(outputs), axis=-1, keepdims=True)
    return outputs * jax.lax.rsqrt(jnp.maximum(square, 1e-12))

  return Network(network.init, apply)
