"""Runs the processes of one run, kills them at a given moment, and restarts them; used by launch.faults."""

import json
import os
from pathlib import Path
import runpy
import signal
import sys
import time
import traceback
from typing import Any, NamedTuple, Sequence

import jax

from launch.local_pod import free_address
from metajax.bucket import in_bucket, opened
from metajax.lab.preemption import REQUEUE
from metajax.lab.working_copy import incomplete, working_copy

_TIMEOUT = 120.0  # time limit of a run in seconds: about a hundred times the usual
_COMPARED = ("metrics.csv", "test.json", "test_episodes.npz")


class Layout(NamedTuple):
  """The numbers of processes and devices of a run."""
  processes: int
  devices: int  # per process

  def __str__(self) -> str:
    return f"{self.processes}x{self.devices}"


class Kill(NamedTuple):
  """When and how to end a run. SIGTERM is sent to all of its processes, as launchers do, SIGKILL to one of them."""
  number: int  # the number of the signal
  delay: float  # seconds after the start, or after the beginning of a save
  in_save: bool
  victim: int  # the process that SIGKILL ends
  grace: float  # seconds until the other processes are ended too, as launchers do, since they cannot continue


class Hit(NamedTuple):
  """A kill that ended a run before its end."""
  signal: str
  torn: bool  # whether it left an incomplete save


class Pod:
  """The processes of one run, forks of this one. A context manager; leaving it kills all of them."""

  def __init__(self, arguments: Sequence[str], layout: Layout, log: Path):
    """Starts `python -m launch.train <arguments>`; its output goes to `log`."""
    where = free_address() if layout.processes > 1 else ""
    hosts = [[f"--hosts={where},{layout.processes},{process}"] if where else [] for process in range(layout.processes)]
    self._children = [_fork([*arguments, *own], layout.devices, log) for own in hosts]
    self._codes: dict[int, int] = {}

  def __enter__(self) -> "Pod":
    return self

  def __exit__(self, *_: Any) -> None:
    self.send(signal.SIGKILL)
    while not self.is_over():
      time.sleep(0.001)

  def codes(self) -> list[int]:
    """Returns the exit codes of the finished processes, negative for a signal."""
    for child in [child for child in self._children if child not in self._codes]:
      ended, status = os.waitpid(child, os.WNOHANG)
      if ended:
        self._codes[child] = os.waitstatus_to_exitcode(status)
    return list(self._codes.values())

  def is_over(self) -> bool:
    """Returns whether all processes have ended."""
    return len(self.codes()) == len(self._children)

  def send(self, number: int, processes: slice = slice(None)) -> None:
    """Sends a signal to the processes that have not ended."""
    for child in self._children[processes]:
      if child not in self._codes:
        os.kill(child, number)

  def wait(self, grace: float) -> list[int]:
    """Waits for all processes to end, and returns their exit codes; if one fails, the others get `grace` seconds.

    Raises:
      TimeoutError: if some do not end.
    """
    begun, failed = time.monotonic(), None
    while not self.is_over():
      now = time.monotonic()
      if failed is None and any(code not in (0, REQUEUE) for code in self.codes()):
        failed = now
      if failed is not None and now - failed >= grace:
        self.send(signal.SIGKILL)
      if now - begun > _TIMEOUT:
        raise TimeoutError(f"it did not end within {_TIMEOUT:.0f} s")
      time.sleep(0.001)
    return self.codes()


class _Saves:
  """The incomplete saves of a run, without those left by an earlier kill, which the run removes."""

  def __init__(self, workdir: str):
    self._bucket = opened(workdir) if in_bucket(workdir) else None
    self._folder = Path(workdir) / "checkpoints"
    self._left = self._found()

  def under_way(self) -> set[str]:
    """Returns the names of saves in progress; must be polled, because a repeated save of a step has the same name."""
    found = self._found()
    self._left &= found
    return found - self._left

  def _found(self) -> set[str]:
    if self._bucket:
      return incomplete(self._bucket.objects())
    return {path.name for path in self._folder.glob("*.orbax-checkpoint-tmp*")}


def outcome(workdir: str) -> dict[str, bytes]:
  """Returns the results that must be equal: the digest of the last state, the metrics, the test results."""
  with working_copy(workdir, writes=False) as copy:
    return _outcome(copy.folder)


def _outcome(workdir: Path) -> dict[str, bytes]:
  last = max((int(path.name) for path in (workdir / "checkpoints").iterdir() if path.name.isdigit()))
  about = next((workdir / "checkpoints" / str(last) / "about").iterdir())
  kept = {name: (workdir / name).read_bytes() for name in _COMPARED}
  return {**kept, "state": json.loads(about.read_text())["digest"].encode()}


def trial(arguments: Sequence[str], layout: Layout, workdir: str, log: Path, kills: Sequence[Kill]
          ) -> tuple[list[Hit], str]:
  """Runs a command with these kills; returns the kills that hit, and an error message, or ''."""
  hits: list[Hit] = []
  command = [*arguments, f"--workdir={workdir}"]
  try:
    for kill in [*kills, None]:
      saves = _Saves(workdir)
      with Pod(command, layout, log) as pod:
        sent = kill is not None and _send(pod, kill, saves)
        codes = pod.wait(kill.grace if kill else 1.0)
      if not any(codes):
        return hits, ""
      if kill is None or not sent or not _fits(codes, kill):
        return hits, f"exit codes {codes} {'after' if sent else 'before'} {kill}: {_tail(log)}"
      hits.append(Hit(signal.Signals(kill.number).name, bool(saves.under_way())))
  except TimeoutError as error:
    return hits, f"{error}: {_tail(log)}"
  return hits, ""


def _send(pod: Pod, kill: Kill, saves: _Saves) -> bool:
  """Waits for the moment of a kill and sends it; returns False if the run ended or failed before."""
  begun, waiting = time.monotonic(), kill.in_save
  while not any(pod.codes()) and not pod.is_over():
    now, saving = time.monotonic(), bool(saves.under_way())
    if waiting and saving:
      begun, waiting = now, False
    if not waiting and now - begun >= kill.delay:
      pod.send(kill.number, slice(kill.victim, kill.victim + 1) if kill.number == signal.SIGKILL else slice(None))
      return True
    time.sleep(0.001)
  return False


def _fits(codes: Sequence[int], kill: Kill) -> bool:
  """Returns whether a killed run has ended as expected.

  SIGTERM before training begins ends a process immediately; the rest of its pod is killed.
  """
  return -kill.number in codes or kill.number == signal.SIGTERM and set(codes) <= {0, REQUEUE}


def _tail(log: Path) -> str:
  return log.read_text(encoding="utf-8", errors="replace")[-1000:]


def _fork(arguments: Sequence[str], devices: int, log: Path) -> int:
  """Starts `launch.train` in a fork of this process, which has imported everything; returns its process id."""
  child = os.fork()
  if child:
    return child
  code = 1
  try:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for number in (1, 2):
      os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    jax.config.update("jax_num_cpu_devices", devices)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)  # compile faster
    sys.argv = ["launch.train", *arguments]
    runpy.run_module("launch.train", run_name="__main__", alter_sys=True)
    code = 0
  except SystemExit as leaving:
    code = leaving.code if isinstance(leaving.code, int) else 0 if leaving.code is None else 1
  except BaseException:
    traceback.print_exc()
  finally:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
