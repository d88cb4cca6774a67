"""CNAPs: one pass over a task generates FiLM parameters for a shared network, and a classifier on its features.

Requeima et al., 2019, https://arxiv.org/abs/1906.07697 (a linear classifier, generated from class means); Bateni et
al., Improved Few-Shot Visual Classification, 2020, https://arxiv.org/abs/1912.03432 (Simple CNAPS: Mahalanobis
distances). psi is either the generated FiLM parameters or the task embedding that they are generated from: the ConML
paper is ambiguous.
"""

from typing import Callable, NamedTuple

import jax
import jax.numpy as jnp

from metajax.examples import masked_mean
from metajax.learners import positive_definite
from metajax.learners.class_means import check_num_classes, class_means, one_hot, without_absent
from metajax.learners.in_training import trains_its_networks
from metajax.learners.padding import ignore_padding
from metajax.types import Array, Examples, FilmNetwork, Learner, Network, PyTree


class Adapted(NamedTuple):
  """The task model of CNAPs."""
  embedding: Array  # [E], the mean code of the task's examples
  film: Array  # [num_film]
  head: PyTree  # the classifier


class Mahalanobis(NamedTuple):
  """The classifier of Simple CNAPS."""
  means: Array  # [C, D]
  precision: Array  # [C, D, D], the inverse of each class's blended covariance
  present: Array  # [C] bool


def mahalanobis(examples: Examples, num_classes: int) -> Mahalanobis:
  """Returns class means and precisions of features `[N, D]` (Bateni et al., eqs. 2-3).

  `Q_c = l S_c + (1 - l) S + I` with `l = n_c / (n_c + 1)`, `S_c` the covariance of the class's `n_c` examples and `S`
  that of all examples. Covariances of n examples divide by n - 1; that of a single example is zero.
  """
  dtype = examples.inputs.dtype
  wide = jnp.float64 if dtype == jnp.float64 else jnp.float32  # Cholesky does not support half precision
  examples = examples._replace(inputs=examples.inputs.astype(wide))
  features = examples.inputs
  size = features.shape[1]
  means, present = class_means(examples, num_classes)
  members = one_hot(examples, num_classes, features.dtype)

  def covariance(weights):  # [N]
    count = jnp.sum(weights)
    centred = features - (weights @ features / jnp.maximum(count, 1))[None, :]
    return (centred * weights[:, None]).T @ centred / jnp.maximum(count - 1, 1)

  counts = jnp.sum(members, axis=0)
  blend = (counts / (counts + 1))[:, None, None]
  own = jax.vmap(covariance, in_axes=1)(members)
  eye = jnp.eye(size, dtype=features.dtype)[None]
  blended = blend * own + (1 - blend) * covariance(examples.mask.astype(features.dtype))[None] + eye
  invert = lambda matrix: positive_definite.solve(matrix, eye[0])
  return Mahalanobis(means.astype(dtype), jax.vmap(invert)(blended).astype(dtype), present)


def mahalanobis_logits(head: Mahalanobis, features: Array) -> Array:
  """Returns logits `[Q, C]` in nats: minus half the squared Mahalanobis distance of features `[Q, D]` to each class."""
  gaps = features[:, None, :] - head.means[None]
  squares = jnp.einsum("qcd,cde,qce->qc", gaps, head.precision, gaps)
  return without_absent(-squares / 2, head.present)


@trains_its_networks
def simple_cnaps(backbone: FilmNetwork, set_encoder: Network, generator: Network, *, num_classes: int,
                 represent_embedding: bool = False) -> Learner:
  """Returns the Simple CNAPS learner.

  Args:
    backbone: images to features, modulated by FiLM.
    set_encoder: images `[N, ...]` to codes `[N, E]`, computed once per example; their mean is the task embedding.
    generator: embeddings `[1, E]` to FiLM parameters `[1, backbone.num_film]`.
    num_classes: `C`, the maximum number of classes in a task.
    represent_embedding: psi is the task embedding instead of the FiLM parameters generated from it.

  Raises:
    ValueError: for fewer than 2 classes.
  """

  def make_head(params, examples):
    del params
    return mahalanobis(examples, num_classes)

  def logits(params, head, features):
    del params
    return mahalanobis_logits(head, features)

  return _film_learner(backbone, set_encoder, generator, num_classes, represent_embedding,
                       lambda key, features: {}, make_head, logits)


@trains_its_networks
def cnaps(backbone: FilmNetwork, set_encoder: Network, generator: Network, classifier: Network, *, num_classes: int,
          represent_embedding: bool = False) -> Learner:
  """Returns the CNAPs learner, whose linear classifier is generated class by class.

  Args:
    classifier: class means `[C, D]` to the weights and bias of a linear classifier `[C, D + 1]`.

  The other arguments and errors are those of `simple_cnaps`.
  """

  def make_head(params, examples):
    means, present = class_means(examples, num_classes)
    return classifier.apply(params, means, jnp.ones_like(present)), present

  def logits(params, head, features):
    del params
    weights, present = head
    outputs = features @ weights[:, :-1].T + weights[:, -1][None, :]
    return without_absent(outputs, present)

  return _film_learner(backbone, set_encoder, generator, num_classes, represent_embedding,
                       classifier.init, make_head, logits)


def _film_learner(backbone: FilmNetwork, set_encoder: Network, generator: Network, num_classes: int,
                  represent_embedding: bool, init_head: Callable, make_head: Callable, logits: Callable) -> Learner:
  check_num_classes(num_classes)

  def init(key, inputs):
    keys = jax.random.split(key, 4)
    mask = jnp.ones(inputs.shape[:1], bool)
    params = {"backbone": backbone.init(keys[0], inputs), "set_encoder": set_encoder.init(keys[1], inputs)}
    codes = set_encoder.apply(params["set_encoder"], inputs, mask)
    features = backbone.apply(params["backbone"], jnp.zeros(backbone.num_film, codes.dtype), inputs, mask)
    return {**params, "generator": generator.init(keys[2], codes[:1]), "head": init_head(keys[3], features)}

  def embed(params, inputs, mask):
    # Codes do not depend on the task. Features do, through FiLM, so the images are passed on.
    return {"code": set_encoder.apply(params["set_encoder"], inputs, mask), "image": inputs}

  def adapt(params, examples, key):
    del key
    codes = examples.inputs["code"]
    embedding = jax.vmap(masked_mean, in_axes=(1, None))(codes, examples.mask)
    film = generator.apply(params["generator"], embedding[None], jnp.ones(1, bool))[0]
    features = backbone.apply(params["backbone"], film, examples.inputs["image"], examples.mask)
    return Adapted(embedding, film, make_head(params["head"], examples._replace(inputs=features)))

  def predict(params, adapted, inputs, mask):
    features = backbone.apply(params["backbone"], adapted.film, inputs["image"], mask)
    return logits(params["head"], adapted.head, features)

  def represent(params, adapted, key):
    del params, key
    return adapted.embedding if represent_embedding else adapted.film

  return ignore_padding(Learner(init, embed, adapt, predict, represent))
