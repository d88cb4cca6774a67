"""Submits a command of this library to SLURM, one process per node.

  python -m launch.on_slurm --nodes=4 --time=12:00:00 -- python -m launch.train --config=<recipe> --workdir=<shared>
  python -m launch.on_slurm --nodes=4 --dry_run -- ...      prints the script only

Two minutes before its time limit, and on preemption, the job is asked to stop; it saves, is requeued, and resumes. Run
this command in the checkout, in a folder that all nodes share.
"""

import shlex
import subprocess
from typing import Sequence

from absl import app, flags

from launch import command_line, pods
from metajax.lab.preemption import REQUEUE


def script(command: Sequence[str], *, nodes: int, time: str, partition: str | None, gpus: int, cpus: int, python: str
           ) -> str:
  """Returns the batch script.

  Raises:
    ValueError: if there is no command.
  """
  words = shlex.join([python, "-m", *pods.as_module(command), "--hosts=auto"])
  options = ["--job-name=metajax", f"--nodes={nodes}", "--ntasks-per-node=1", f"--time={time}", "--requeue",
             "--open-mode=append", "--signal=TERM@120", "--output=metajax-%j.log"]
  options += [f"--partition={partition}"] if partition else []
  options += [f"--gpus-per-node={gpus}"] if gpus else []
  options += [f"--cpus-per-task={cpus}"] if cpus else []
  # By default, JAX uses one GPU per SLURM process, and srun does not inherit --cpus-per-task from sbatch.
  environment = [f"export JAX_LOCAL_DEVICE_IDS={','.join(map(str, range(gpus)))}"] if gpus else []
  environment += [f"export SRUN_CPUS_PER_TASK={cpus}"] if cpus else []
  return "\n".join(["#!/bin/bash", *(f"#SBATCH {option}" for option in options), "", *environment,
                    f"srun --kill-on-bad-exit=0 {words}", "code=$?",
                    f"if [ $code -eq {REQUEUE} ]; then",
                    "  scontrol requeue $SLURM_JOB_ID", "fi", "exit $code", ""])


def main(arguments: list[str]) -> None:
  given = flags.FLAGS
  try:
    made = script(arguments[1:], nodes=given.nodes, time=given.time, partition=given.partition, gpus=given.gpus,
                  cpus=given.cpus, python=given.python)
  except ValueError as error:
    command_line.fail(str(error))
  if given.dry_run:
    print(made, end="")
    return
  raise SystemExit(subprocess.run(["sbatch"], input=made, text=True, check=False).returncode)


def define_flags() -> None:
  """Defines the flags of this command, whose names other commands use too."""
  flags.DEFINE_integer("nodes", 1, "the number of nodes", lower_bound=1)
  flags.DEFINE_string("time", "24:00:00", "the time limit of a job, after which it is requeued")
  flags.DEFINE_string("partition", None, "the partition; by default that of the cluster")
  flags.DEFINE_integer("gpus", 0, "GPUs per node", lower_bound=0)
  flags.DEFINE_integer("cpus", 0, "CPU cores per node; 0: the cluster's default for a task, often one", lower_bound=0)
  flags.DEFINE_string("python", ".venv/bin/python", "the Python on every node, relative to this folder")
  flags.DEFINE_boolean("dry_run", False, "print the script without submitting it")


if __name__ == "__main__":
  define_flags()
  app.run(main)
