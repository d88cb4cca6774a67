"""In-context learning: a prompt longer than the network's maximum is rejected in every use."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metajax import learners, losses, objectives
from metajax.learners.in_context import read
from metajax.networks.transformer import transformer
from metajax.types import Episode
from tests.helpers import regression_episodes

POINTS = 3
NETWORK = transformer(1, max_tokens=2 * POINTS + 1, layers=1, heads=1, width=4)  # three examples, and queries
PARAMS = NETWORK.init(jax.random.key(0), jnp.ones((POINTS, 1)))
LEARNER = learners.in_context(NETWORK)


def predict(points):
  """Returns predictions for four queries after a prompt with a number of points."""
  support, query = jax.tree.map(lambda leaf: leaf[0], regression_episodes(shots=points))
  return LEARNER.predict(PARAMS, LEARNER.adapt(PARAMS, support, None), query.inputs, query.mask)


def represent(points):
  """Returns psi of a prompt with a number of points."""
  support = jax.tree.map(lambda leaf: leaf[0], regression_episodes(shots=points).support)
  return LEARNER.represent(PARAMS, LEARNER.adapt(PARAMS, support, None), jax.random.key(0))


def objective(points):
  """Returns the loss with ConML on prompts with a number of points, support and query together."""
  episodes = regression_episodes(shots=points - 1, queries=1)
  loss = objectives.autoregressive(functools.partial(read, NETWORK), losses.squared_error, weight=0.1)
  return loss(PARAMS, episodes, jax.random.key(0))[0]


@pytest.mark.parametrize("reads", [predict, represent, objective])
def test_a_prompt_that_is_too_long_is_refused_in_a_sentence(reads):
  assert np.isfinite(jax.jit(reads, static_argnums=0)(POINTS)).all()
  with pytest.raises(ValueError, match=r"4 examples with . queries after it takes 9 positions.*max_tokens=7; give"):
    jax.eval_shape(functools.partial(reads, POINTS + 1))


def test_without_a_query_there_is_no_place_for_one():
  episodes = regression_episodes(shots=POINTS - 1, queries=1)
  short = transformer(1, max_tokens=2 * POINTS, layers=1, heads=1, width=4)
  plain = objectives.autoregressive(functools.partial(read, short), losses.squared_error)
  assert np.isfinite(plain(short.init(jax.random.key(0), episodes.support.inputs[0]), episodes, jax.random.key(0))[0])
  longer = Episode(*(jax.tree.map(lambda leaf: jnp.repeat(leaf, 2, axis=1), part) for part in episodes))
  with pytest.raises(ValueError, match="6 examples with 0 queries after it takes 12 positions"):
    plain(PARAMS, longer, jax.random.key(0))


def test_a_transformer_has_as_many_positions_as_it_says():
  assert NETWORK.max_tokens == 7
  with pytest.raises(ValueError, match="given 8 tokens and max_tokens=7; give"):
    jax.eval_shape(NETWORK.init, jax.random.key(0), jnp.ones((8, 1)))
  # Positions are unknown before the program runs: one beyond the last gives NaN instead of the last position.
  at = lambda place: NETWORK.apply(PARAMS, jnp.ones((2, 1)), jnp.array([0, place]), jnp.eye(2, dtype=bool))[1]
  assert np.isfinite(at(6)).all() and np.isnan(at(7)).all()
