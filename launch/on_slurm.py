"""Submits a command of ours to SLURM, one process a node.

  python -m launch.on_slurm --nodes=4 --time=12:00:00 -- python -m launch.train --config=<recipe> --workdir=<shared>
  python -m launch.on_slurm --nodes=4 --dry_run -- ...      prints the script it would submit

Two minutes before its time is over, and whenever it is preempted, the job is told to stop; it saves, and is put in the
queue again, where it goes on as if nothing had been. Give it in the checkout, in a folder that all nodes share.
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
  # By itself jax gives a process of SLURM's one GPU, and srun does not ask what sbatch was asked for.
  surroundings = [f"export JAX_LOCAL_DEVICE_IDS={','.join(map(str, range(gpus)))}"] if gpus else []
  surroundings += [f"export SRUN_CPUS_PER_TASK={cpus}"] if cpus else []
  return "\n".join(["#!/bin/bash", *(f"#SBATCH {option}" for option in options), "", *surroundings,
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
  """Defines the flags of this command, which others share the names of."""
  flags.DEFINE_integer("nodes", 1, "how many", lower_bound=1)
  flags.DEFINE_string("time", "24:00:00", "how long a job may take before it is queued again")
  flags.DEFINE_string("partition", None, "by default the cluster's own")
  flags.DEFINE_integer("gpus", 0, "of each node", lower_bound=0)
  flags.DEFINE_integer("cpus", 0, "cores of each node; 0: what the cluster gives a task, often one", lower_bound=0)
  flags.DEFINE_string("python", ".venv/bin/python", "the Python on every node, seen from here")
  flags.DEFINE_boolean("dry_run", False, "print what would be submitted, and submit nothing")


if __name__ == "__main__":
  define_flags()
  app.run(main)
