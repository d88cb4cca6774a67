"""Every learner that can classify, on images, by name: the networks they share and what each makes of them."""

import functools
from typing import Any, Callable, Mapping

import jax
import jax.numpy as jnp

from experiments import inner_loop
from experiments.settings import choose, tasks_at_a_time
from metajax import learners, losses, networks
from metajax.contrast import distances
from metajax.kernels import convolution, examples_last
from metajax.kernels.gathered import gathered
from metajax.learners.padding import ignore_padding
from metajax.networks.film_resnet import film_resnet
from metajax.networks.normalisation import Normalise, batch_statistics, none
from metajax.networks.precision import computing_in
from metajax.networks.transformer import SIZES, transformer
from metajax.types import Array, Learner, Network

METRIC = ("protonet", "protonet_cosine", "matchingnet", "matchingnet_full_context", "relationnet")
CNAPS = ("cnaps", "simple_cnaps")
WARM = ("protonet_cosine", "matchingnet", "matchingnet_full_context")  # those with a temperature
# Those that tell any number of classes apart, so that training tasks may have more of them: no weight counts classes.
ANY_WAYS = (*METRIC, *CNAPS, "ridge")

_READS = 3  # steps of attention, of full-context embeddings
_FEATURES = 16  # of an example, next to its one-hot label
_UNITS = 128  # of the hidden layers, and of a task vector, in fully connected networks

Makers = Mapping[str, Callable[[], Learner]]


def make_learner(config: Any, normalise: Normalise, ways: int, num_steps: int) -> Learner:
  """Returns the learner that `config.learner` names.

  Args:
    config: that of experiments/omniglot.py.
    normalise: in all convolutional networks.
    ways: the most classes that a task has.
    num_steps: inner steps, for learners that take them.
  """
  convolve = choose("convolution", config.convolution, {
      "auto": _own(config), "gathered": gathered, "patches": convolution.patches,
      "library": convolution.library})
  dtype = choose("compute", config.compute, {"float32": None, "bfloat16": jnp.bfloat16})

  def conv4(*outputs, **settings):
    network = networks.conv4(*outputs, **{"filters": config.filters, "normalise": normalise, "convolve": convolve,
                                          "max_pool": config.max_pool, **settings})
    return network if dtype is None else computing_in(network, dtype)

  # For weights that all tasks share.
  features = conv4(**_shared(config, normalise))
  makers = {**_descending(config, conv4, normalise, ways, num_steps), **_metric(config, features, ways),
            **_film(config, normalise, ways), **_reading(config, conv4, normalise, ways)}
  return choose("learner", config.learner, makers)()


def _own(config: Any) -> Callable[..., Array]:
  """Returns the convolution that is fastest where weights differ from task to task: patches for imaml, as measured."""
  adapted = config.learner in inner_loop.LEARNERS and config.learner != "imaml"
  return gathered if adapted else convolution.patches


def _shared(config: Any, normalise: Normalise) -> dict[str, Callable[..., Array]]:
  """Returns how a Conv4 is computed whose weights all tasks share: whole blocks on CPU, where there are such."""
  if jax.default_backend() == "cpu" and config.max_pool and normalise is batch_statistics:
    return {"fused": examples_last.block}
  return {"convolve": _shared_convolution(config)}


def _shared_convolution(config: Any) -> Callable[..., Array]:
  """Returns the convolution by itself: in a loop, XLA:CPU needs its gradients written out."""
  return convolution.looped if tasks_at_a_time(config.training) else convolution.shared


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
  return ignore_padding(
      Learner(init, embed, within(learner.adapt), within(learner.predict), within(learner.represent)))


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


def _descending(config: Any, conv4: Callable[..., Network], normalise: Normalise, ways: int, num_steps: int) -> Makers:
  average = not config.max_pool
  return inner_loop.makers(config, losses.softmax_cross_entropy, conv4(ways, average=average),
                           body=conv4(average=average, **_shared(config, normalise)), head=networks.mlp((), ways),
                           num_steps=num_steps)


def _metric(config: Any, features: Network, ways: int) -> Makers:
  protonet = functools.partial(learners.protonet, features, num_classes=ways)
  matchingnet = functools.partial(learners.matchingnet, features, num_classes=ways, temperature=config.temperature)
  return {
      "protonet": protonet,
      "protonet_cosine": lambda: protonet(distance=distances.cosine, learned_temperature=config.temperature),
      "matchingnet": matchingnet,
      "matchingnet_full_context": lambda: matchingnet(full_context=_READS),
      "relationnet": lambda: learners.relationnet(features, networks.mlp((_UNITS,), 1), num_classes=ways),
      "ridge": lambda: learners.ridge(features, num_classes=ways)}


def _film(config: Any, normalise: Normalise, ways: int) -> Makers:
  # Fewer channels where there are more pixels: a residual network halves late, and most of the work is there.
  stages = [-(-config.filters // part) for part in (4, 2, 1, 1)]
  backbone = film_resnet(stages, normalise=normalise)
  encoder = networks.conv4(filters=config.filters, normalise=normalise, max_pool=False, average=True,
                           convolve=_shared_convolution(config))
  parts = backbone, encoder, networks.mlp((config.filters,), backbone.num_film)
  return {
      "cnaps": lambda: learners.cnaps(*parts, networks.mlp((_UNITS,), stages[-1] + 1), num_classes=ways),
      "simple_cnaps": lambda: learners.simple_cnaps(*parts, num_classes=ways)}


def _reading(config: Any, conv4: Callable[..., Network], normalise: Normalise, ways: int) -> Makers:
  layers, heads, width = choose("size", config.size, SIZES)
  # A vector has no space to be normalised over: by batch statistics or not at all.
  features = spread(conv4(_FEATURES, **_shared(config, normalise)),
                    batch_statistics if config.norm == "batch" else none)
  # The pictures show it 20 examples of a class; two tokens an example, and one for the query or dummy input after.
  examples = ways * max(20, config.shots + max(config.train_queries, config.test_queries))
  reader = transformer(ways, max_tokens=2 * examples + 1, layers=layers, heads=heads, width=width)
  cnp = learners.cnp(networks.mlp((_UNITS,), _UNITS), networks.mlp((_UNITS,), ways), num_classes=ways)
  return {
      "cnp": lambda: with_features(features, cnp),
      "in_context": lambda: learners.in_context(reader, num_classes=ways, encoder=features)}
