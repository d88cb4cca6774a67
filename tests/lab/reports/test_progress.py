"""Progress lines with a clock that the tests control."""

import io
import re

import pytest

from metajax.lab.reports.progress import Progress, memory_in_use


class _Clock:

  def __init__(self):
    self.now = 1000.0

  def __call__(self):
    return self.now


class _Terminal(io.StringIO):

  def isatty(self):
    return True


def _lines(updates, total=2000, start=0, tasks=4):
  """Returns the output for updates (seconds since the last, step, values)."""
  clock, file = _Clock(), io.StringIO()
  with Progress(total, start_step=start, tasks_per_step=tasks, file=file, clock=clock) as progress:
    for seconds, step, values in updates:
      clock.now += seconds
      progress.update(step, values)
  return file.getvalue().splitlines()


def test_a_line_has_all_values():
  values = {"d_in": 0.02, "loss": 0.41249, "d_out": 0.31, "extra": 123456.0, "accuracy": 0.87123}
  assert _lines([(1, 100, {}), (4.9, 394, values), (0.1, 400, values)])[1:] == [
    "step 400/2000  240 tasks/s  loss 0.4125  accuracy 0.8712  d_in 0.02  d_out 0.31  extra 1.235e+05  00:27 left",
  ]


def test_lines_come_seconds_apart_and_the_last_always():
  lines = _lines([(1, step, {}) for step in range(1, 13)] + [(0.5, 13, {})], total=100, tasks=1)
  assert [line.split()[1] for line in lines] == ["1/100", "6/100", "11/100", "13/100"]
  lines = _lines([(1, 1, {}), (1, 2, {})], total=2)
  assert lines == ["step 1/2", "step 2/2  4 tasks/s  took 00:02"]


def test_the_last_step_shows_at_once():
  clock, file = _Clock(), io.StringIO()
  with Progress(2, start_step=0, tasks_per_step=1, file=file, clock=clock) as progress:
    progress.update(1, {})
    progress.update(2, {})
    assert file.getvalue().splitlines() == ["step 1/2", "step 2/2  took 00:00"]
    clock.now += 100
  assert len(file.getvalue().splitlines()) == 2


def test_an_exception_leaves_the_last_line():
  clock, file = _Clock(), io.StringIO()
  shown = Progress(9, start_step=0, tasks_per_step=1, file=file, clock=clock)
  with pytest.raises(KeyboardInterrupt), shown as progress:
    progress.update(1, {})
    progress.update(2, {"loss": 3})
    raise KeyboardInterrupt
  assert file.getvalue().splitlines()[-1] == "step 2/9  loss 3"


def test_the_rate_leaves_out_compilation_and_the_distant_past():
  lines = _lines([(500, 1, {}), (10, 11, {})], tasks=10)
  assert "  10 tasks/s  " in lines[-1]
  slow, fast = [(10, step, {}) for step in range(1, 11)], [(10, 10 + 100 * i, {}) for i in range(1, 5)]
  assert "  100 tasks/s  " in _lines(slow + fast, tasks=10)[-1]


def test_a_resumed_run_counts_from_its_start():
  lines = _lines([(60, 1001, {}), (10, 1011, {})], start=1000, tasks=10)
  assert lines[-1] == "step 1011/2000  10 tasks/s  16:29 left"


def test_long_and_slow_runs():
  lines = _lines([(0, 1, {}), (40, 2, {})], total=1000, tasks=2)
  assert lines[-1] == "step 2/1000  0.05 tasks/s  11:05:20 left"


def test_values_are_read_only_when_shown():

  class Value:
    reads = 0

    def __float__(self):
      Value.reads += 1
      return 1.0

  assert len(_lines([(1, step, {"loss": Value()}) for step in range(1, 12)], total=100)) == 3
  assert Value.reads == 3


def test_a_terminal_gets_a_bar(monkeypatch):
  monkeypatch.setenv("TERM", "xterm")
  monkeypatch.setenv("COLUMNS", "100")
  clock, file = _Clock(), _Terminal()
  with Progress(200, start_step=0, tasks_per_step=4, file=file, clock=clock, memory=lambda: 3 * 2**28) as progress:
    for step in range(1, 101):
      clock.now += 0.5
      progress.update(step, {"loss": 0.41249, "accuracy": 0.5})
  text = file.getvalue()
  assert "\x1b[" in text
  last = text[text.rindex("100/200") - 35:]
  for part in ("━", "50%", "100/200", "8 tasks/s", "768 MiB", "00:50 left", "loss 0.4125  accuracy 0.5"):
    assert part in last
  assert text.endswith("\x1b[?25h")  # the cursor is shown again


def test_the_bar_fits_a_narrow_terminal(monkeypatch):
  monkeypatch.setenv("TERM", "xterm")
  monkeypatch.setenv("COLUMNS", "80")
  clock, file = _Clock(), _Terminal()
  with Progress(1_000_000, start_step=0, tasks_per_step=4, file=file, clock=clock, memory=lambda: 2**30) as progress:
    for step in range(700_000, 700_100):
      clock.now += 0.1
      progress.update(step, {f"metric_{number}": 1.0 for number in range(9)} | {"val_accuracy": 0.5, "loss": 0.4})
  shown = [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line) for line in file.getvalue().splitlines()]
  assert max(map(len, shown)) <= 80
  for part in ("700099/1000000", "left", "loss 0.4  val_accuracy 0.5"):
    assert any(part in line for line in shown)


def test_no_escape_codes_without_a_terminal():
  assert "\x1b" not in "\n".join(_lines([(1, 1, {"loss": 1}), (9, 2, {"loss": 1})]))


@pytest.mark.parametrize("total, start, tasks", [(0, 0, 1), (5, 6, 1), (5, -1, 1), (5, 0, 0)])
def test_rejects_invalid_runs(total, start, tasks):
  with pytest.raises(ValueError, match="start_step between 0 and total_steps"):
    Progress(total, start_step=start, tasks_per_step=tasks, file=io.StringIO())


def test_memory_is_plausible():
  assert 2**20 < memory_in_use() < 2**40
