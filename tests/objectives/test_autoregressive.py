"""The objective of in-context learning: padding, half prompts, and agreement with the learner."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metajax import learners, losses, objectives
from metajax.contrast import distances
from metajax.examples import examples, take, union
from metajax.learners.in_context import read
from metajax.networks.transformer import transformer
from metajax.objectives.solve import task_keys
from metajax.types import Episode
from tests.helpers import regression_episodes

NETWORK = transformer(1, max_tokens=40, layers=1, heads=2, width=8)
ALONG = functools.partial(read, NETWORK)


def value(episodes, weight=0.5, **terms):
  params = jax.jit(NETWORK.init)(jax.random.key(0), episodes.support.inputs[0])
  # The untrained transformer's outputs are nearly the same for all tasks; larger weights separate them.
  params = jax.tree.map(lambda leaf: 3 * leaf, params)
  return params, jax.jit(objectives.autoregressive(ALONG, losses.squared_error, weight=weight, **terms))(
      params, episodes, jax.random.key(1))


@pytest.mark.usefixtures("compiled_quickly")
def test_padding_changes_nothing():
  padded = regression_episodes(shots=6, queries=1, padding=2)
  bare = Episode(*(jax.vmap(lambda part: take(part, jnp.argsort(~part.mask, stable=True)[:count]))(part)
                   for part, count in zip(padded, (6, 1))))
  assert all(part.mask.all() for part in bare)
  got, want = value(padded)[1][1], value(bare)[1][1]
  assert got.keys() == want.keys() and want["d_in"] > 0
  for name in want:
    np.testing.assert_allclose(got[name], want[name], rtol=1e-5, err_msg=name)


@pytest.mark.usefixtures("compiled_quickly")
def test_representations_are_those_of_the_learner():
  episodes = regression_episodes(shots=6, queries=1)
  params, (_, metrics) = value(episodes)
  learner = learners.in_context(NETWORK)
  key = task_keys(jax.random.key(1), 3).represent
  psi, d_in, full = jax.jit(lambda part: learner.represent(params, learner.adapt(params, part, None), key)), [], []
  for t in range(3):
    whole = union(*jax.tree.map(lambda leaf: leaf[t], episodes))
    half = examples(whole.inputs[:3], whole.targets[:3])
    full.append(psi(whole))
    d_in.append(distances.sigmoid_squared(psi(half), full[-1]))
  d_out = [distances.sigmoid_squared(a, b) for i, a in enumerate(full) for j, b in enumerate(full) if i != j]
  assert metrics["d_in"] == pytest.approx(float(np.mean(d_in)), rel=1e-5)
  assert metrics["d_out"] == pytest.approx(float(np.mean(d_out)), rel=1e-5)


def test_without_weight_it_is_the_plain_loss():
  episodes = regression_episodes(shots=6, queries=1)
  _, (loss, metrics) = value(episodes, weight=0.0)
  assert set(metrics) == {"loss", "episodic_loss"}
  assert loss == pytest.approx(float(value(episodes)[1][1]["episodic_loss"]), rel=1e-5)


@pytest.mark.usefixtures("compiled_quickly")
def test_each_term_alone():
  episodes = regression_episodes(shots=6, queries=1)
  whole, aligned, apart = (value(episodes, **terms)[1] for terms in ({}, {"discriminate": False}, {"align": False}))
  for loss, metrics in (whole, aligned, apart):  # both are measured, even if only one is optimised
    assert (metrics["d_in"], metrics["d_out"]) == pytest.approx((float(whole[1]["d_in"]), float(whole[1]["d_out"])))
    assert loss == pytest.approx(float(metrics["episodic_loss"] + 0.5 * metrics["contrastive_loss"]))
  assert aligned[1]["contrastive_loss"] == pytest.approx(float(whole[1]["d_in"]))
  assert apart[1]["contrastive_loss"] == pytest.approx(-float(whole[1]["d_out"]))
  with pytest.raises(ValueError, match="at least one of its two terms"):
    objectives.autoregressive(ALONG, losses.squared_error, weight=0.5, align=False, discriminate=False)


def test_scores_are_means_over_the_places():
  episodes = regression_episodes(shots=6, queries=1, padding=2)
  params, (_, metrics) = value(episodes, weight=0.0)
  objective = objectives.autoregressive(ALONG, losses.squared_error, {"again": losses.squared_error}, weight=0.5)
  _, scored = jax.jit(objective)(params, episodes, jax.random.key(1))
  assert scored["again"] == pytest.approx(float(metrics["episodic_loss"]), rel=1e-5)


@pytest.mark.usefixtures("compiled_quickly")
def test_a_query_after_the_beginning_is_answered_as_if_there_were_no_more():
  episode = jax.tree.map(lambda leaf: leaf[0], regression_episodes(shots=6, queries=3))
  params, support, queries = NETWORK.init(jax.random.key(0), episode.support.inputs), *episode
  params = jax.tree.map(lambda leaf: 3 * leaf, params)
  along = jax.jit(ALONG)
  for seen in range(7):
    got = along(params, *support, queries.inputs, jnp.full(3, seen))[1]
    want = along(params, *jax.tree.map(lambda leaf: leaf[:seen], support), queries.inputs)[1]
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
