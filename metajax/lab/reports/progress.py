"""Progress of meta-training: a live bar on a terminal, otherwise a plain line every few seconds."""

from collections import deque
import os
from pathlib import Path
import sys
import time
from typing import Callable, Mapping, TextIO

import jax
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

_WINDOW_SECONDS = 30.0
_LINE_SECONDS = 5.0
_FRAME_SECONDS = 0.1
_FIRST_NAMES = ("loss", "accuracy", "mse", "val_accuracy", "val_loss", "d_in", "d_out")  # narrow terminals cut the rest


class Progress:
  """Context manager that shows the progress and speed of training, and its latest metrics.

  The speed is that of the last half minute, measured from the first update on, so that compilation does not count.
  """

  def __init__(self, total_steps: int, *, start_step: int = 0, tasks_per_step: int, file: TextIO | None = None,
               clock: Callable[[], float] = time.monotonic, memory: Callable[[], int] | None = None) -> None:
    """Shows on `file`, by default standard error. `clock` gives seconds, `memory` bytes (by default `memory_in_use`).

    Raises ValueError unless 0 <= start_step <= total_steps, and total_steps and tasks_per_step are positive.
    """
    if total_steps < 1 or tasks_per_step < 1 or not 0 <= start_step <= total_steps:
      raise ValueError(f"progress needs positive total_steps and tasks_per_step and a start_step between 0 and "
                       f"total_steps, not {total_steps}, {tasks_per_step} and {start_step}.")
    self._total, self._tasks_per_step, self._clock = total_steps, tasks_per_step, clock
    self._memory = memory_in_use if memory is None else memory
    self._file = sys.stderr if file is None else file
    self._live: Live | None = None
    if self._file.isatty():
      self._live = Live(console=Console(file=self._file), auto_refresh=False)
    self._step, self._stale = start_step, False
    self._values: Mapping[str, float] = {}
    self._started, self._shown = clock(), float("-inf")
    self._window: deque[tuple[float, int]] = deque()

  def __enter__(self) -> "Progress":
    self._started = self._clock()
    if self._live is not None:
      self._live.start()
      self._show()
    return self

  def __exit__(self, *exception: object) -> None:
    if self._stale:
      self._show()
    if self._live is not None:
      self._live.stop()

  def update(self, step: int, values: Mapping[str, float]) -> None:
    """Reports that `step` steps are done, with the latest metrics `values`.

    Values are read only when they are shown, so that values still being computed do not block.
    """
    now = self._clock()
    self._step, self._values, self._stale = step, values, True
    self._window.append((now, step))
    while len(self._window) > 2 and self._window[1][0] <= now - _WINDOW_SECONDS:
      self._window.popleft()
    interval = _LINE_SECONDS if self._live is None else _FRAME_SECONDS
    if now - self._shown >= interval or step >= self._total:
      self._show()

  def _show(self) -> None:
    self._shown, self._stale = self._clock(), False
    if self._live is None:
      fields = (f"step {self._step}/{self._total}", self._speed(), _metrics(self._values), self._time())
      print("  ".join(field for field in fields if field), file=self._file, flush=True)
    else:
      self._live.update(self._bar(), refresh=True)

  def _bar(self) -> Group:
    line = Table.grid(padding=(0, 2))
    # Fixed widths, so that the bar does not move as the numbers change; 80 columns are enough for a million steps.
    bar = ProgressBar(total=self._total, completed=self._step, width=12)
    percent = f"{100 * self._step // self._total}%"
    steps = f"{self._step}/{self._total}"
    for width in (12, 4, 2 * len(str(self._total)) + 1, 13, 13, 8):
      line.add_column(width=width, justify="right", no_wrap=True)
    line.add_row(bar, Text(percent, "bold"), steps, self._time(), self._speed(), _size(self._memory()))
    return Group(line, Text(_metrics(self._values), "cyan", no_wrap=True, overflow="ellipsis"))

  def _steps_per_second(self) -> float | None:
    if len(self._window) < 2 or self._window[-1][0] <= self._window[0][0]:
      return None
    return (self._window[-1][1] - self._window[0][1]) / (self._window[-1][0] - self._window[0][0])

  def _speed(self) -> str:
    rate = self._steps_per_second()
    if rate is None:
      return ""
    tasks = rate * self._tasks_per_step
    return f"{tasks:.0f} tasks/s" if tasks >= 10 else f"{tasks:.2g} tasks/s"

  def _time(self) -> str:
    if self._step >= self._total:
      return f"took {_duration(self._clock() - self._started)}"
    rate = self._steps_per_second()
    return f"{_duration((self._total - self._step) / rate)} left" if rate else ""


def memory_in_use() -> int:
  """Returns the bytes in use on the first local device or, without statistics (as on CPU), by this process.

  0 if neither is known.
  """
  stats = jax.local_devices()[0].memory_stats()
  if stats and "bytes_in_use" in stats:
    return stats["bytes_in_use"]
  try:  # the second number is the count of resident pages
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
  except OSError:  # not Linux
    return 0


def _size(num_bytes: int) -> str:
  if num_bytes >= 2**30:
    return f"{num_bytes / 2**30:.1f} GiB"
  return f"{num_bytes / 2**20:.0f} MiB" if num_bytes else ""


def _metrics(values: Mapping[str, float]) -> str:
  names = [name for name in _FIRST_NAMES if name in values] + [name for name in values if name not in _FIRST_NAMES]
  return "  ".join(f"{name} {float(values[name]):.4g}" for name in names)


def _duration(seconds: float) -> str:
  minutes, second = divmod(round(seconds), 60)
  hours, minute = divmod(minutes, 60)
  return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute:02d}:{second:02d}"
