"""Read ahead by grain what coming meta-batches need of examples that stay on the host; each host reads its share.

Which rows a step needs is a function of seed and step, so they are drawn before it, by the same compiled draw, and
read in threads or processes while the device is busy. The episodes are those of the tasks themselves, to the bit.
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
  workers: int = 0  # processes; 0 reads in a thread of this one. They need a program that absl has started
  prefetch: int = 2  # meta-batches that are held ready, by each process


class Read(NamedTuple):
  """What was read for the `T` tasks of a meta-batch, or of one host's share of it."""
  keys: Any  # [T, ...] uint32, of which task
  blocks: Any  # a tuple, each [T, ..., ...]: the examples that a task asked for, in that order


class Fed(NamedTuple):
  """The data of tasks that are made of what was read, for some steps one after the other."""
  data: PyTree  # of the tasks that stay on the host
  first: Any  # int32, the steps done before the first of these
  read: Any  # a `Read`, with leaves [steps, T, ...]


def fed(tasks: TaskDistribution) -> TaskDistribution:
  """Returns the same tasks, for `data` of the kind `Fed`: a task finds by its key what was read for it.

  A task for which nothing was read has inputs that are no numbers, if they are real: its loss says so.
  """

  def at_step(data: Fed, step: Array) -> Fed:
    read = jax.tree.map(lambda leaf: leaf[step - data.first], data.read)
    return Fed(tasks.at_step(data.data, step), data.first, read)

  def sample(data: Fed, key: PRNGKey) -> Episode:
    own = jnp.all(data.read.keys == jax.random.key_data(key)[None, :], axis=1)
    episode = from_read(tasks.sample, data.data, key, tuple(block[jnp.argmax(own)] for block in data.read.blocks))
    return jax.tree.map(lambda leaf: jnp.where(jnp.any(own), leaf, jnp.nan) if jnp.issubdtype(
        leaf.dtype, jnp.floating) else leaf, episode)

  keys = lambda data, key, places: tasks.keys(data.data, key, places)
  return TaskDistribution(sample, at_step=at_step, keys=keys)


def read_ahead(tasks: TaskDistribution, key: PRNGKey, *, num_tasks: int, num_steps: int, start: int = 0,
               reading: Reading = Reading(), host: int = 0, num_hosts: int = 1) -> Iterator[Read]:
  """Returns an iterator over what the steps after `start` read, NumPy arrays, one `Read` a step.

  Args:
    tasks: with one array of their data on the host (`class_tasks(..., on_host=True)`).
    key: the root key, as of `training.make_advance`.
    num_tasks: tasks in a meta-batch, over all hosts.
    num_steps: steps in all.
    start: the steps already done: where a run that was broken off goes on.
    reading: how.
    host, num_hosts: this host, of how many: it reads for its own places of each meta-batch.

  Raises:
    ValueError: if the hosts do not divide the tasks, the start is no step, or the tasks leave nothing on the host.
  """
  if not 0 <= host < num_hosts or num_tasks % num_hosts:
    raise ValueError(f"{num_tasks} tasks must be shared evenly by hosts 0 to {num_hosts - 1}, of which this is {host}.")
  if not 0 <= start <= num_steps:
    raise ValueError(f"start={start} must be one of the {num_steps} steps.")
  if reading.workers < 0 or reading.prefetch < 1:
    raise ValueError(f"reading ahead takes 0 or more workers and 1 or more meta-batches ahead, but got {reading}.")
  share = num_tasks // num_hosts
  source = _Source(tasks, key, np.arange(host * share, (host + 1) * share, dtype=np.int32), num_steps)
  dataset: Any = grain.MapDataset.source(source)
  threads = grain.ReadOptions(num_threads=0 if reading.workers else 1, prefetch_buffer_size=reading.prefetch)
  iterable = dataset[start:].to_iter_dataset(threads)
  if reading.workers:
    iterable = iterable.mp_prefetch(
        grain.MultiprocessingOptions(num_workers=reading.workers, per_worker_buffer_size=reading.prefetch),
        worker_init_fn=_on_cpu)
  return iter(iterable)


def read_shapes(tasks: TaskDistribution, num_tasks: int) -> Read:
  """Returns the shapes and types of a `Read` of so many tasks; nothing is read.

  Raises:
    ValueError: unless one array of the data is on the host, and which rows a task asks for is told by its key alone.
  """
  key, places = jax.random.key(0), jnp.arange(num_tasks, dtype=jnp.int32)
  try:
    # Of examples nothing may hang on but the episode: who reads computes on CPU, perhaps with other rounding.
    some = jax.eval_shape(lambda: tasks.keys(without_examples(tasks.data), key, places))
    keys, rows = jax.eval_shape(jax.vmap(_asking(tasks.sample), (None, 0)), tasks.data, some)
  except jax.errors.UnexpectedTracerError as error:
    raise ValueError("tasks of which several are drawn at once, as by hardest_of, cannot be read ahead; let each step "
                     "fetch its own.") from error
  array = stores(tasks.data)[0].array
  return Read(keys, tuple(jax.ShapeDtypeStruct((*each.shape, *array.shape[1:]), array.dtype) for each in rows))


def meta_batches(tasks: TaskDistribution, key: PRNGKey, *, num_tasks: int, num_steps: int, start: int = 0,
                 reading: Reading = Reading()) -> Generator[Episode, None, None]:
  """Returns a generator of meta-batches `[T, ...]` on the device, those of training, for loops of your own.

  Arguments and errors as in `read_ahead`. Closed, it ends the threads or processes that read.
  """
  places = jnp.arange(num_tasks, dtype=jnp.int32)
  make = jax.jit(lambda data, step: meta_batch(fed(tasks), data, key, step, places))
  reads: Any = read_ahead(tasks, key, num_tasks=num_tasks, num_steps=num_steps, start=start, reading=reading)
  with contextlib.closing(reads):
    for step, read in enumerate(reads, start):
      data = Fed(tasks.data, np.int32(step), jax.tree.map(lambda leaf: leaf[None], read))
      yield make(data, jnp.int32(step))


class _Source:
  """A random-access source for grain: element `step` is what is read for some places of that step's meta-batch."""

  def __init__(self, tasks: TaskDistribution, key: PRNGKey, places: np.ndarray, num_steps: int):
    read_shapes(tasks, 1)  # it raises if they cannot be read
    self._stored, = stores(tasks.data)
    self._sample, self._at_step, self._keys = tasks.sample, tasks.at_step, tasks.keys
    # As NumPy arrays: a worker process gets them before it has a device.
    self._data, self._key = jax.tree.map(np.asarray, tasks.data), np.asarray(jax.random.key_data(key))
    self._places, self._num_steps = places, num_steps

  def __len__(self) -> int:
    return self._num_steps

  def __repr__(self) -> str:
    return f"{type(self).__name__}({len(self._places)} places, {self._num_steps} steps)"

  def __getstate__(self) -> dict[str, Any]:
    return {name: value for name, value in vars(self).items() if name != "_draw"}  # compiled by each process

  def __getitem__(self, step: int) -> Read:
    with jax.default_device(jax.local_devices(backend="cpu")[0]):
      keys, rows = jax.device_get(self._draw(self._data, self._key, np.int32(step), self._places))
    return Read(keys, tuple(map(self._stored.read, rows)))

  @functools.cached_property
  def _draw(self) -> Any:
    asking = TaskDistribution(_asking(self._sample), at_step=self._at_step, keys=self._keys)
    return jax.jit(lambda data, key_data, step, places: meta_batch(
        asking, data, jax.random.wrap_key_data(key_data), step, places))


def _asking(sample: Sample) -> Any:
  """Returns `(data, key) -> (the key as numbers, the rows that its task asks for)`."""
  return lambda data, key: (jax.random.key_data(key), rows_asked(sample, data, key))


def _on_cpu(worker: int, workers: int) -> None:
  """Keeps a worker process away from the accelerator, which is its parent's."""
  del worker, workers
  jax.config.update("jax_platforms", "cpu")
