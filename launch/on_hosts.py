"""Runs a command of ours on a list of machines over ssh, one process each.

  python -m launch.on_hosts --hosts_list=gpu1,gpu2,gpu3 --folder=metajax -- python -m launch.train --config=<recipe>
  python -m launch.on_hosts --hosts_list=gpu1,gpu2 --dry_run -- ...      prints what it would run

The machines share a file system for the workdir, hold the same checkout in the same folder, and can be reached by ssh
without a password. The first is where the processes meet. Ctrl-C or SIGTERM here, or the loss of a connection, tells
the processes there to stop, and they save.
"""

import shlex
from typing import Sequence

from absl import app, flags

from launch import command_line, pods


def commands(command: Sequence[str], machines: Sequence[str], folder: str, python: str, port: int) -> list[list[str]]:
  """Returns what is run for each machine.

  Raises:
    ValueError: if there is no machine or no command.
  """
  if not machines:
    raise ValueError("no machines are named; give --hosts_list=<first>,<second>,...")
  words = pods.as_module(command)
  address = machines[0].rpartition("@")[2]
  return [["ssh", "-o", "BatchMode=yes", machine, shlex.join(["sh", "-c", _until_told(folder, [
      python, "-m", *words, f"--hosts={address}:{port},{len(machines)},{process}"])])]
          for process, machine in enumerate(machines)]


def _until_told(folder: str, words: Sequence[str]) -> str:
  """Returns a script that runs a command until its end, or tells it to stop once standard input comes to its own.

  For ssh passes no signals on: without this, a command would outlive the launcher that was stopped.
  """
  return (f"cd {shlex.quote(folder)} && exec 3<&0 && {{ {shlex.join(words)} 3<&- </dev/null & }} && run=$! && "
          "{ { cat <&3; kill $run; } >/dev/null 2>&1 & } && exec 3<&- && wait $run")


def main(arguments: list[str]) -> None:
  given = flags.FLAGS
  try:
    made = commands(arguments[1:], given.hosts_list, given.folder, given.python, given.port)
  except ValueError as error:
    command_line.fail(str(error))
  if given.dry_run:
    print("\n".join(map(shlex.join, made)))
    return
  raise SystemExit(pods.run_together(made, told_by_input=True))


def define_flags() -> None:
  """Defines the flags of this command, which others share the names of."""
  flags.DEFINE_list("hosts_list", [], "the machines, as ssh knows them")
  flags.DEFINE_string("folder", "metajax", "the checkout on every machine")
  flags.DEFINE_string("python", ".venv/bin/python", "the Python on every machine, seen from the checkout")
  flags.DEFINE_integer("port", 8476, "of the first machine, where the processes meet")
  flags.DEFINE_boolean("dry_run", False, "print what would be run, and run nothing")


if __name__ == "__main__":
  define_flags()
  app.run(main)
