"""An estimator's carry is sharded like tasks and is part of the state."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from metajax import learners, losses, objectives
from metajax.estimators import differentiate
from metajax.tasks.sinusoids import sinusoids
from metajax.training import init_state, make_advance
from metajax.training.sharding import over_tasks_by_pmap, replicate, task_mesh
from metajax.types import Estimator
from tests.helpers import tanh_network

TASKS = sinusoids(4, 4)
LEARNER = learners.maml(tanh_network(1, 5, 1), losses.squared_error, optimizer=optax.sgd(0.1))
OBJECTIVE = objectives.episodic(LEARNER, losses.squared_error)
OPTIMIZER = optax.sgd(0.1)


def running():
  """An estimator whose carry, for each slot, sums the first inputs of its tasks and weights the gradient by it."""
  plain = differentiate(OBJECTIVE)

  def estimate(params, carry, tasks, key, step):
    carry = carry + tasks.support.inputs[:, 0, 0]
    gradient, _, metrics = plain.estimate(params, (), tasks, key, step)
    scale = jnp.mean(carry)
    return jax.tree.map(lambda leaf: scale * leaf, gradient), carry, metrics

  return Estimator(lambda params, tasks, key: jnp.zeros(tasks.support.mask.shape[0]), estimate)


def trained(estimator, devices, steps=3, state=None, **options):
  mesh = task_mesh(jax.devices()[:devices])
  state = init_state(LEARNER, OPTIMIZER, TASKS, jax.random.key(0), estimator, 8) if state is None else state
  advance = make_advance(estimator, OPTIMIZER, TASKS, num_tasks=8, num_steps=steps, key=jax.random.key(1), mesh=mesh,
                         **options)
  return advance(jax.tree.map(jnp.copy, state), replicate(TASKS.data, mesh))[0]


def test_each_slot_has_its_own_carry_on_any_devices():
  one, eight = trained(running(), 1), trained(running(), 8)
  assert one.carry.shape == eight.carry.shape == (8,)
  np.testing.assert_allclose(one.carry, eight.carry, rtol=1e-6)
  assert len(set(np.asarray(one.carry).tolist())) == 8
  assert not eight.carry.sharding.is_fully_replicated


def test_it_resumes():
  whole = trained(running(), 1, steps=4)
  half = trained(running(), 1, steps=2)
  again = trained(running(), 1, steps=2, state=half)
  jax.tree.map(np.testing.assert_array_equal, whole, again)


def test_to_differentiate_is_the_objective_itself():
  found, wanted = trained(differentiate(OBJECTIVE), 1), trained(OBJECTIVE, 1)
  assert found.carry == wanted.carry == ()
  jax.tree.map(np.testing.assert_array_equal, found, wanted)


def test_pmap_refuses_a_carry():
  with pytest.raises(ValueError, match="pmap"):
    trained(running(), 8, mapped=over_tasks_by_pmap)
