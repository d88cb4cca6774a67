"""Reads ahead, with grain, the examples that coming meta-batches need of data on the host; each host reads its shard.

The rows of a step are a function of the seed and the step. So the same compiled draw can be run ahead of time, and the
rows be read in threads or processes while the device is busy. Episodes are identical to those drawn without reading
ahead, bit for bit.
"""

import contextlib
import functools
from typing import Any, Generator, Iterator, NamedTuple

import grain
import jax
import jax.numpy as jnp
import numpy as np

from metajax.tasks.host import Sample, from_read, rows_asked, stores, without_examples
from metajax.tasks.sampling import meta_batch
from metajax.types import Array, Episode, PRNGKey, PyTree, TaskDistribution


class Reading(NamedTuple):
  """How to read ahead."""
  workers: int = 0  # processes, which need a program started by absl; 0 reads in a thread of this process
  prefetch: int = 2  # meta-batches that each process keeps ready


class Read(NamedTuple):
  """The examples that were read for the `T` tasks of a meta-batch, or of one host's shard of it."""
  keys: Any  # [T, ...] uint32, the keys of the tasks
  blocks: Any  # a tuple, each [T, ..., ...]: the examples that a task requested, in that order


class Fed(NamedTuple):
  """The data of tasks that are built from what was read ahead, for some consecutive steps."""
  data: PyTree  # the data of the original tasks, whose examples stay on the host
  first: Any  # int32, the number of steps done before the first of these steps
  read: Any  # a `Read` with leaves [steps, T, ...]


def fed(tasks: TaskDistribution) -> TaskDistribution:
  """Returns the same tasks with `data` of type `Fed`: a task finds the examples that were read for it by its key.

  If nothing was read for a task, its real inputs are NaN, and so is its loss.
  """

  def at_step(data: Fed, step: Array) -> Fed:
    read = jax.tree.map(lambda leaf: leaf[step - data.first], data.read)
    return Fed(tasks.at_step(data.data, step), data.first, read)

  def sample(data: Fed, key: PRNGKey) -> Episode:
    own = jnp.all(data.read.keys == jax.random.key_data(key)[None, :], axis=1)
    episode = from_read(tasks.sample, data.data, key, tuple(block[jnp.argmax(own)] for block in data.read.blocks))
    return jax.tree.map(lambda leaf: jnp.where(jnp.any(own), leaf, jnp.nan) if jnp.issubdtype(
        leaf.dtype, jnp.floating) else leaf, episode)

  keys = lambda data, key, indices: tasks.keys(data.data, key, indices)
  return TaskDistribution(sample, at_step=at_step, keys=keys)


def read_ahead(tasks: TaskDistribution, key: PRNGKey, *, num_tasks: int, num_steps: int, start: int = 0,
               reading: Reading = Reading(), host: int = 0, num_hosts: int = 1) -> Iterator[Read]:
  """Returns an iterator over the examples of the steps after `start`, as NumPy arrays, one `Read` per step.

  Args:
    tasks: with one array of their data on the host (`class_tasks(..., on_host=True)`).
    key: the root key, as in `training.step.make_advance`.
    num_tasks: tasks in a meta-batch, over all hosts.
    num_steps: the total number of steps.
    start: the number of steps already done, if a run is resumed.
    reading: how to read ahead.
    host, num_hosts: the index of this host and the number of hosts; each reads for its own tasks of each meta-batch.

  Raises:
    ValueError: if the hosts do not divide the tasks, `start` is not in [0, num_steps], or no data stays on the host.
  """
  if not 0 <= host < num_hosts or num_tasks % num_hosts:
    raise ValueError(f"{num_tasks} tasks must be divided evenly among hosts 0 to {num_hosts - 1}, of which this is "
                     f"{host}.")
  if not 0 <= start <= num_steps:
    raise ValueError(f"start={start} must be between 0 and num_steps={num_steps}.")
  if reading.workers < 0 or reading.prefetch < 1:
    raise ValueError(f"reading ahead needs 0 or more workers and 1 or more meta-batches ahead, but got {reading}.")
  per_host = num_tasks // num_hosts
  source = _Source(tasks, key, np.arange(host * per_host, (host + 1) * per_host, dtype=np.int32), num_steps)
  dataset: Any = grain.MapDataset.source(source)
  threads = grain.ReadOptions(num_threads=0 if reading.workers else 1, prefetch_buffer_size=reading.prefetch)
  iterable = dataset[start:].to_iter_dataset(threads)
  if reading.workers:
    iterable = iterable.mp_prefetch(
        grain.MultiprocessingOptions(num_workers=reading.workers, per_worker_buffer_size=reading.prefetch),
        worker_init_fn=_on_cpu)
  return iter(iterable)


def read_shapes(tasks: TaskDistribution, num_tasks: int) -> Read:
  """Returns the shapes and dtypes of a `Read` of `num_tasks` tasks, without reading anything.

  Raises:
    ValueError: unless exactly one array of the data is on the host, and a task's rows depend only on its key.
  """
  key, indices = jax.random.key(0), jnp.arange(num_tasks, dtype=jnp.int32)
  try:
    # The choice of tasks must not depend on examples: readers compute on CPU, where rounding may differ.
    some = jax.eval_shape(lambda: tasks.keys(without_examples(tasks.data), key, indices))
    keys, rows = jax.eval_shape(jax.vmap(_asking(tasks.sample), (None, 0)), tasks.data, some)
  except jax.errors.UnexpectedTracerError as error:
    raise ValueError("tasks of which several are drawn at once, as by hardest_of, cannot be read ahead; let each step "
                     "fetch its own examples instead.") from error
  array = stores(tasks.data)[0].array
  return Read(keys, tuple(jax.ShapeDtypeStruct((*each.shape, *array.shape[1:]), array.dtype) for each in rows))


def meta_batches(tasks: TaskDistribution, key: PRNGKey, *, num_tasks: int, num_steps: int, start: int = 0,
                 reading: Reading = Reading()) -> Generator[Episode, None, None]:
  """Returns a generator of meta-batches `[T, ...]` on the device, as in training, for use in a custom loop.

  Arguments and errors are those of `read_ahead`. Closing it stops the reading threads or processes.
  """
  indices = jnp.arange(num_tasks, dtype=jnp.int32)
  make = jax.jit(lambda data, step: meta_batch(fed(tasks), data, key, step, indices))
  reads: Any = read_ahead(tasks, key, num_tasks=num_tasks, num_steps=num_steps, start=start, reading=reading)
  with contextlib.closing(reads):
    for step, read in enumerate(reads, start):
      data = Fed(tasks.data, np.int32(step), jax.tree.map(lambda leaf: leaf[None], read))
      yield make(data, jnp.int32(step))


class _Source:
  """A random-access source for grain: element `step` is the `Read` of some tasks of that step's meta-batch."""

  def __init__(self, tasks: TaskDistribution, key: PRNGKey, indices: np.ndarray, num_steps: int):
    read_shapes(tasks, 1)  # raises if the tasks cannot be read ahead
    self._stored, = stores(tasks.data)
    self._sample, self._at_step, self._keys = tasks.sample, tasks.at_step, tasks.keys
    # As NumPy arrays: a worker process receives them before it has a device.
    self._data, self._key = jax.tree.map(np.asarray, tasks.data), np.asarray(jax.random.key_data(key))
    self._indices, self._num_steps = indices, num_steps

  def __len__(self) -> int:
    return self._num_steps

  def __repr__(self) -> str:
    return f"{type(self).__name__}({len(self._indices)} tasks, {self._num_steps} steps)"

  def __getstate__(self) -> dict[str, Any]:
    return {name: value for name, value in vars(self).items() if name != "_draw"}  # compiled by each process

  def __getitem__(self, step: int) -> Read:
    with jax.default_device(jax.local_devices(backend="cpu")[0]):
      keys, rows = jax.device_get(self._draw(self._data, self._key, np.int32(step), self._indices))
    return Read(keys, tuple(map(self._stored.read, rows)))

  @functools.cached_property
  def _draw(self) -> Any:
    asking = TaskDistribution(_asking(self._sample), at_step=self._at_step, keys=self._keys)
    return jax.jit(lambda data, key_data, step, indices: meta_batch(
        asking, data, jax.random.wrap_key_data(key_data), step, indices))


def _asking(sample: Sample) -> Any:
  """Returns `(data, key) -> (the key as integers, the rows that its task requests)`."""
  return lambda data, key: (jax.random.key_data(key), rows_asked(sample, data, key))


def _on_cpu(worker: int, workers: int) -> None:
  """Keeps a worker process from using the accelerator, which belongs to its parent."""
  del worker, workers
  jax.config.update("jax_platforms", "cpu")
