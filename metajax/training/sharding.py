"""The task axis mapped over devices: each device samples, adapts and differentiates its own share of the meta-batch.

Mapped with `shard_map` or `pmap`, never left to the automatic partitioner, which would gather vmapped per-task
convolutions and compute every task on every device.
"""

from typing import Any, Callable

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
import numpy as np

TASKS = "tasks"  # the name of the mapped axis

# (function, mesh) -> the function run on every device of the mesh
Mapping = Callable[[Callable, Mesh], Any]
_BIG = 4096  # numbers; a smaller array is not worth being spread


def task_mesh(devices: list[jax.Device] | None = None) -> Mesh:
  """Returns the mesh of one axis, `TASKS`, over the given devices (by default all there are)."""
  devices = jax.devices() if devices is None else devices
  return jax.make_mesh((len(devices),), (TASKS,), axis_types=(AxisType.Auto,), devices=devices)


def usable_devices(num_tasks: int) -> list[jax.Device]:
  """Returns as many devices as divide the meta-batch evenly, as many of each process.

  Raises:
    ValueError: if not even one device of each process can have as many tasks as the others.
  """
  processes, local = jax.process_count(), jax.local_device_count()
  fitting = [count for count in range(1, local + 1) if num_tasks % (processes * count) == 0]
  if not fitting:
    raise ValueError(f"the {num_tasks} tasks of a meta-batch cannot be shared evenly by {processes} processes; use a "
                     f"multiple of {processes}.")
  of_process: dict[int, list[jax.Device]] = {}
  for device in jax.devices():
    of_process.setdefault(device.process_index, []).append(device)
  return [device for devices in of_process.values() for device in devices[:fitting[-1]]]


def over_tasks(function: Callable, mesh: Mesh, in_specs: Any = PartitionSpec(), out_specs: Any = PartitionSpec()
               ) -> Callable:
  """Returns `function` run on every device of the mesh, with arguments and results replicated unless specified.

  `in_specs`, one for each argument, and `out_specs` say which are sharded.

  `check_vma` is off: with it on, a gradient with respect to a replicated argument is summed over the devices without
  a word, inside an inner loop too. Here a gradient is the device's own, until the function averages it.
  """
  return jax.shard_map(function, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False)


def over_tasks_by_pmap(function: Callable, mesh: Mesh) -> Callable:
  """Returns the same as `over_tasks` by way of `jax.pmap`, for those who know it by that name."""
  devices = list(mesh.devices.flat)
  own = [device for device in devices if device.process_index == jax.process_index()]

  def call(*arguments):
    # pmap wants an argument that differs from device to device; which it is does not matter here.
    in_axes = (0, *(None for _ in arguments))
    mapped = jax.pmap(lambda _, *rest: function(*rest), axis_name=TASKS, in_axes=in_axes, out_axes=None,
                      devices=devices)
    return mapped(np.arange(len(own)), *arguments)

  return call


def replicated(mesh: Mesh) -> NamedSharding:
  """Returns the sharding of an array that every device of the mesh holds whole."""
  return NamedSharding(mesh, PartitionSpec())


def spread(tree: Any, mesh: Mesh) -> Any:
  """Returns the shardings of a tree of arrays that the devices of the mesh share, each a part of every big one.

  An array is cut along its longest axis that the devices divide; one that is small, or has none, is whole everywhere.
  """

  def rule(leaf):
    fitting = [axis for axis, size in enumerate(leaf.shape) if size % mesh.size == 0]
    if leaf.size < _BIG or not fitting:
      return replicated(mesh)
    longest = max(fitting, key=lambda axis: leaf.shape[axis])
    return NamedSharding(mesh, PartitionSpec(*[None] * longest, TASKS))

  return jax.tree.map(rule, tree)


def replicate(tree: Any, mesh: Mesh) -> Any:
  """Returns a tree of arrays, the same in all processes, held whole by every device of the mesh."""
  if jax.process_count() == 1:
    return jax.device_put(tree, replicated(mesh))

  def spread(leaf):
    keys = jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    array = np.asarray(jax.random.key_data(leaf) if keys else leaf)
    whole = jax.make_array_from_callback(array.shape, replicated(mesh), lambda index: array[index])
    return jax.random.wrap_key_data(whole, impl=jax.random.key_impl(leaf)) if keys else whole

  return jax.tree.map(spread, tree)
