"""Every objective satisfies every law."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from metajax import learners, losses, objectives
from tests.helpers import fill_padding, tanh_network
from tests.objectives.table import ROWS, direction

pytestmark = pytest.mark.usefixtures("compiled_quickly", "x64")
every_objective = pytest.mark.parametrize("name", ROWS)
KEY, TASKS = jax.random.key(3), 8
LEARNER = learners.maml(tanh_network(1, 5, 1), losses.squared_error, optimizer=optax.sgd(0.1))


@functools.cache
def started(name):
  row = ROWS[name]
  with jax.enable_x64(True):
    episodes = row.episodes(num_tasks=TASKS, padding=2, dtype=np.float64)
    params = row.init(jax.random.key(0), episodes.support.inputs[0])
    return row, params, episodes


def run(objective):
  return jax.jit(jax.value_and_grad(objective, has_aux=True))


def close(found, wanted, rtol=1e-9):
  jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=rtol, atol=1e-11), found, wanted)


@every_objective
def test_metrics_are_finite_scalars_and_the_loss_is_one_of_them(name):
  row, params, episodes = started(name)
  (loss, metrics), gradient = run(row.make())(params, episodes, KEY)
  assert metrics["loss"] == loss and {"loss", "episodic_loss"} <= set(metrics)
  assert all(np.shape(value) == () and np.isfinite(value) for value in metrics.values())
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient)) and optax.tree.norm(gradient) > 0


@every_objective
def test_the_gradient_is_the_slope_of_the_loss(name):
  row, params, episodes = started(name)
  if not row.exact:
    pytest.skip("Reptile's gradient is its update, not the gradient of a loss; its algorithm is tested separately")
  objective, along, step = run(row.make()), direction(params), 1e-5
  at = lambda distance: objective(jax.tree.map(lambda w, d: w + distance * d, params, along), episodes, KEY)[0][0]
  slope = (8 * (at(step) - at(-step)) - (at(2 * step) - at(-2 * step))) / (12 * step)
  found = optax.tree.vdot(objective(params, episodes, KEY)[1], along)
  np.testing.assert_allclose(found, slope, rtol=1e-6, atol=1e-9)


@every_objective
def test_jitted_is_eager(name):
  row, params, episodes = started(name)
  few = jax.tree.map(lambda leaf: leaf[:2], episodes)
  with jax.disable_jit():
    eager = row.make()(params, few, KEY)
  close(jax.jit(row.make())(params, few, KEY), eager)


@every_objective
@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
def test_padding_changes_nothing(name, value):
  row, params, episodes = started(name)
  objective = run(row.make())
  close(objective(params, fill_padding(episodes, value), KEY), objective(params, episodes, KEY))


@every_objective
@pytest.mark.parametrize("devices", [2, 8])
def test_tasks_over_devices_are_the_tasks_of_one(name, devices):
  row, params, episodes = started(name)
  cut = jax.tree.map(lambda leaf: leaf.reshape(devices, -1, *leaf.shape[1:]), episodes)

  def shard(params, episodes):
    found = jax.value_and_grad(row.make().over("devices"), has_aux=True)(params, episodes, KEY)
    return jax.lax.pmean(found, "devices")

  found = jax.jit(jax.vmap(shard, in_axes=(None, 0), axis_name="devices"))(params, cut)
  close(jax.tree.map(lambda leaf: leaf[0], found), run(row.make())(params, episodes, KEY))


@every_objective
def test_a_loss_that_is_linear_in_tasks_is_the_mean_of_parts(name):
  row, params, episodes = started(name)
  objective = jax.jit(lambda episodes: row.make()(params, episodes, KEY)[0])
  parts = [objective(jax.tree.map(lambda leaf: leaf[start:start + 4], episodes)) for start in (0, 4)]
  # Keys depend on the task's index. Only views and dummies are random here, and a linear loss has none.
  assert np.isclose(np.mean(parts), objective(episodes), rtol=1e-10) == row.linear


@every_objective
def test_chunks_are_all_at_once(name):
  row, params, episodes = started(name)
  found = run(row.make(task_map=objectives.in_chunks(3)))(params, episodes, KEY)
  close(found, run(row.make())(params, episodes, KEY))


@every_objective
def test_the_order_of_tasks_does_not_matter(name):
  row, params, episodes = started(name)
  if name == "conml of subsets":
    pytest.skip("the keys of views depend on the task's index")
  turned = jax.tree.map(lambda leaf: jnp.flip(leaf, 0), episodes)
  objective = run(row.make())
  close(objective(params, turned, KEY), objective(params, episodes, KEY))


@pytest.mark.parametrize("make, name", [(objectives.episodic, "loss"), (objectives.conml, "episodic_loss"),
                                        (objectives.conml, "d_in")])
def test_a_term_needs_a_name_of_its_own(make, name):
  with pytest.raises(ValueError, match=f"'{name}' is the name of a metric"):
    make(LEARNER, losses.squared_error, terms={name: (1.0, None)})
