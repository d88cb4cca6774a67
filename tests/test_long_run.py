"""A long run does not accumulate memory, open files or compiled programs."""

import sys

import pytest

from benchmarks import long_run

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, and goes UNTESTED elsewhere")


def test_files_are_closed_and_programs_compiled_once(tmp_path):
  found = long_run.measure(tmp_path, 1000)  # five checkpoints
  assert found["saves"] == 5 and found["programs_compiled"][0] > 0
  assert found["programs_compiled"][1] == found["programs_compiled"][0]
  assert found["open_files"][1] <= found["open_files"][0] + 4  # a save may be in progress; it holds up to four


@pytest.mark.slow
def test_twenty_thousand_steps_hold_no_more_memory(tmp_path):
  found = long_run.measure(tmp_path, 20_000)  # a hundred checkpoints and validations
  print(found)
  assert found["memory_bytes"][1] < 1.02 * found["memory_bytes"][0]
  assert found["open_files"][1] <= found["open_files"][0] + 2
  assert found["programs_compiled"][1] == found["programs_compiled"][0]
