"""Runs a command of this library on a list of machines over ssh, one process per machine.

  python -m launch.on_hosts --hosts_list=gpu1,gpu2,gpu3 --folder=metajax -- \\
      python -m launch.train --config=<recipe> --workdir=<shared>
  python -m launch.on_hosts --hosts_list=gpu1,gpu2 --dry_run -- ...      prints the commands only

The machines must share a file system for the workdir, have the same checkout in the same folder, and be reachable by
ssh without a password. The first machine is the coordinator. Ctrl-C or SIGTERM here, or a lost connection, makes the
remote processes save and stop.
"""

import re
import shlex
from typing import Mapping, Sequence

from absl import flags

from launch import pods


def commands(command: Sequence[str], machines: Sequence[str], folder: str, python: str, port: int,
             variables: Mapping[str, str] | None = None) -> list[list[str]]:
  """Returns the ssh command for each machine.

  Raises:
    ValueError: if there is no command, no machine, a machine twice, or one that ssh would not take for a name.
  """
  if not machines:
    raise ValueError("no machines are named; give --hosts_list=<first>,<second>,...")
  for machine in machines:
    if not re.fullmatch(r"[^\s-]\S*", machine):
      raise ValueError(f"--hosts_list names the machine {machine!r}, which is not a name for ssh; give "
                       "--hosts_list=<first>,<second>,...")
  if twice := [machine for machine in machines if machines.count(machine) > 1]:
    raise ValueError(f"--hosts_list names {twice[0]} twice, but there is one process per machine; name each once.")
  words = pods.as_module(command)
  address = machines[0].rpartition("@")[2]
  return [["ssh", "-o", "BatchMode=yes", machine, shlex.join(["sh", "-c", _stop_at_end_of_input(folder, [
      *pods.with_environment(variables or {}, [python, "-m", *words]),
      f"--hosts={address}:{port},{len(machines)},{process}"])])]
          for process, machine in enumerate(machines)]


def _stop_at_end_of_input(folder: str, words: Sequence[str]) -> str:
  """Returns a script that runs a command and sends it SIGTERM when standard input ends.

  ssh does not forward signals: without this, the command would keep running after the launcher is stopped.
  """
  return (f"cd {shlex.quote(folder)} && exec 3<&0 && {{ {shlex.join(words)} 3<&- </dev/null & }} && run=$! && "
          "{ { cat <&3; kill $run; } >/dev/null 2>&1 & } && exec 3<&- && wait $run")


def main(arguments: list[str]) -> None:
  given = flags.FLAGS
  made = commands(arguments[1:], given.hosts_list, given.folder, given.python, given.port, pods.variables())
  pods.check_command(arguments[1:], processes=len(made), needs_workdir=len(made) > 1)
  if given.dry_run:
    print("\n".join(map(shlex.join, made)))
    return
  raise SystemExit(pods.run_together(made, told_by_input=True))


def define_flags() -> None:
  """Defines the flags of this command, whose names other commands use too."""
  flags.DEFINE_list("hosts_list", [], "the ssh names of the machines")
  flags.DEFINE_string("folder", "metajax", "the checkout on every machine")
  flags.DEFINE_string("python", ".venv/bin/python", "the Python on every machine, relative to the checkout")
  flags.DEFINE_integer("port", 8476, "the port of the coordinator, the first machine", lower_bound=1,
                       upper_bound=65535)
  pods.define_flags("print the commands without running them")


if __name__ == "__main__":
  define_flags()
  pods.start(main)
