"""A long run holds no more at its end than after its beginning: memory, open files, compiled programs."""

import os
from pathlib import Path
import sys

import jax
import pytest

from metajax import recipe as recipe_lib
from tests.small_runs import build_sinusoid

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, and goes UNTESTED elsewhere")


class _Probe:
  """A request to stop that is never made, and looks around whenever it is asked."""

  def __init__(self):
    self.seen, self._compiled = [], 0
    jax.monitoring.register_event_duration_secs_listener(self._count)

  def _count(self, event, duration, **_):
    del duration
    self._compiled += event.endswith("backend_compile_duration")

  def __call__(self):
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    self.seen.append((pages * os.sysconf("SC_PAGE_SIZE"), len(os.listdir("/proc/self/fd")), self._compiled))
    return False


def _run(folder, steps):
  probe = _Probe()
  recipe_lib.train(build_sinusoid(steps=steps, steps_per_dispatch=10, steps_per_row=20, rows_per_checkpoint=10), folder,
                   say=lambda _: None, stop_requested=probe)
  return [list(values) for values in zip(*probe.seen, strict=True)]


def test_files_are_closed_and_programs_compiled_once(tmp_path):
  _, files, compiled = _run(tmp_path, 1000)  # five checkpoints
  warm = len(files) // 2
  assert compiled[warm] > 0 and compiled[-1] == compiled[warm]
  assert max(files[warm:]) <= max(files[:warm]) + 2  # a save may be under way


@pytest.mark.slow
def test_twenty_thousand_steps_hold_no_more_memory(tmp_path):
  memory, files, compiled = _run(tmp_path, 20_000)  # a hundred checkpoints and looks at the validation tasks
  quarter = len(memory) // 4
  growth = max(memory[-quarter:]) / max(memory[:quarter]) - 1
  print(f"memory grew by {growth:.2%} from {max(memory[:quarter]) / 2**20:.0f} MiB, files from {max(files[:quarter])} "
        f"to {max(files[-quarter:])}, {compiled[-1] - compiled[quarter]} programs compiled since")
  assert growth < 0.02 and max(files[-quarter:]) <= max(files[:quarter]) + 2 and compiled[-1] == compiled[quarter]
