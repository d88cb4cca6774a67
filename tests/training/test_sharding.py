"""The task axis over eight simulated devices."""

from dataclasses import dataclass

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np
import pytest

from metajax.training import sharding


@pytest.mark.parametrize("num_tasks, number", [(32, 8), (25, 5), (7, 7), (1, 1), (8, 8), (12, 6), (11, 1), (2, 2)])
def test_usable_devices_divide_the_tasks(num_tasks, number):
  assert len(jax.devices()) == 8
  assert sharding.usable_devices(num_tasks) == jax.devices()[:number]


@pytest.mark.parametrize("number", [1, 3, 8])
def test_the_mesh_is_one_axis_over_the_devices(number):
  mesh = sharding.task_mesh(jax.devices()[:number])
  assert mesh.axis_names == (sharding.TASKS,) and mesh.shape[sharding.TASKS] == number
  assert mesh.devices.tolist() == jax.devices()[:number]


def test_the_mesh_takes_all_devices_unless_told():
  assert sharding.task_mesh().devices.tolist() == jax.devices()


@dataclass(frozen=True)
class _Chip:
  id: int
  slice_index: int
  platform: str = "cpu"
  device_kind: str = "cpu"
  process_index: int = 0


def test_slices_follow_each_other():
  chips = [_Chip(0, 1), _Chip(1, 0), _Chip(2, 1), _Chip(3, 0)]
  assert sharding.in_order(chips).tolist() == [chips[index] for index in (1, 3, 0, 2)]


@pytest.mark.parametrize("number", [1, 5, 8])
def test_every_device_runs_the_function_for_its_own_place(number):
  mesh = sharding.task_mesh(jax.devices()[:number])

  def places(values):
    assert values.shape == (3,)  # the argument is replicated on every device
    return lax.all_gather(lax.axis_index(sharding.TASKS), sharding.TASKS), lax.psum(values, sharding.TASKS)

  gathered, summed = jax.jit(sharding.over_tasks(places, mesh))(jnp.asarray([1.0, 2.0, 5.0]))
  np.testing.assert_array_equal(gathered, np.arange(number))
  np.testing.assert_array_equal(summed, number * np.asarray([1, 2, 5]))
  assert summed.sharding.device_set == set(mesh.devices.flat)


def test_a_gradient_is_the_device_s_own_until_averaged_in_an_inner_loop_too():
  mesh = sharding.task_mesh()
  targets = np.arange(8.0, dtype=np.float32) ** 2

  def task_loss(params, target):
    adapted = params - 0.1 * jax.grad(lambda p: (p - target) ** 2)(params)  # one inner step
    return (adapted - target) ** 2

  def step(params, targets):
    own = targets[lax.axis_index(sharding.TASKS)]
    return lax.pmean(jax.grad(task_loss)(params, own), sharding.TASKS)

  actual = jax.jit(sharding.over_tasks(step, mesh))(jnp.float32(3), jnp.asarray(targets))
  # The adapted distance is 0.8 (p - target), so the gradient is 2 * 0.64 (p - target).
  assert float(actual) == pytest.approx(np.mean(2 * 0.64 * (3 - targets)), rel=1e-5)


def test_replicated_puts_the_whole_array_on_every_device_of_the_mesh():
  mesh = sharding.task_mesh(jax.devices()[:5])
  values = jnp.arange(10.0)
  placed = jax.device_put(values, sharding.replicated(mesh))
  assert placed.is_fully_replicated and len(placed.addressable_shards) == 5
  assert {shard.device for shard in placed.addressable_shards} == set(jax.devices()[:5])
  for shard in placed.addressable_shards:
    np.testing.assert_array_equal(shard.data, values)
