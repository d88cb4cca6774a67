"""Creates a Cloud TPU of one or more slices, or runs a command of this library on every worker of it.

  python -m launch.on_tpu --create --name=pod --zone=us-east5-a --accelerator=v5p-256 --runtime=v2-alpha-tpuv5 --spot
  python -m launch.on_tpu --name=pod --zone=us-east5-a -- python -m launch.train --config=<recipe> --workdir=<shared>
  python -m launch.on_tpu --name=pod --zone=us-east5-a --slices=2 -- ...     the slices are pod-0 and pod-1
  python -m launch.on_tpu --name=pod --zone=us-east5-a --dry_run -- ...      prints the commands only

To run, every worker needs the same checkout (see docs/pods.md). The processes find each other.
"""

import re
import shlex
import subprocess
from typing import Mapping, NamedTuple, Sequence

from absl import flags

from launch import pods


class Tpu(NamedTuple):
  """Which TPU, in which zone and project (None: that of gcloud)."""
  name: str
  zone: str
  project: str | None = None
  slices: int = 1

  def place(self) -> list[str]:
    """Returns the flags of gcloud that say where the TPU is."""
    return [f"--zone={self.zone}", *([f"--project={self.project}"] if self.project else [])]

  def nodes(self) -> list[str]:
    """Returns the names of the slices; a queued resource numbers them from 0 if there are several."""
    return [self.name] if self.slices == 1 else [f"{self.name}-{index}" for index in range(self.slices)]


def named(name: str | None, zone: str | None, project: str | None = None, slices: int = 1) -> Tpu:
  """Returns the TPU of these flags.

  Raises:
    ValueError: if the TPU is not named, or cannot be named so.
  """
  if not name or not zone:
    raise ValueError("the TPU is not named; give --name=<tpu> and --zone=<zone>.")
  if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.~+%-]*", name):
    raise ValueError(f"--name={name} is not the name of a TPU; use letters, digits and dashes, such as pod-1.")
  return Tpu(name, zone, project, slices)


def creation(tpu: Tpu, accelerator: str | None, runtime: str | None, spot: bool) -> list[str]:
  """Returns the command that requests the TPU as a queued resource with the same name.

  Raises:
    ValueError: if the type of the TPU or its software is not given.
  """
  if not accelerator or not runtime:
    raise ValueError("--create needs the type of a slice and its software, such as --accelerator=v5p-256 "
                     "--runtime=v2-alpha-tpuv5.")
  nodes = ([f"--node-id={tpu.name}"] if tpu.slices == 1 else
           [f"--node-count={tpu.slices}", f"--node-prefix={tpu.name}"])
  return ["gcloud", "compute", "tpus", "queued-resources", "create", tpu.name, *tpu.place(), *nodes,
          f"--accelerator-type={accelerator}", f"--runtime-version={runtime}", *(["--spot"] if spot else [])]


def commands(command: Sequence[str], tpu: Tpu, folder: str, python: str, variables: Mapping[str, str]
             ) -> list[list[str]]:
  """Returns the local command for each slice, which runs on all of its workers.

  Nothing says which slice a process belongs to: Cloud TPU writes MEGASCALE_COORDINATOR_ADDRESS, MEGASCALE_NUM_SLICES
  and MEGASCALE_SLICE_ID into the metadata of the workers of a queued resource, where JAX looks for those that are not
  in the environment (jax/_src/clusters/cloud_tpu_cluster.py). It then numbers the processes slice by slice.

  Raises:
    ValueError: if there is no command.
  """
  words = pods.with_environment(variables, [python, "-m", *pods.as_module(command), "--hosts=auto"])
  return [["gcloud", "compute", "tpus", "tpu-vm", "ssh", node, *tpu.place(), "--worker=all",
           f"--command=cd {shlex.quote(folder)} && {shlex.join(words)}"] for node in tpu.nodes()]


def _only(create: bool, arguments: Sequence[str], of_create: Mapping[str, object]) -> None:
  """Raises ValueError for a command given with --create, and for flags of --create given without it."""
  if create and arguments:
    raise ValueError("--create only creates the TPU, which may wait in a queue; leave out the command, and give it "
                     "without --create once the TPU is ready.")
  given = [flag for flag, value in of_create.items() if value]
  if given and not create:
    raise ValueError(f"{given[0]} is for --create; leave it out to run a command on a TPU that exists.")


def main(arguments: list[str]) -> None:
  given = flags.FLAGS
  tpu = named(given.name, given.zone, given.project, given.slices)
  _only(given.create, arguments[1:], {"--accelerator": given.accelerator, "--runtime": given.runtime,
                                      "--spot": given.spot})
  if given.create:
    made = [creation(tpu, given.accelerator, given.runtime, given.spot)]
  else:
    made = commands(arguments[1:], tpu, given.folder, given.python, pods.variables())
    pods.check_command(arguments[1:], needs_workdir=True)
  if given.dry_run:
    print("\n".join(map(shlex.join, made)))
    return
  # A single command keeps the terminal, because gcloud may ask something when it is used for the first time.
  raise SystemExit(subprocess.run(made[0], check=False).returncode if len(made) == 1 else pods.run_together(made))


def define_flags() -> None:
  """Defines the flags of this command, whose names other commands use too."""
  flags.DEFINE_string("name", None, "the name of the TPU; required")
  flags.DEFINE_string("zone", None, "the zone of the TPU; required")
  flags.DEFINE_string("project", None, "the Google Cloud project; by default that of gcloud")
  flags.DEFINE_integer("slices", 1, "the number of slices; several are named <name>-0, <name>-1, ...", lower_bound=1)
  flags.DEFINE_boolean("create", False, "request the TPU, as a queued resource, instead of running a command")
  flags.DEFINE_string("accelerator", None, "with --create: the type of a slice, such as v5p-256")
  flags.DEFINE_string("runtime", None, "with --create: the software of the workers, such as v2-alpha-tpuv5")
  flags.DEFINE_boolean("spot", False, "with --create: a cheaper TPU that may be preempted at any time")
  flags.DEFINE_string("folder", "metajax", "the checkout on every worker")
  flags.DEFINE_string("python", ".venv/bin/python", "the Python on every worker, relative to the checkout")
  pods.define_flags("print the commands without running them")


if __name__ == "__main__":
  define_flags()
  pods.start(main)
