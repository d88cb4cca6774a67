"""Says what to do if XLA:CPU waits for itself, instead of leaving a program that silently does nothing.

jaxlib 0.10 divides a batch of linear algebra (`jnp.linalg` under `vmap`) among the threads of its pool, and waits for
them on a thread of the same pool. On a machine with few cores, two such operations at a time may wait for each other
for ever. metajax's own learners avoid it; a learner of one's own may not.
"""

import contextlib
import sys
import threading
import time
from typing import Callable, Iterator

import jax

_SECONDS = 30.0  # without any computation, though a step is waited for
_IDLE = 0.02  # share of a core below which nothing is computed

MESSAGE = ("Nothing has been computed for {:.0f} s. On a CPU with few cores, linear algebra over a batch of tasks can "
           "wait for itself for ever. Stop this process; start it again with the environment variable NPROC=4, or map "
           "tasks one at a time (task_map=objectives.in_chunks(1), --config.training.task_chunk=1).")


@contextlib.contextmanager
def watching(seconds: float = _SECONDS, say: Callable[[str], object] = lambda text: print(text, file=sys.stderr)
             ) -> Iterator[Callable[[], contextlib.AbstractContextManager]]:
  """Yields a context for waits; if one is idle for some seconds, the remedy is said, once.

  Only CPUs of one process are watched: elsewhere, waiting takes no time of a CPU, and is right.
  """
  if jax.process_count() > 1 or jax.local_devices()[0].platform != "cpu":
    yield contextlib.nullcontext
    return
  waits, ended = threading.Event(), threading.Event()

  def watch():
    since, used = time.monotonic(), time.process_time()
    while not ended.wait(seconds / 10):
      now, spent = time.monotonic(), time.process_time()
      if not waits.is_set() or spent - used > _IDLE * (now - since):
        since, used = now, spent
      elif now - since > seconds:
        say(MESSAGE.format(now - since))
        return

  @contextlib.contextmanager
  def waiting():
    waits.set()
    try:
      yield
    finally:
      waits.clear()

  thread = threading.Thread(target=watch, name="metajax stalled", daemon=True)
  thread.start()
  try:
    yield waiting
  finally:
    ended.set()
    thread.join()
