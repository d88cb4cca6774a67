"""Checks the command of a pod before anything is started: it is parsed here as each process would parse it.

The flags, the recipe and its fields are checked, not the data, which may be only on the other machines.
"""

import difflib
import importlib.util
import json
import os
import re
import runpy
import subprocess
import sys
from typing import Sequence
from unittest import mock

from absl import flags

from launch import command_line
from launch.__main__ import commands
from metajax.checks import check_name
from metajax.training.sharding import check_divisible

_LAUNCHERS = ("local_pod", "on_hosts", "on_kubernetes", "on_slurm", "on_tpu")
_IN_PODS = "launch.train, launch.evaluate and launch.replay"


def check(words: Sequence[str], *, processes: int | None = None, shared: Sequence[str] | None = None,
          needs_workdir: bool = False) -> None:
  """Raises ValueError if every process would refuse a command, with the sentence that the process would print.

  Of a module that is not a command of this library, only the existence is checked.

  Args:
    words: the module and its arguments, without --hosts.
    processes: the number of processes, if it is known.
    shared: the folders that remain when the processes end; any other workdir is refused. None allows all.
    needs_workdir: refuse a command that trains without --workdir, whose default each machine would have of its own.
  """
  module, *arguments = words
  _check_module(module)
  if module.partition(".")[0] != "launch":
    return
  if asking := [word for word in arguments if word in ("-h", "-help", "--help", "-helpfull", "--helpfull")]:
    raise ValueError(f"the command has {asking[0]}, which runs nothing; give it without a launcher: python -m {module} "
                     f"{asking[0]}")
  settings = {"words": list(words), "processes": processes, "shared": shared, "needs_workdir": needs_workdir}
  # Another process, because flags are global to one, and this one has those of the launcher.
  done = subprocess.run([sys.executable, "-c", "from launch import pod_checks; pod_checks.parse()",
                         json.dumps(settings)], env={**os.environ, "JAX_PLATFORMS": "cpu"}, capture_output=True,
                        text=True, stdin=subprocess.DEVNULL, check=False)
  if done.returncode:
    lines = done.stderr.strip().splitlines() or ["it gives no reason"]
    said = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    raise ValueError(said[0] if said else f"python -m {module} fails on this machine already: {lines[-1]}")


def parse() -> None:
  """In a process of its own: runs a command up to where it would connect to the others, and ends the process there."""
  settings = json.loads(sys.argv[1])
  module, *arguments = settings.pop("words")

  def instead_of_connecting():
    check_flags(**settings)
    raise SystemExit(0)

  sys.argv = [module, *arguments, "--hosts=auto"]
  with mock.patch.object(command_line, "connect", instead_of_connecting):
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def check_flags(processes: int | None, shared: Sequence[str] | None, needs_workdir: bool) -> None:
  """Raises ValueError if a command that has been parsed, the main module, cannot run in such a pod.

  A command may check its own flags in a function `check_flags`.
  """
  own = getattr(sys.modules["__main__"], "check_flags", None)
  if own is not None:
    own()
  given = {name: flags.FLAGS[name].value for name in ("workdir", "dry_run", "config") if name in flags.FLAGS}
  if given.get("dry_run"):
    return
  training = getattr(given.get("config"), "training", None)
  if processes is not None and training is not None:
    check_divisible(training.tasks_per_step, processes)
  if (workdir := given.get("workdir")) is not None:
    check_name("workdir", workdir)
  check_workdir(workdir, shared, needs_workdir)


def check_workdir(workdir: str | None, shared: Sequence[str] | None, needed: bool) -> None:
  """Raises ValueError if a workdir is missing, or would be lost with its container; `shared` is as in `check`."""
  if not workdir:
    if needed:
      raise ValueError("--workdir is missing, and by default each machine would write to a folder of its own; give one "
                       "that all machines share: --workdir=<shared folder>/<run>.")
    return
  if shared is None or re.match(r"\w{2,}://", workdir):  # a bucket
    return
  if not any(os.path.normpath(workdir).startswith(os.path.join(folder, "")) for folder in shared):
    where = f"a folder below {shared[0]}" if shared else "a folder on a volume, --volume=<claim>:<path>"
    raise ValueError(f"--workdir={workdir} is inside the container and would be lost with it; give {where}, or a "
                     "bucket: --workdir=gs://<bucket>/<run>.")


def _check_module(module: str) -> None:
  package, _, name = module.partition(".")
  if package == "launch":
    if name in _LAUNCHERS:
      raise ValueError(f"{module} is a launcher, which cannot be launched; only {_IN_PODS} run in several processes.")
    exists = name in commands()
  else:
    try:
      exists = importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):  # a parent that is not there, or no name of a module
      exists = False
  if not exists:
    close = difflib.get_close_matches(name or package, commands(), n=1)
    raise ValueError(f"there is no module {module} on this machine; "
                     + (f"did you mean launch.{close[0]}?" if close else f"{_IN_PODS} run in several processes."))
