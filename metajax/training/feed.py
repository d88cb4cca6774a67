"""Moves examples that were read ahead to the devices: for each dispatch, each device gets those of its own tasks."""

from typing import Any, Iterator

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
import numpy as np

from metajax.training.pipeline import Fed, Read, Reading, fed, read_ahead, read_shapes
from metajax.training.sharding import TASKS, replicate
from metajax.types import PRNGKey, TaskDistribution


class Feed:
  """Called with the number of steps done and of steps in a dispatch, returns the data of that dispatch, a `Fed`.

  Reading starts at the step of the first call; later calls must follow in order. Each process reads only for its own
  devices.
  """

  def __init__(self, tasks: TaskDistribution, key: PRNGKey, mesh: Mesh, *, num_tasks: int, num_steps: int,
               reading: Reading):
    """Arguments as in `pipeline.read_ahead`, and the mesh of devices that the `num_tasks` tasks are sharded over."""
    self.tasks = fed(tasks)
    self.specs = Fed(PartitionSpec(), PartitionSpec(), PartitionSpec(None, TASKS))  # of `sharding.over_tasks`
    self.way = f"in {reading.workers} process(es)" if reading.workers else "in a thread"
    self._own, self._key, self._mesh = tasks, key, mesh
    self._data = replicate(tasks.data, mesh)
    processes = list(dict.fromkeys(device.process_index for device in mesh.devices.flat))  # in the order of the mesh
    self._settings: dict[str, Any] = {
        "num_tasks": num_tasks, "num_steps": num_steps, "reading": reading,
        "host": processes.index(jax.process_index()), "num_hosts": len(processes)}
    self._reads: Any = None

  def __call__(self, done: int, count: int) -> Fed:
    if self._reads is None:
      self._reads = read_ahead(self._own, self._key, start=done, **self._settings)
    reads: Iterator[Read] = self._reads
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *[next(reads) for _ in range(count)])
    parts = jax.tree.map(lambda leaf: jax.make_array_from_process_local_data(self._sharded(), leaf), stacked)
    return Fed(self._data, replicate(np.int32(done), self._mesh), parts)

  def like(self, count: int) -> Fed:
    """Returns shapes, dtypes and shardings of the data of a dispatch of `count` steps, without reading anything."""
    read = read_shapes(self._own, self._settings["num_tasks"])
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((count, *leaf.shape), leaf.dtype, sharding=self._sharded()),
                          read)
    return Fed(self._data, replicate(np.int32(0), self._mesh), shapes)

  def close(self) -> None:
    """Stops the reading threads or processes."""
    if self._reads is not None:
      self._reads.close()

  def _sharded(self) -> NamedSharding:
    return NamedSharding(self._mesh, PartitionSpec(None, TASKS))
