"""Every learner in a small version, with its properties: the rows of the contract test."""

import functools
from typing import Callable, NamedTuple

import jax
import jax.numpy as jnp
import optax

from metajax import learners, losses, networks
from metajax.contrast import distances
from metajax.networks import film_resnet, normalisation
from metajax.networks.transformer import transformer
from metajax.objectives.solve import solve
from metajax.types import Episode, Learner
from tests.helpers import classification_episodes, compiled_quickly, regression_episodes

WAYS = 3


class Row(NamedTuple):
  """A learner and its properties."""
  make: Callable[[], Learner]
  episodes: Callable[..., Episode]  # (padding, seed, dtype)
  loss: Callable
  transductive: bool = False  # a query's prediction depends on the other queries
  ordered: bool = False  # the order of the support set matters
  permutes: bool = False  # permuted labels permute predictions (no weight depends on a label's index)
  unadapted: Callable[[], Learner] | None = None  # the same with zero inner steps, for learners that have inner steps
  rtol: float = 2e-4


def flat(**options):
  return classification_episodes(ways=WAYS, size=(4,), **options)


def images(**options):
  return classification_episodes(ways=WAYS, size=(8, 8, 1), **options)


def _head():
  return networks.mlp((), WAYS)


def _mlp(outputs=WAYS):
  return networks.mlp((6,), outputs, activation=jax.nn.tanh)


def _conv(normalise, outputs=None):
  return networks.conv4(outputs, filters=4, normalise=normalise, max_pool=False, average=True)


def _sgd(rate=0.2):
  return optax.sgd(rate)


def _film():
  backbone = film_resnet.film_resnet((8, 8))
  encoder = networks.conv4(filters=4, normalise=normalisation.none, max_pool=False, average=True)
  return backbone, encoder, networks.mlp((5,), backbone.num_film, activation=jax.nn.tanh)


def _sequence(outputs, tokens=64):
  return transformer(outputs, max_tokens=tokens, layers=2, heads=2, width=8)


XENT, SQUARED = losses.softmax_cross_entropy, losses.squared_error

ROWS = {
    "maml": Row(lambda: learners.maml(_mlp(), XENT, optimizer=_sgd()), flat, XENT,
                unadapted=lambda: learners.maml(_mlp(), XENT, optimizer=_sgd(), num_steps=0)),
    "maml_regression": Row(lambda: learners.maml(_mlp(1), SQUARED, optimizer=_sgd(0.02), num_steps=2),
                           regression_episodes, SQUARED),
    "maml_conv4_batch": Row(
        lambda: learners.maml(networks.conv4(WAYS, filters=4, max_pool=False, average=True), XENT, optimizer=_sgd()),
        images, XENT, transductive=True, rtol=2e-3),
    "fomaml": Row(lambda: learners.maml(_mlp(), XENT, optimizer=_sgd(), num_steps=2, first_order=True), flat, XENT),
    "maml_conv4_group": Row(
        lambda: learners.maml(_conv(normalisation.group(2), WAYS), XENT, optimizer=_sgd(), num_steps=2), images, XENT,
        rtol=2e-3),
    "anil": Row(lambda: learners.anil(_mlp(5), _head(), XENT, optimizer=_sgd(), num_steps=2), flat, XENT,
                unadapted=lambda: learners.anil(_mlp(5), _head(), XENT, optimizer=_sgd(), num_steps=0)),
    "metasgd": Row(lambda: learners.metasgd(_mlp(), XENT, initial_rate=0.2), flat, XENT,
                   unadapted=lambda: learners.metasgd(_mlp(), XENT, initial_rate=0.2, num_steps=0)),
    "metasgd_per_step": Row(lambda: learners.metasgd(_mlp(), XENT, initial_rate=0.2, num_steps=2, per_step=True),
                            flat, XENT),
    "imaml": Row(lambda: learners.imaml(_mlp(), XENT, strength=1.0, optimizer=_sgd(), num_steps=20), flat, XENT,
                 unadapted=lambda: learners.imaml(_mlp(), XENT, strength=1.0, optimizer=_sgd(), num_steps=0),
                 rtol=2e-3),
    "protonet": Row(lambda: learners.protonet(_mlp(5), num_classes=WAYS), flat, XENT, permutes=True),
    "protonet_cosine": Row(
        lambda: learners.protonet(_mlp(5), num_classes=WAYS, distance=distances.cosine, learned_temperature=0.1),
        flat, XENT, permutes=True, rtol=1e-3),
    "protonet_conv4_batch": Row(lambda: learners.protonet(_conv(normalisation.batch_statistics), num_classes=WAYS),
                                images, XENT, transductive=True, permutes=True, rtol=2e-3),
    "protonet_conv4_group": Row(lambda: learners.protonet(_conv(normalisation.group(2)), num_classes=WAYS),
                                images, XENT, permutes=True, rtol=2e-3),
    "matchingnet": Row(lambda: learners.matchingnet(_mlp(5), num_classes=WAYS), flat, XENT, permutes=True),
    "matchingnet_full_context": Row(lambda: learners.matchingnet(_mlp(5), num_classes=WAYS, full_context=2), flat,
                                    XENT, ordered=True, permutes=True),
    "ridge": Row(lambda: learners.ridge(_mlp(5), num_classes=WAYS), flat, XENT, permutes=True),
    "ridge_regression": Row(lambda: learners.ridge(_mlp(5)), regression_episodes, SQUARED),
    "relationnet": Row(lambda: learners.relationnet(_mlp(5), networks.mlp((6,), 1), num_classes=WAYS), flat, XENT,
                       permutes=True),
    "cnp": Row(lambda: learners.cnp(_mlp(7), _mlp(1)), regression_episodes, SQUARED),
    "cnp_classification": Row(lambda: learners.cnp(_mlp(7), _mlp(), num_classes=WAYS), flat, XENT),
    "simple_cnaps": Row(lambda: learners.simple_cnaps(*_film(), num_classes=WAYS), images, XENT, permutes=True,
                        rtol=1e-3),
    "simple_cnaps_embedding": Row(
        lambda: learners.simple_cnaps(*_film(), num_classes=WAYS, represent_embedding=True), images, XENT,
        permutes=True, rtol=1e-3),
    "cnaps": Row(lambda: learners.cnaps(*_film(), networks.mlp((6,), 9), num_classes=WAYS), images, XENT,
                 permutes=True, rtol=1e-3),
    "in_context": Row(lambda: learners.in_context(_sequence(1)), regression_episodes, SQUARED, ordered=True),
    "in_context_images": Row(
        lambda: learners.in_context(_sequence(WAYS), num_classes=WAYS, encoder=_conv(normalisation.none)), images, XENT,
        ordered=True, rtol=1e-3),
    "in_context_classification": Row(lambda: learners.in_context(_sequence(WAYS), num_classes=WAYS), flat, XENT,
                                     ordered=True),
}


class Started(NamedTuple):
  """A learner with its compiled functions, which all laws share."""
  row: Row
  learner: Learner
  params: dict
  episodes: Episode  # three dissimilar tasks
  run: Callable  # (params, episode) -> predictions for its query set, compiled


@functools.cache
def started(name: str) -> Started:
  """Returns the learner of a row with its compiled functions."""
  learner, params, episodes = start(ROWS[name])
  return Started(ROWS[name], learner, params, episodes, jax.jit(lambda p, e: outputs(learner, p, e)))


def start(row: Row, **options):
  """Returns the learner of a row, its parameters and three dissimilar episodes."""
  (learner, params), episodes = _made(row), row.episodes(**options)
  dtype = jax.tree.leaves(episodes.support.inputs)[0].dtype
  return learner, jax.tree.map(lambda leaf: leaf.astype(dtype), params), episodes


@functools.cache
def _made(row: Row) -> tuple[Learner, dict]:
  """Returns the learner of a row and its parameters, which depend on neither padding nor precision."""
  learner = row.make()
  inputs = jax.tree.map(lambda leaf: leaf[0], row.episodes().support.inputs)
  with compiled_quickly():
    return learner, jax.jit(learner.init)(jax.random.key(0), inputs)


def outputs(learner: Learner, params, episode: Episode) -> jax.Array:
  """Returns the predictions for one episode's query set, as an objective computes them."""
  quiet = lambda predicted, targets: jnp.zeros(predicted.shape[:1], predicted.dtype)
  return solve(learner, quiet, {}, params, episode, jax.random.key(7)).outputs
