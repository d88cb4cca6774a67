"""Every network, with the shape of one of its examples: the rows of the contract table."""

import functools

import jax
import jax.numpy as jnp

from metajax.networks import conv4, mlp, normalisation
from metajax.networks.film_resnet import film_resnet
from metajax.networks.transformer import transformer
from metajax.types import Network

SMALL_CONV4 = functools.partial(conv4, filters=4)


def modulated(filters, **options):
  """Returns a FiLM network as a network, with a modulation that its initialisation draws."""
  network = film_resnet(filters, **options)

  def init(key, inputs):
    film = 0.3 * jax.random.normal(jax.random.fold_in(key, 1), (network.num_film,), inputs.dtype)
    return {"network": network.init(key, inputs), "film": film}

  def apply(params, inputs, mask):
    return network.apply(params["network"], params["film"], inputs, mask)

  return Network(init, apply, independent=True)


def sequence(attends, independent=False, **sizes):
  """Returns a transformer as a network whose examples are tokens, numbered without the padding.

  attends: `[N, N]` of bool, the attention mask apart from padding.
  """
  network = transformer(2, **sizes)

  def apply(params, inputs, mask):
    positions = jnp.maximum(jnp.cumsum(mask, dtype=jnp.int32) - 1, 0)
    own = jnp.eye(len(mask), dtype=bool)  # a row of padding must attend to something
    return network.apply(params, inputs, positions, attends(len(mask)) & mask[None] | own)

  return Network(network.init, apply, independent)


_SIZES = {"max_tokens": 5, "layers": 2, "heads": 2, "width": 8}

# name: (network, shape of one example)
NETWORKS = {
  "mlp": (mlp((5, 3), 2), (6,)),
  "pooled": (SMALL_CONV4(3), (16, 16, 1)),
  "strided": (SMALL_CONV4(3, max_pool=False, average=True), (9, 9, 2)),
  "shared": (SMALL_CONV4(3, weights="shared"), (16, 16, 1)),
  "shared mlp": (mlp((5, 3), 2, weights="shared"), (6,)),
  "averaging": (SMALL_CONV4(3, normalise=normalisation.running_averages()), (16, 16, 1)),
  "headless": (SMALL_CONV4(normalise=normalisation.group(2)), (16, 16, 1)),
  "film_resnet": (modulated((4, 6), normalise=normalisation.group(2)), (8, 8, 2)),
  "transformer": (sequence(lambda n: jnp.ones((n, n), bool), **_SIZES), (3,)),
  "causal transformer": (sequence(lambda n: jnp.tril(jnp.ones((n, n), bool)), **_SIZES), (3,)),
  "transformer, each token alone": (sequence(lambda n: jnp.eye(n, dtype=bool), True, **_SIZES), (3,)),
}


def count(network, shape):
  """Returns the number of parameters, of inputs `shape`."""
  params = jax.eval_shape(network.init, jax.random.key(0), jax.ShapeDtypeStruct((1, *shape), jnp.float32))
  return sum(leaf.size for leaf in jax.tree.leaves(params))
