"""Times programs alternately, so that a drift in the machine's speed affects all of them equally."""

import statistics
import time
from typing import Any, Callable, Mapping, NamedTuple

import jax


class Times(NamedTuple):
  """Seconds per call, one entry per window. Windows with the same index ran one after another."""
  wall: list[float]
  cpu: list[float]  # summed over all threads of this process

  @property
  def median(self) -> float:
    """The median wall time."""
    return statistics.median(self.wall)


def interleaved(programs: Mapping[str, Callable[[], Any]], *, windows: int = 9, seconds: float = 0.5
                ) -> dict[str, Times]:
  """Returns the times of programs. Each is run repeatedly for about `seconds` in each of `windows` rounds.

  A program returns its result, which is waited for. Each program is called twice before it is timed, to exclude
  compilation and warm-up.
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
  """Returns the ratio of one program's time to the other's, as the median over the windows."""
  return statistics.median(a / b for a, b in zip(slower.wall, faster.wall))
