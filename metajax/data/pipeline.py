"""Meta-batches drawn on the host by grain, read ahead in threads or processes, each host its share.

A generator of episodes for training loops of your own, and for data that a compiled step cannot index. `class_tasks`
with `on_host=True` is the other way to keep examples on the host, and works in every recipe.
"""

from typing import Any, Iterator

import grain
import numpy as np

from metajax.data.class_data import ClassData
from metajax.types import Episode, Examples


class EpisodeSource:
  """A random-access source for grain: element `step` is this host's share of the meta-batch of that step.

  An episode is a function of `(seed, step, place in the meta-batch)`, whatever the hosts, workers and restarts.
  """

  def __init__(self, source: ClassData, *, ways: int, shots: int, queries: int, num_tasks: int, seed: int,
               num_steps: int, host: int = 0, num_hosts: int = 1):
    """Arguments as in `meta_batches`."""
    self._source, self._seed, self._num_steps = source, seed, num_steps
    self._ways, self._shots, self._queries = ways, shots, queries
    share = num_tasks // num_hosts
    self._places = range(host * share, (host + 1) * share)
    self._starts = np.concatenate([[0], np.cumsum(source.counts)[:-1]])

  def __len__(self) -> int:
    return self._num_steps

  def __repr__(self) -> str:
    return f"EpisodeSource({self._source.source!r}, seed={self._seed})"

  def __getitem__(self, step: int) -> Episode:
    rows = np.stack([self._rows(step, place) for place in self._places])  # [T, ways, shots + queries]
    inputs = self._source.examples[rows]
    labels = np.broadcast_to(np.arange(self._ways, dtype=np.int32)[:, None], rows.shape)
    return Episode(*(self._part(inputs[:, :, where], labels[:, :, where])
                     for where in (slice(None, self._shots), slice(self._shots, None))))

  def _rows(self, step: int, place: int) -> np.ndarray:
    random = np.random.default_rng((self._seed, step, place))
    classes = random.choice(len(self._source.counts), self._ways, replace=False)
    return np.stack([self._starts[number] + random.choice(self._source.counts[number], self._shots + self._queries,
                                                          replace=False) for number in classes])

  def _part(self, inputs: np.ndarray, labels: np.ndarray) -> Examples:
    flat = lambda array: np.ascontiguousarray(array).reshape(len(array), -1, *array.shape[3:])
    targets = flat(labels)
    return Examples(flat(inputs), targets, np.ones(targets.shape, bool))  # type: ignore[arg-type]


def meta_batches(source: ClassData, *, ways: int, shots: int, queries: int, num_tasks: int, seed: int,
                 num_steps: int, start: int = 0, workers: int = 0, threads: int = 1, prefetch: int = 2, host: int = 0,
                 num_hosts: int = 1) -> Iterator[Episode]:
  """Returns an iterator over meta-batches `[T, ...]` of NumPy arrays, inputs as stored, read ahead of who asks.

  Args:
    source: the labelled examples.
    ways, shots, queries: of each task, as in `class_tasks`.
    num_tasks: tasks in a meta-batch, over all hosts.
    seed: the root of all draws.
    num_steps: meta-batches in all.
    start: the step to begin with: where a run that was broken off goes on.
    workers: processes that read ahead; 0 reads in threads of this one. They need a program that absl has started
      (`app.run`), as every command of metajax is.
    threads: that read ahead without workers; 0 reads when asked.
    prefetch: meta-batches that are held ready by each.
    host, num_hosts: this host, of how many: it gets its own share of the places of each meta-batch.

  Raises:
    ValueError: if the hosts do not divide the tasks, or such tasks cannot be drawn.
  """
  if not 0 <= host < num_hosts or num_tasks % num_hosts:
    raise ValueError(f"{num_tasks} tasks must be shared evenly by hosts 0 to {num_hosts - 1}, of which this is {host}.")
  if not 2 <= ways <= len(source.counts):
    raise ValueError(f"ways={ways} must be at least 2 and at most the {len(source.counts)} classes there are.")
  if min(shots, queries) < 1 or shots + queries > source.counts.min():
    raise ValueError(f"shots={shots} and queries={queries} must be at least 1, and together at most the "
                     f"{int(source.counts.min())} examples of the smallest class.")
  if not 0 <= start <= num_steps:
    raise ValueError(f"start={start} must be one of the {num_steps} steps.")
  dataset: Any = grain.MapDataset.source(EpisodeSource(
      source, ways=ways, shots=shots, queries=queries, num_tasks=num_tasks, seed=seed, num_steps=num_steps, host=host,
      num_hosts=num_hosts))
  read = grain.ReadOptions(num_threads=0 if workers else threads, prefetch_buffer_size=prefetch if threads else 0)
  iterable = dataset[start:].to_iter_dataset(read)
  if workers:
    iterable = iterable.mp_prefetch(grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=prefetch))
  return iter(iterable)
