"""Preemption: on a signal, training stops after the current dispatch; the same command resumes it.

TPU pods, SLURM and Kubernetes send SIGTERM and, some seconds later, SIGKILL. The grace period is not essential: a run
that is killed immediately loses only the steps since its last checkpoint.
"""

import contextlib
import signal
from types import FrameType
from typing import Iterator

REQUEUE = 75  # the exit code of a run to be started again: EX_TEMPFAIL of sysexits.h
INTERRUPTED = 130  # the exit code after Ctrl-C, by the convention of shells


class Preempted(Exception):
  """A run stopped on request; everything is saved, and the same command resumes it."""


class StopRequest:
  """A callable that returns whether a stop was requested; `hosts.together` makes several processes agree on it."""

  def __init__(self) -> None:
    self._signal: int | None = None

  def __call__(self) -> bool:
    return self._signal is not None

  @property
  def exit_code(self) -> int:
    """The exit code: 130 after Ctrl-C, otherwise 75, which asks to be started again."""
    return INTERRUPTED if self._signal == signal.SIGINT else REQUEUE

  def receive(self, number: int, frame: FrameType | None = None) -> None:
    """Records a signal, and restores the default handler for a second one of the same kind."""
    del frame
    self._signal = number
    signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


@contextlib.contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
  """Within this context, SIGTERM and Ctrl-C request a stop instead of ending the process. Main thread only."""
  request = StopRequest()
  before = {number: signal.signal(number, request.receive) for number in (signal.SIGTERM, signal.SIGINT)}
  try:
    yield request
  finally:
    for number, handler in before.items():
      signal.signal(number, handler)
