"""What the operations of a compiled program take, from jax's own profiler: XLA tells the time of each."""

import collections
from pathlib import Path
import re
import tempfile
from typing import Any, Callable, NamedTuple

import jax

# An instruction of a compiled program, and the place in the source that it was made from, such as
# jit(step)/transpose(jvp(Conv4))/Conv4._block/conv_general_dilated.
_INSTRUCTION = re.compile(r"%(?P<name>[\w.-]+) = .*op_name=\"(?P<source>[^\"]+)\"")


class Operation(NamedTuple):
  """All instructions of a program that were made from one operation, or end in it where several are fused."""
  name: str  # of jax, such as conv_general_dilated
  backward: bool  # whether it belongs to a gradient
  instructions: int
  milliseconds: float  # a run, of all threads together


def operations(program: Callable[[], Any], text: str, runs: int = 10) -> list[Operation]:
  """Returns a program's operations, the longest first.

  Args:
    program: runs it once, and returns what it computes, which is waited for.
    text: the compiled program, as `compiled.as_text()` has it.
    runs: how often it is run.

  Raises:
    ValueError: if the profiler saw none of the program's instructions.
  """
  sources = {found["name"]: found["source"] for found in _INSTRUCTION.finditer(text)}
  with tempfile.TemporaryDirectory() as folder:
    with jax.profiler.trace(folder):
      for _ in range(runs):
        jax.block_until_ready(program())
    (trace,) = Path(folder).rglob("*.xplane.pb")
    times = _events(trace)
  times = {name: time / runs for name, time in times.items() if name in sources}
  if not times:
    raise ValueError("the profiler saw none of the operations of the compiled program; is it the one that was run?")
  return grouped(times, sources)


def grouped(times: dict[str, float], sources: dict[str, str]) -> list[Operation]:
  """Returns the times of instructions, in milliseconds, as those of the operations that they were made from."""
  groups = collections.defaultdict(list)
  for name, time in times.items():
    source = sources[name]
    groups[source.rpartition("/")[2], "transpose(" in source].append(time)
  found = [Operation(name, backward, len(each), sum(each)) for (name, backward), each in groups.items()]
  return sorted(found, key=lambda operation: -operation.milliseconds)


def _events(trace: Path) -> dict[str, float]:
  """Returns the milliseconds that each name of a trace took in all."""
  times: dict[str, float] = collections.defaultdict(float)
  for plane in jax.profiler.ProfileData.from_file(str(trace)).planes:
    for line in plane.lines:
      for event in line.events:
        times[event.name] += event.duration_ns / 1e6
  return times
