"""The time of each operation of a compiled program, from jax's profiler."""

import collections
from pathlib import Path
import re
import tempfile
from typing import Any, Callable, NamedTuple

import jax

# An instruction of a compiled program and its origin in the source, such as
# jit(step)/transpose(jvp(Conv4))/Conv4._block/conv_general_dilated.
_INSTRUCTION = re.compile(r"%(?P<name>[\w.-]+) = .*op_name=\"(?P<source>[^\"]+)\"")


class Operation(NamedTuple):
  """All instructions compiled from one operation, or fused instructions that end in it."""
  name: str  # in jax, such as conv_general_dilated
  backward: bool  # whether it belongs to a gradient
  instructions: int
  milliseconds: float  # per run, summed over all threads


def operations(program: Callable[[], Any], text: str, runs: int = 10) -> list[Operation]:
  """Returns a program's operations, slowest first.

  Args:
    program: runs the program once and returns its result, which is waited for.
    text: the compiled program, from `compiled.as_text()`.
    runs: the number of runs.

  Raises:
    ValueError: if the profile has none of the program's instructions.
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
    raise ValueError("the profile has no operation of the compiled program; check that this program was run.")
  return grouped(times, sources)


def grouped(times: dict[str, float], sources: dict[str, str]) -> list[Operation]:
  """Sums the times of instructions, in milliseconds, by the operation they were compiled from."""
  groups = collections.defaultdict(list)
  for name, time in times.items():
    source = sources[name]
    groups[source.rpartition("/")[2], "transpose(" in source].append(time)
  found = [Operation(name, backward, len(each), sum(each)) for (name, backward), each in groups.items()]
  return sorted(found, key=lambda operation: -operation.milliseconds)


def _events(trace: Path) -> dict[str, float]:
  """Returns the total milliseconds of each name in a trace."""
  times: dict[str, float] = collections.defaultdict(float)
  for plane in jax.profiler.ProfileData.from_file(str(trace)).planes:
    for line in plane.lines:
      for event in line.events:
        times[event.name] += event.duration_ns / 1e6
  return times
