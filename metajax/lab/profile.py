"""A profile of some steps of training, as TensorBoard's profile plugin (xprof) and Perfetto read it."""

from pathlib import Path
from typing import Any, Callable

import jax


class Profile:
  """Traces whole rows of training, after the first row, which compiles; a context manager, which ends the trace."""

  def __init__(self, folder: Path, steps: int, say: Callable[[str], Any]):
    """Traces at least `steps` steps, none if it is 0, and writes below `folder`."""
    self._folder, self._steps, self._say = folder, steps, say
    self._first: int | None = None  # the step after which the trace begins
    self._tracing = False

  def __enter__(self) -> "Profile":
    return self

  def __exit__(self, *_: Any) -> None:
    if self._tracing:
      self._end(f"the steps after {self._first}")

  def after(self, step: int) -> None:
    """Begins or ends the trace, at the end of a row."""
    if self._tracing and self._first is not None and step - self._first >= self._steps:
      self._end(f"steps {self._first + 1} to {step}")
    elif self._steps and self._first is None:
      self._first, self._tracing = step, True
      jax.profiler.start_trace(self._folder)

  def _end(self, which: str) -> None:
    self._tracing = False
    jax.profiler.stop_trace()
    self._say(f"Profile of {which}: {self._folder / 'plugins' / 'profile'}. To see it: pip install tensorboard xprof; "
              f"tensorboard --logdir={self._folder}")
