"""What the launchers of pods share: the command that every process runs, and processes watched together."""

import os
import signal
import subprocess
import sys
import threading
import time
from typing import Mapping, Sequence

from metajax.lab.preemption import INTERRUPTED, REQUEUE

_GRACE = 3.0  # seconds between a process's end in failure and that of the others
_WELL = (0, REQUEUE, INTERRUPTED)  # exit codes of a process that did what it was asked to


def as_module(command: Sequence[str]) -> list[str]:
  """Returns the words after `python -m` of a command that may be written with or without them.

  Raises:
    ValueError: if the command names no module.
  """
  rest = list(command)
  if rest[:1] and os.path.basename(rest[0]).startswith("python"):
    rest = rest[1:]
  if rest[:1] == ["-m"]:
    rest = rest[1:]
  if not rest or rest[0].startswith("-"):
    raise ValueError("give the command to run after two dashes: -- python -m launch.train --config=<recipe>.")
  return rest


def run_together(commands: Sequence[Sequence[str]], surroundings: Mapping[str, str] | None = None, *,
                 told_by_input: bool = False) -> int:
  """Runs commands side by side and returns the exit code of the first that fails, or 0.

  Their lines are printed with the number of the process before them. The first to fail ends the others, which cannot
  go on without it; SIGTERM and SIGINT are passed on to all. One that a signal ended has the exit code that a shell
  would give it, 128 and the signal's number.

  Args:
    commands: one for each process.
    surroundings: environment variables, by default this process's own.
    told_by_input: pass a first signal on as the end of standard input, for commands that end there as if signalled.
  """
  # In groups of their own, or Ctrl-C in a terminal would reach them twice, from it and from us; twice means at once.
  pod = [subprocess.Popen(command, env=surroundings, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          stdin=subprocess.PIPE if told_by_input else subprocess.DEVNULL, process_group=0)
         for command in commands]
  readers = [threading.Thread(target=_say, args=(process, member)) for process, member in enumerate(pod)]
  for reader in readers:
    reader.start()

  def pass_on(number, frame):
    for member in pod:
      if member.stdin is None or member.stdin.closed:
        member.send_signal(number)
      else:
        member.stdin.close()

  before = {}
  if threading.current_thread() is threading.main_thread():
    before = {number: signal.signal(number, pass_on) for number in (signal.SIGTERM, signal.SIGINT)}
  failed = 0
  try:
    while None in [member.poll() for member in pod]:  # every one is asked, or a failure would not be seen
      # One that was asked to stop has saved with the others, who may be a little behind it.
      codes = [member.returncode for member in pod if member.returncode not in (None, *_WELL)]
      if codes and not failed:
        failed = codes[0]
        time.sleep(_GRACE)  # the others may be about to say why, or to end in the same way
        for member in pod:
          member.kill()
      time.sleep(0.1)
    for reader in readers:
      reader.join()
  finally:
    for number, handler in before.items():
      signal.signal(number, handler)
  code = failed or next((member.returncode for member in pod if member.returncode), 0)
  return code if code >= 0 else 128 - code


def python(module_and_flags: Sequence[str]) -> list[str]:
  """Returns the command line of a module under this very Python."""
  return [sys.executable, "-m", *module_and_flags]


def _say(process: int, member: subprocess.Popen) -> None:
  assert member.stdout is not None
  with member.stdout:
    for line in member.stdout:
      print(f"[{process}] {line}", end="", flush=True)
