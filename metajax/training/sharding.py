"""Sharding of tasks over devices: each device samples, adapts to and differentiates its own shard of the meta-batch.

Tasks are mapped with `shard_map` or `pmap`. The automatic partitioner would gather vmapped per-task convolutions and
compute every task on every device.
"""

from typing import Any, Callable

import jax
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
import numpy as np

TASKS = "tasks"  # the name of the mapped axis

# (function, mesh) -> the function run on every device of the mesh
Mapping = Callable[[Callable, Mesh], Any]
_BIG = 4096  # elements; smaller arrays are not worth sharding


def task_mesh(devices: list[jax.Device] | None = None) -> Mesh:
  """Returns the mesh with the single axis `TASKS` over the given devices (by default all), as `in_order`."""
  return Mesh(in_order(jax.devices() if devices is None else devices), (TASKS,), axis_types=(AxisType.Auto,))


def in_order(devices: list[jax.Device]) -> np.ndarray:
  """Returns devices slice by slice, and those of a slice as they are connected."""
  slices: dict[int, list[jax.Device]] = {}
  for device in devices:
    slices.setdefault(getattr(device, "slice_index", 0) or 0, []).append(device)
  return np.concatenate([_connected(slices[index]) for index in sorted(slices)])


def _connected(devices: list[jax.Device]) -> np.ndarray:
  try:
    return mesh_utils.create_device_mesh((len(devices),), devices)
  except (AssertionError, NotImplementedError, ValueError):  # a part of a slice that is no box has no such order
    return np.asarray(devices)


def usable_devices(num_tasks: int) -> list[jax.Device]:
  """Returns the largest set of devices that divides the meta-batch evenly, with equally many devices of each process.

  Raises:
    ValueError: if the meta-batch cannot be divided evenly among the processes.
  """
  processes, local = jax.process_count(), jax.local_device_count()
  check_divisible(num_tasks, processes)
  fitting = [count for count in range(1, local + 1) if num_tasks % (processes * count) == 0]
  by_process: dict[int, list[jax.Device]] = {}
  for device in jax.devices():
    by_process.setdefault(device.process_index, []).append(device)
  return [device for devices in by_process.values() for device in devices[:fitting[-1]]]


def check_divisible(num_tasks: int, processes: int) -> None:
  """Raises ValueError if a meta-batch cannot be divided evenly among that many processes."""
  if num_tasks % processes:
    raise ValueError(f"the {num_tasks} tasks of a meta-batch cannot be divided evenly among {processes} processes; "
                     f"use a multiple of {processes}.")


def over_tasks(function: Callable, mesh: Mesh, in_specs: Any = PartitionSpec(), out_specs: Any = PartitionSpec()
               ) -> Callable:
  """Returns `function` mapped over the devices of the mesh, with arguments and results replicated by default.

  `in_specs`, one per argument, and `out_specs` specify which are sharded.

  `check_vma` is off: with it on, gradients with respect to a replicated argument are implicitly summed over devices,
  even inside an inner loop. Here a gradient is that of the device's own tasks, until the function averages it.
  """
  return jax.shard_map(function, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False)


def over_tasks_by_pmap(function: Callable, mesh: Mesh) -> Callable:
  """Returns the same as `over_tasks`, but maps with `jax.pmap`."""
  devices = list(mesh.devices.flat)
  own = [device for device in devices if device.process_index == jax.process_index()]

  def call(*arguments):
    # pmap needs an argument with a mapped axis; its value is not used.
    in_axes = (0, *(None for _ in arguments))
    mapped = jax.pmap(lambda _, *rest: function(*rest), axis_name=TASKS, in_axes=in_axes, out_axes=None,
                      devices=devices)
    return mapped(np.arange(len(own)), *arguments)

  return call


def replicated(mesh: Mesh) -> NamedSharding:
  """Returns the sharding of an array that is replicated over the mesh."""
  return NamedSharding(mesh, PartitionSpec())


def spread(tree: Any, mesh: Mesh) -> Any:
  """Returns the shardings of a tree of arrays whose large leaves are sharded over the mesh.

  An array is sharded along its longest axis that is divisible by the number of devices. Arrays without such an axis,
  and small ones, are replicated.
  """

  def rule(leaf):
    fitting = [axis for axis, size in enumerate(leaf.shape) if size % mesh.size == 0]
    if leaf.size < _BIG or not fitting:
      return replicated(mesh)
    longest = max(fitting, key=lambda axis: leaf.shape[axis])
    return NamedSharding(mesh, PartitionSpec(*[None] * longest, TASKS))

  return jax.tree.map(rule, tree)


def replicate(tree: Any, mesh: Mesh) -> Any:
  """Replicates a tree of arrays, which must be the same in all processes, over the mesh."""
  if jax.process_count() == 1:
    return jax.device_put(tree, replicated(mesh))

  def put(leaf):
    keys = jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    array = np.asarray(jax.random.key_data(leaf) if keys else leaf)
    whole = jax.make_array_from_callback(array.shape, replicated(mesh), lambda index: array[index])
    return jax.random.wrap_key_data(whole, impl=jax.random.key_impl(leaf)) if keys else whole

  return jax.tree.map(put, tree)
