"""Preemption: a signal asks for a stop, training stops after a whole dispatch, and the same command goes on.

TPU pods, SLURM and Kubernetes send SIGTERM and, some seconds later, SIGKILL. Nothing depends on the grace: a run that
is killed outright loses the steps since its last checkpoint and no more.
"""

import contextlib
import signal
from types import FrameType
from typing import Iterator

REQUEUE = 75  # the exit code of a run that wants to be started again: EX_TEMPFAIL of sysexits.h
INTERRUPTED = 130  # of one that a person stopped, as shells have it


class Preempted(Exception):
  """A run stopped because it was asked to; all it did is saved, and the same command goes on with it."""


class StopRequest:
  """Whether a stop was asked for. Called, it answers; processes of one run may put a common answer in its place."""

  def __init__(self) -> None:
    self._signal: int | None = None

  def __call__(self) -> bool:
    return self._signal is not None

  @property
  def exit_code(self) -> int:
    """What to leave with: 75 to be started again, 130 after Ctrl-C."""
    return INTERRUPTED if self._signal == signal.SIGINT else REQUEUE

  def receive(self, number: int, frame: FrameType | None = None) -> None:
    """Takes a signal down. A second one of the same kind acts as it would have without us."""
    del frame
    self._signal = number
    signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


@contextlib.contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
  """Within it SIGTERM and Ctrl-C are requests, and no longer the end. For the main thread only."""
  request = StopRequest()
  before = {number: signal.signal(number, request.receive) for number in (signal.SIGTERM, signal.SIGINT)}
  try:
    yield request
  finally:
    for number, handler in before.items():
      signal.signal(number, handler)
