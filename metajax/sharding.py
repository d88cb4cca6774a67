"""The task axis mapped over devices: each device samples, adapts and differentiates its own share of the meta-batch.

Mapped with `shard_map`, never left to the automatic partitioner, which would gather vmapped per-task convolutions and
compute every task on every device.
"""

from typing import Callable

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

TASKS = "tasks"  # the name of the mapped axis


def task_mesh(devices: list[jax.Device] | None = None) -> Mesh:
  """Returns the mesh of one axis, `TASKS`, over the given devices (by default all there are)."""
  devices = jax.devices() if devices is None else devices
  return jax.make_mesh((len(devices),), (TASKS,), axis_types=(AxisType.Auto,), devices=devices)


def usable_devices(num_tasks: int) -> list[jax.Device]:
  """Returns as many devices as divide the meta-batch evenly."""
  devices = jax.devices()
  return devices[:max(n for n in range(1, len(devices) + 1) if num_tasks % n == 0)]


def over_tasks(function: Callable, mesh: Mesh) -> Callable:
  """Returns `function` run on every device of the mesh, its arguments and results the same on all of them.

  `check_vma` is off: with it on, a gradient with respect to a replicated argument is summed over the devices without
  a word, inside an inner loop too. Here a gradient is the device's own, until the function averages it.
  """
  return jax.shard_map(function, mesh=mesh, in_specs=PartitionSpec(), out_specs=PartitionSpec(), check_vma=False)


def replicated(mesh: Mesh) -> NamedSharding:
  """Returns the sharding of an array that every device of the mesh holds whole."""
  return NamedSharding(mesh, PartitionSpec())
