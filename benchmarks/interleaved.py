"""Programs timed in turn, so that a machine that drifts slows them all alike."""

import statistics
import time
from typing import Any, Callable, Mapping, NamedTuple

import jax


class Times(NamedTuple):
  """Seconds a call, one entry a window; windows of the same place in the lists were run one after the other."""
  wall: list[float]
  cpu: list[float]  # of all threads of this process

  @property
  def median(self) -> float:
    """The median wall time."""
    return statistics.median(self.wall)


def interleaved(programs: Mapping[str, Callable[[], Any]], *, windows: int = 9, seconds: float = 0.5
                ) -> dict[str, Times]:
  """Returns the times of programs, each run again and again for about `seconds` in each of `windows` rounds.

  A program returns what it computed, which is waited for. Each is called twice before it is timed: what it compiles and
  first touches is not counted.
  """
  calls = {}
  for name, program in programs.items():
    jax.block_until_ready(program())
    start = time.perf_counter()
    jax.block_until_ready(program())
    calls[name] = max(1, round(seconds / (time.perf_counter() - start)))
  times = {name: Times([], []) for name in programs}
  for _ in range(windows):
    for name, program in programs.items():
      wall, cpu = time.perf_counter(), time.process_time()
      for _ in range(calls[name]):
        result = program()
      jax.block_until_ready(result)
      times[name].wall.append((time.perf_counter() - wall) / calls[name])
      times[name].cpu.append((time.process_time() - cpu) / calls[name])
  return times


def ratio(slower: Times, faster: Times) -> float:
  """Returns the median over the windows of how many times longer one program took than the other."""
  return statistics.median(a / b for a, b in zip(slower.wall, faster.wall))
