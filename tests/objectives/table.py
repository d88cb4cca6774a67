"""Every objective in a small version, with its properties: the rows of the contract test."""

import functools
from typing import Callable, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from metajax import contrast, learners, losses, objectives
from metajax.contrast import distances
from metajax.learners.in_context import read
from metajax.networks.transformer import transformer
from metajax.objectives import views
from metajax.types import Episode, Objective, Params
from tests.helpers import regression_episodes, tanh_network


class Row(NamedTuple):
  """An objective, the initialisation of its parameters, and its properties."""
  make: Callable[..., Objective]  # it takes `task_map`
  init: Callable[..., Params]
  episodes: Callable[..., Episode] = regression_episodes
  exact: bool = True  # whether its gradient is that of its value; Reptile's is not, by design
  linear: bool = False  # whether the loss is a plain mean over tasks


def _maml(**options):
  return learners.maml(tanh_network(1, 5, 1, jnp.result_type(float)), losses.squared_error, optimizer=optax.sgd(0.1),
                       **options)


def _row(make, **promises):
  return Row(lambda **options: make(_maml(), losses.squared_error, **options),
             lambda *arguments: _maml().init(*arguments), **promises)


def _decay(params, solved, key):
  del solved, key
  return optax.tree.norm(params, squared=True)


def _prompts(**options):
  """Two inputs per point, so that a target fits a token."""
  wide = lambda part: part._replace(inputs=jnp.concatenate([part.inputs, jnp.cos(part.inputs)], axis=-1))
  return Episode(*map(wide, regression_episodes(**options)))


def _autoregressive(weight):
  network = transformer(1, max_tokens=40, layers=1, heads=2, width=8)

  def init(key, inputs):
    params = network.init(key, jnp.zeros((4, 2), inputs.dtype))
    return jax.tree.map(lambda leaf: 8 * leaf.astype(inputs.dtype), params)  # away from identical outputs

  make = functools.partial(objectives.autoregressive, functools.partial(read, network), losses.squared_error,
                           weight=weight)
  return Row(make, init, _prompts, linear=not weight)


ROWS = {
    "episodic": _row(objectives.episodic, linear=True),
    "episodic with a term": _row(functools.partial(objectives.episodic, terms={"decay": (0.1, _decay)}), linear=True),
    "conml": _row(functools.partial(objectives.conml, weight=2.0)),
    "conml of subsets": _row(functools.partial(objectives.conml, weight=2.0, views=views.random_subsets(2, 3))),
    "conml, squared euclidean": _row(functools.partial(
        objectives.conml, weight=0.5, distance=distances.squared_euclidean)),
    "conml, sigmoid": _row(functools.partial(objectives.conml, weight=0.5, distance=distances.sigmoid_squared)),
    "conml, aligned alone": _row(functools.partial(objectives.conml, weight=2.0, discriminate=False), linear=True),
    "conml with a term": _row(functools.partial(objectives.conml, weight=2.0, terms={"decay": (0.1, _decay)})),
    "info_nce": _row(functools.partial(objectives.conml, contrastive=contrast.info_nce)),
    "reptile": _row(objectives.reptile, exact=False),
    "reptile with conml": _row(functools.partial(objectives.reptile, weight=2.0), exact=False),
    "autoregressive": _autoregressive(0.0),
    "autoregressive with conml": _autoregressive(0.5)}


def direction(params, seed=0):
  """Returns a random direction of the parameters' structure, of norm one."""
  random = np.random.default_rng(seed)
  along = jax.tree.map(lambda leaf: jnp.asarray(random.normal(size=leaf.shape), leaf.dtype), params)
  return jax.tree.map(lambda leaf: leaf / optax.tree.norm(along), along)
