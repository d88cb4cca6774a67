"""Runs a command of ours on every worker of a Cloud TPU pod.

  python -m launch.on_tpu --name=pod --zone=us-east5-a -- python -m launch.train --config=<recipe> --workdir=<shared>
  python -m launch.on_tpu --name=pod --zone=us-east5-a --dry_run -- ...      prints what it would run

The pod exists and holds the same checkout on every worker (docs/pods.md says how). The processes find each other.
"""

import shlex
import subprocess
from typing import Sequence

from absl import app, flags

from launch import command_line, pods


def command_of(command: Sequence[str], name: str | None, zone: str | None, project: str | None, folder: str,
               python: str) -> list[str]:
  """Returns what is run here.

  Raises:
    ValueError: if the TPU is not named, or there is no command.
  """
  if not name or not zone:
    raise ValueError("which TPU is meant? Give --name=<tpu> and --zone=<zone>.")
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
  """Defines the flags of this command, which others share the names of."""
  flags.DEFINE_string("name", None, "of the TPU; it must be given")
  flags.DEFINE_string("zone", None, "of the TPU; it must be given")
  flags.DEFINE_string("project", None, "by default gcloud's own")
  flags.DEFINE_string("folder", "metajax", "the checkout on every worker")
  flags.DEFINE_string("python", ".venv/bin/python", "the Python on every worker, seen from the checkout")
  flags.DEFINE_boolean("dry_run", False, "print what would be run, and run nothing")


if __name__ == "__main__":
  define_flags()
  app.run(main)
