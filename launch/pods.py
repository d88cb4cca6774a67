"""Shared by the launchers of pods: the command of every process, and running processes together."""

import os
import signal
import subprocess
import sys
import threading
import time
from typing import Mapping, Sequence

from metajax.lab.preemption import INTERRUPTED, REQUEUE

_GRACE = 3.0  # seconds between the failure of a process and the end of the others
_WELL = (0, REQUEUE, INTERRUPTED)  # exit codes of a process that ended as requested


def as_module(command: Sequence[str]) -> list[str]:
  """Returns the words of a command without a leading `python -m`.

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


def run_together(commands: Sequence[Sequence[str]], environment: Mapping[str, str] | None = None, *,
                 told_by_input: bool = False) -> int:
  """Runs commands in parallel and returns the exit code of the first that fails, or 0.

  Their output is prefixed by the index of the process. If one fails, the others are killed, because they cannot
  continue without it. SIGTERM and SIGINT are forwarded to all. The exit code of a process that was ended by a signal is
  128 plus the signal's number, as in a shell.

  Args:
    commands: one for each process.
    environment: environment variables, by default those of this process.
    told_by_input: forward the first signal by closing standard input, for commands that treat this as a signal.
  """
  # In separate process groups: otherwise Ctrl-C would reach them twice, from the terminal and from here, and a second
  # signal ends a process immediately.
  pod = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
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
    while None in [member.poll() for member in pod]:  # polls every process, so that no failure is missed
      # A process that stopped on request has saved together with the others, which may take a little longer.
      codes = [member.returncode for member in pod if member.returncode not in (None, *_WELL)]
      if codes and not failed:
        failed = codes[0]
        time.sleep(_GRACE)  # the others may be about to report the cause, or to fail in the same way
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
  """Returns the command line that runs a module with the current Python."""
  return [sys.executable, "-m", *module_and_flags]


def _say(process: int, member: subprocess.Popen) -> None:
  assert member.stdout is not None
  with member.stdout:
    for line in member.stdout:
      print(f"[{process}] {line}", end="", flush=True)
