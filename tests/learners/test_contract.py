"""Every learner satisfies every law. A new learner needs one row in `table.py`."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from metajax import objectives
from metajax.examples import union
from metajax.types import Episode
from tests import helpers
from tests.learners.table import ROWS, WAYS, outputs, start, started

every_learner = pytest.mark.parametrize("name", ROWS)
# Fast compilation without optimisation, if programs are neither compared bit for bit nor checked for NaNs.
compiled_quickly = pytest.mark.usefixtures("compiled_quickly")


def close(got, want, row, atol=1e-5):
  chex.assert_trees_all_close(got, want, rtol=row.rtol, atol=atol)


def first(episodes):
  return jax.tree.map(lambda leaf: leaf[0], episodes)


@every_learner
def test_init_takes_abstract_inputs(name):
  for padding in (0, 2):
    learner, params, episodes = start(ROWS[name], padding=padding)
    abstract = jax.eval_shape(learner.init, jax.random.key(0), first(episodes).support.inputs)
    chex.assert_trees_all_equal_shapes_and_dtypes(abstract, params)


@every_learner
def test_jit_equals_eager(name):
  row, learner, params, episodes, run = started(name)
  compiled = run(params, first(episodes))
  with helpers.compiled_quickly():  # op by op
    close(compiled, outputs(learner, params, first(episodes)), row)


@every_learner
@compiled_quickly
def test_vmap_over_unlike_tasks_is_a_loop(name):
  row, _, params, episodes, run = started(name)
  batched = jax.jit(jax.vmap(run, in_axes=(None, 0)))(params, episodes)
  looped = [run(params, jax.tree.map(lambda leaf: leaf[t], episodes)) for t in range(3)]
  close(batched, jnp.stack(looped), row)
  assert not np.allclose(batched[0], batched[1])


@every_learner
@compiled_quickly
def test_padding_changes_nothing(name):
  row = ROWS[name]
  learner, params, padded = start(row, padding=2)
  run = jax.jit(lambda p, e: outputs(learner, p, e))
  for t in range(3):
    episode = jax.tree.map(lambda leaf: leaf[t], padded)
    bare = Episode(*(jax.tree.map(lambda leaf: leaf[part.mask], part) for part in episode))
    got = run(params, episode)[episode.query.mask]
    close(got, run(params, bare), row)
    # Different values in the padding: all bits must be equal.
    rubbish = Episode(*(part._replace(inputs=jnp.where(
        part.mask.reshape(-1, *[1] * (part.inputs.ndim - 1)), part.inputs, -3 * part.inputs + 1)) for part in episode))
    np.testing.assert_array_equal(run(params, rubbish)[episode.query.mask], got)
    key = jax.random.key(3)
    learn = jax.jit(lambda p, s: learner.represent(
        p, learner.adapt(p, s._replace(inputs=learner.embed(p, s.inputs, s.mask)), key), key))
    close(learn(params, episode.support), learn(params, bare.support), row)


@every_learner
@compiled_quickly
def test_contents_of_padding_reach_no_value_and_no_gradient(name):
  learner, params, episodes = start(ROWS[name], padding=2)
  key = jax.random.key(3)

  @jax.jit
  @functools.partial(jax.value_and_grad, has_aux=True)
  def directly(params, value):
    # In the inputs and targets, and in the features.
    episode = helpers.fill_padding(first(episodes), value)
    features = [learner.embed(params, part.inputs, part.mask) for part in episode]
    support, query = (part._replace(inputs=helpers.filled(each, part.mask, value))
                      for part, each in zip(episode, features))
    models = [learner.adapt(params, support, key)]
    if learner.adapt_both is not None:
      models.extend(learner.adapt_both(params, support, query, key))
    predicted = [learner.predict(params, model, query.inputs, query.mask) for model in models]
    found = helpers.filled(predicted, query.mask, 0), [learner.represent(params, model, key) for model in models]
    return optax.tree.norm(found, squared=True), found

  want = directly(params, -3.0)
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(want))
  for value in (jnp.nan, jnp.inf, 1e30):
    chex.assert_trees_all_equal(directly(params, value), want)


@every_learner
def test_order_of_the_support_set(name):
  row, _, params, episodes, run = started(name)
  episode = first(episodes)
  turned = episode._replace(support=jax.tree.map(lambda leaf: leaf[::-1], episode.support))
  got, want = run(params, turned), run(params, episode)
  if row.ordered:
    assert not np.allclose(got, want, rtol=1e-6, atol=0)
  else:
    close(got, want, row)


@every_learner
def test_a_query_knows_no_other_query(name):
  row, _, params, episodes, run = started(name)
  episode = first(episodes)
  inputs = episode.query.inputs
  other = episode._replace(query=episode.query._replace(inputs=inputs.at[1:].set(5 * inputs[1:] - 1)))
  got, want = run(params, other)[0], run(params, episode)[0]
  if row.transductive:
    assert not np.allclose(got, want, rtol=1e-6, atol=0)
  else:
    close(got, want, row)


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.permutes])
def test_permuted_labels_permute_predictions(name):
  row, _, params, episodes, run = started(name)
  episode = first(episodes)
  order = jnp.array([2, 0, 1])  # class c becomes class order[c]
  renamed = episode._replace(support=episode.support._replace(targets=order[episode.support.targets]))
  assert run(params, episode).shape[1] == WAYS
  close(run(params, renamed)[:, order], run(params, episode), row)


@every_learner
@compiled_quickly
def test_bfloat16_is_kept(name):
  learner, params, episodes = start(ROWS[name], dtype=jnp.bfloat16)
  abstract = jax.eval_shape(learner.init, jax.random.key(0), first(episodes).support.inputs)
  chex.assert_trees_all_equal_shapes(abstract, params)
  got = jax.jit(lambda p, e: outputs(learner, p, e))(params, first(episodes))
  assert got.dtype == jnp.bfloat16 and np.isfinite(got.astype(jnp.float32)).all()


def _is_alive(gradient):
  return (all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
          and any(np.abs(leaf).max() > 1e-6 for leaf in jax.tree.leaves(gradient)))


@every_learner
def test_gradients_are_finite_and_reach_theta(name):
  learner, params, episodes = start(ROWS[name], padding=1)
  objective = objectives.conml(learner, ROWS[name].loss, weight=0.1)
  gradient, metrics = jax.jit(jax.grad(objective, has_aux=True))(params, episodes, jax.random.key(1))
  assert _is_alive(gradient) and all(np.isfinite(value) for value in metrics.values())


@every_learner
def test_no_weight_is_the_plain_objective(name):
  learner, params, episodes = start(ROWS[name], padding=1)
  both = []
  for make in (functools.partial(objectives.conml, weight=0.0), objectives.episodic):
    objective = make(learner, ROWS[name].loss)
    both.append(jax.jit(jax.value_and_grad(lambda p, e: objective(p, e, jax.random.key(1))[0]))(params, episodes))
  chex.assert_trees_all_equal(*both)
  assert _is_alive(both[0][1])


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.make().adapt_both is not None])
@compiled_quickly
def test_adapting_both_is_adapting_twice(name):
  row = ROWS[name]
  learner, params, episodes = start(row, padding=1)

  def predictions(params, episode, both):
    support, query = episode
    models = (learner.adapt_both(params, support, query, None) if both else
              [learner.adapt(params, part, None) for part in (support, union(support, query))])
    # Predictions for padding are irrelevant; the gradient of an empty image with its own normalisation is huge.
    return helpers.filled([learner.predict(params, model, query.inputs, query.mask) for model in models], query.mask, 0)

  shorter = jax.tree.map(lambda leaf: leaf[:, 1:], episodes.query)
  for query in (episodes.support, shorter):  # as many queries as shots, and a different number
    episode = first(Episode(episodes.support, query))

    @functools.partial(jax.jit, static_argnums=1)
    @functools.partial(jax.value_and_grad, has_aux=True)
    def total(params, both):
      found = predictions(params, episode, both)
      return optax.tree.norm(found, squared=True), found

    close(total(params, True), total(params, False), row)


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.unadapted])
@compiled_quickly
def test_no_inner_step_is_no_adaptation(name):
  row, _, params, episodes, run = started(name)
  unadapted = jax.jit(functools.partial(outputs, row.unadapted()))
  episode = first(episodes)
  support = episode.support._replace(targets=(episode.support.targets + 1) % WAYS)
  assert not np.allclose(run(params, episode), run(params, episode._replace(support=support)))
  got = [unadapted(params, episode._replace(support=part)) for part in (episode.support, support)]
  np.testing.assert_array_equal(*got)


@every_learner
def test_representations_have_one_length(name):
  learner, params, episodes = start(ROWS[name])
  episode, key = first(episodes), jax.random.key(3)

  def shape(examples):
    features = learner.embed(params, examples.inputs, examples.mask)
    adapted = learner.adapt(params, examples._replace(inputs=features), key)
    return learner.represent(params, adapted, key)

  sets = episode.support, union(*episode), jax.tree.map(lambda leaf: leaf[:1], episode.query)
  shapes = [jax.eval_shape(shape, examples) for examples in sets]
  chex.assert_trees_all_equal_shapes_and_dtypes(*shapes)
  assert all(jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in jax.tree.leaves(shapes[0]))


@every_learner
def test_compiled_once_over_many_episodes(name):
  row, _, params, episodes, run = started(name)
  run(params, first(episodes))
  programs = run._cache_size()
  for seed in range(1, 4):
    run(params, first(row.episodes(seed=seed)))
  assert programs and run._cache_size() == programs
