"""Runs a command of this library on every worker of a Cloud TPU pod.

  python -m launch.on_tpu --name=pod --zone=us-east5-a -- python -m launch.train --config=<recipe> --workdir=<shared>
  python -m launch.on_tpu --name=pod --zone=us-east5-a --dry_run -- ...      prints the command only

The pod must exist and have the same checkout on every worker (see docs/pods.md). The processes find each other.
"""

import shlex
import subprocess
from typing import Sequence

from absl import app, flags

from launch import command_line, pods


def command_of(command: Sequence[str], name: str | None, zone: str | None, project: str | None, folder: str,
               python: str) -> list[str]:
  """Returns the local command.

  Raises:
    ValueError: if the TPU is not named, or there is no command.
  """
  if not name or not zone:
    raise ValueError("the TPU is not named; give --name=<tpu> and --zone=<zone>.")
  words = pods.as_module(command)
  return ["gcloud", "compute", "tpus", "tpu-vm", "ssh", name, f"--zone={zone}",
          *([f"--project={project}"] if project else []), "--worker=all",
          f"--command=cd {shlex.quote(folder)} && " + shlex.join([python, "-m", *words, "--hosts=auto"])]


def main(arguments: list[str]) -> None:
  given = flags.FLAGS
  try:
    made = command_of(arguments[1:], given.name, given.zone, given.project, given.folder, given.python)
  except ValueError as error:
    command_line.fail(str(error))
  if given.dry_run:
    print(shlex.join(made))
    return
  raise SystemExit(subprocess.run(made, check=False).returncode)


def define_flags() -> None:
  """Defines the flags of this command, whose names other commands use too."""
  flags.DEFINE_string("name", None, "the name of the TPU; required")
  flags.DEFINE_string("zone", None, "the zone of the TPU; required")
  flags.DEFINE_string("project", None, "the Google Cloud project; by default that of gcloud")
  flags.DEFINE_string("folder", "metajax", "the checkout on every worker")
  flags.DEFINE_string("python", ".venv/bin/python", "the Python on every worker, relative to the checkout")
  flags.DEFINE_boolean("dry_run", False, "print the command without running it")


if __name__ == "__main__":
  define_flags()
  app.run(main)
