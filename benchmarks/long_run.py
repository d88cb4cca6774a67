"""Measures whether a long run accumulates memory, open files or compiled programs.

  python -m benchmarks.long_run      20,000 steps, a few minutes, on Linux; writes docs/results/long_run.json
"""

import json
import os
from pathlib import Path
import tempfile
from typing import Any

import jax

from benchmarks import tables
from experiments.regression import sinusoid
from metajax.lab import run as runs
from metajax.lab.recipe import Test, Training

_RESULT = Path("docs/results/long_run.json")
_COMMAND = "python -m benchmarks.long_run"
_STEPS, _STEPS_PER_SAVE = 20_000, 200


class _Probe:
  """A stop request that is never made; it takes a measurement whenever it is checked."""

  def __init__(self) -> None:
    self.memory: list[int] = []
    self.files: list[int] = []
    self.programs: list[int] = []
    self._compiled = 0
    jax.monitoring.register_event_duration_secs_listener(self._count)

  def _count(self, event: str, duration: float, **_: Any) -> None:
    del duration
    self._compiled += event.endswith("backend_compile_duration")

  def __call__(self) -> bool:
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    self.memory.append(pages * os.sysconf("SC_PAGE_SIZE"))
    self.files.append(len(os.listdir("/proc/self/fd")))
    self.programs.append(self._compiled)
    return False


def measure(folder: Path, steps: int) -> dict[str, Any]:
  """Returns what a run held in its first and in its last quarter, with a save every 200 steps."""
  probe = _Probe()
  config = sinusoid.Config(shots=3, queries=3, test_queries=5, hidden=(4,), test=Test(episodes=6, val_episodes=4),
                           training=Training(steps=steps, tasks_per_step=8, steps_per_row=20, steps_per_dispatch=10,
                                             rows_per_checkpoint=_STEPS_PER_SAVE // 20))
  runs.train(sinusoid.build(config), folder, say=lambda _: None, stop_requested=probe)
  quarter = len(probe.memory) // 4
  first, last = slice(0, quarter), slice(-quarter, None)
  return {"steps": steps, "saves": steps // _STEPS_PER_SAVE,
          "memory_bytes": [max(probe.memory[part]) for part in (first, last)],
          "open_files": [max(probe.files[part]) for part in (first, last)],
          "programs_compiled": [probe.programs[quarter], probe.programs[-1]]}


def main() -> None:
  with tempfile.TemporaryDirectory() as folder:
    found = measure(Path(folder), _STEPS)
  _RESULT.write_text(json.dumps({**tables.about(_COMMAND), **found}, indent=2) + "\n", encoding="utf-8")
  print(found)


if __name__ == "__main__":
  main()
