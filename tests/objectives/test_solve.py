"""Tasks mapped in chunks equal tasks mapped at once: values, gradients, second derivatives."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from metajax import learners, losses, objectives
from metajax.learners.identity import identity_embed, identity_represent
from metajax.learners.in_context import read
from metajax.learners.maml import adapt
from metajax.networks.transformer import transformer
from metajax.objectives import views
from metajax.types import Learner
from tests.helpers import fill_padding, regression_episodes, tanh_network

NETWORK = tanh_network(1, 5, 1)
LEARNER = learners.maml(NETWORK, losses.squared_error, optimizer=optax.sgd(0.1))
READER = transformer(1, max_tokens=40, layers=1, heads=2, width=8)
SCORES = {"again": losses.squared_error}
OBJECTIVES = {
    "episodic": functools.partial(objectives.episodic, LEARNER, losses.squared_error, SCORES),
    "conml": functools.partial(objectives.conml, LEARNER, losses.squared_error, SCORES),
    "conml_measured": functools.partial(objectives.conml, LEARNER, losses.squared_error, SCORES, weight=0.0),
    "reptile": functools.partial(objectives.reptile, LEARNER, losses.squared_error, SCORES, weight=0.1),
    "autoregressive": functools.partial(objectives.autoregressive, functools.partial(read, READER),
                                        losses.squared_error, SCORES),
    "autoregressive_conml": functools.partial(objectives.autoregressive, functools.partial(read, READER),
                                              losses.squared_error, SCORES, weight=0.1),
}
KEY = jax.random.key(1)


def setting(name):
  """Returns parameters and five dissimilar tasks with padding."""
  episodes = regression_episodes(num_tasks=5, padding=2)
  init = READER.init if name.startswith("auto") else LEARNER.init
  return init(jax.random.key(0), episodes.support.inputs[0]), episodes


# Five tasks: chunks with no task and one task left over, for all objectives; one chunk, and a chunk larger than that,
# for one objective of each kind of mapping (TaskMap.mean, TaskMap.each).
@pytest.mark.parametrize("name, chunk", [*((name, chunk) for name in OBJECTIVES for chunk in (1, 2)),
                                         *((name, chunk) for name in ("episodic", "conml") for chunk in (5, 7))])
@pytest.mark.usefixtures("compiled_quickly")
def test_chunks_are_all_at_once(name, chunk):
  params, episodes = setting(name)
  got, want = (jax.jit(jax.value_and_grad(OBJECTIVES[name](task_map=task_map), has_aux=True))(params, episodes, KEY)
               for task_map in (objectives.in_chunks(chunk), objectives.at_once))
  chex.assert_trees_all_close(got, want, rtol=2e-5, atol=1e-6)


@pytest.mark.usefixtures("compiled_quickly")
def test_gradients_of_gradients():
  params, episodes = setting("episodic")

  def slope(task_map):
    objective = OBJECTIVES["episodic"](task_map=task_map)
    gradient = jax.grad(lambda params: objective(params, episodes, KEY)[0])
    return jax.jit(jax.grad(lambda params: optax.tree.norm(gradient(params), squared=True)))(params)

  chex.assert_trees_all_close(slope(objectives.in_chunks(2)), slope(objectives.at_once), rtol=2e-4, atol=1e-6)


@pytest.mark.parametrize("chunk", [1, 2])
def test_no_weight_is_the_plain_objective_to_the_bit(chunk):
  params, episodes = setting("conml")
  got, want = (jax.jit(jax.value_and_grad(lambda params: OBJECTIVES[name](task_map=objectives.in_chunks(chunk))(
      params, episodes, KEY)[0]))(params) for name in ("conml_measured", "episodic"))
  chex.assert_trees_all_equal(got, want)


def test_a_gradient_of_the_tasks_is_refused_in_chunks_and_there_at_once():
  params, episodes = setting("episodic")

  def slope(task_map):
    return jax.jit(jax.grad(lambda inputs: OBJECTIVES["episodic"](task_map=task_map)(params, episodes._replace(
        query=episodes.query._replace(inputs=inputs)), KEY)[0]))(episodes.query.inputs)

  assert np.any(np.asarray(slope(objectives.at_once)))
  with pytest.raises(ValueError, match="with respect to the parameters alone.*map them at_once"):
    slope(objectives.in_chunks(1))


def test_dtypes_are_kept():
  params, episodes = setting("episodic")
  half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params)
  both = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16) if leaf.dtype == jnp.float32 else leaf, episodes)
  objective = OBJECTIVES["episodic"](task_map=objectives.in_chunks(2))
  (loss, _), gradient = jax.eval_shape(jax.value_and_grad(objective, has_aux=True), half, both, KEY)
  assert {leaf.dtype for leaf in jax.tree.leaves(gradient)} == {jnp.dtype(jnp.bfloat16)} == {loss.dtype}


# A user's learner: MAML that masks its loss, but not the computations before.
_descend = functools.partial(adapt, NETWORK.apply, losses.squared_error, optimizer=optax.sgd(0.1), num_steps=1)
OWN = Learner(NETWORK.init, identity_embed, lambda params, examples, key: _descend(params, examples),
              lambda params, adapted, inputs, mask: NETWORK.apply(adapted, inputs, mask), identity_represent)
UNAWARE = {
    "episodic": objectives.episodic(OWN, losses.squared_error),
    "conml": objectives.conml(OWN, losses.squared_error),
    "conml_views": objectives.conml(OWN, losses.squared_error, views=views.random_subsets(2, 12)),
    "reptile": objectives.reptile(OWN, losses.squared_error, weight=0.1),
    "autoregressive": OBJECTIVES["autoregressive"](),
    "autoregressive_conml": OBJECTIVES["autoregressive_conml"](),
}


@pytest.mark.parametrize("name", UNAWARE)
@pytest.mark.usefixtures("compiled_quickly")
def test_contents_of_padding_reach_no_loss_and_no_gradient(name):
  params, episodes = setting(name)
  assert not all(part.mask.all() for part in episodes)
  run = jax.jit(jax.value_and_grad(
      lambda params, value: UNAWARE[name](params, fill_padding(episodes, value), KEY), has_aux=True))
  want = run(params, -3.0)
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(want))
  for value in (jnp.nan, jnp.inf, 1e30):
    chex.assert_trees_all_equal(run(params, value), want)
