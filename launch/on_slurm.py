"""Submits a command of this library to SLURM, one process per node.

  python -m launch.on_slurm --nodes=4 --time=12:00:00 -- python -m launch.train --config=<recipe> --workdir=<shared>
  python -m launch.on_slurm --nodes=4 --dry_run -- ...      prints the script only

Two minutes before its time limit, and on preemption, the job is asked to stop; it saves, is requeued, and resumes. Run
this command in the checkout, in a folder that all nodes share.
"""

import re
import shlex
import subprocess
from typing import Mapping, Sequence

from absl import flags

from launch import pods
from metajax.lab.preemption import REQUEUE

_NOTICE = 120  # seconds before the time limit at which a job is told to stop


def script(command: Sequence[str], *, nodes: int, time: str, partition: str | None, gpus: int, cpus: int, python: str,
           variables: Mapping[str, str] | None = None) -> str:
  """Returns the batch script.

  Raises:
    ValueError: if there is no command, the time limit is malformed or too short, or the partition is not a name.
  """
  if 0 < seconds(time) <= _NOTICE:
    raise ValueError(f"--time={time} is {seconds(time)} s, but a job is told to stop {_NOTICE} s before its limit; "
                     "give more, such as 1:00:00.")
  if partition is not None and not re.fullmatch(r"[\w.,+-]+", partition):
    raise ValueError(f"--partition={partition!r} is not the name of a partition; `sinfo` lists them.")
  words = shlex.join([python, "-m", *pods.as_module(command), "--hosts=auto"])
  options = ["--job-name=metajax", f"--nodes={nodes}", "--ntasks-per-node=1", f"--time={time}", "--requeue",
             "--open-mode=append", f"--signal=TERM@{_NOTICE}", "--output=metajax-%j.log"]
  options += [f"--partition={partition}"] if partition else []
  options += [f"--gpus-per-node={gpus}"] if gpus else []
  options += [f"--cpus-per-task={cpus}"] if cpus else []
  # By default, JAX uses one GPU per SLURM process, and srun does not inherit --cpus-per-task from sbatch.
  environment = [f"export JAX_LOCAL_DEVICE_IDS={','.join(map(str, range(gpus)))}"] if gpus else []
  environment += [f"export SRUN_CPUS_PER_TASK={cpus}"] if cpus else []
  environment += [f"export {name}={shlex.quote(value)}" for name, value in (variables or {}).items()]
  return "\n".join(["#!/bin/bash", *(f"#SBATCH {option}" for option in options), "", *environment,
                    f"srun --kill-on-bad-exit=0 {words}", "code=$?",
                    f"if [ $code -eq {REQUEUE} ]; then",
                    "  scontrol requeue $SLURM_JOB_ID", "fi", "exit $code", ""])


def seconds(time: str) -> int:
  """Returns the seconds of a time limit as SLURM writes it; 0 is no limit.

  Raises:
    ValueError: if it is of none of SLURM's forms.
  """
  if time.upper() in ("UNLIMITED", "INFINITE"):
    return 0
  if not re.fullmatch(r"\d+(:\d+){0,2}|\d+-\d+(:\d+){0,2}", time, re.ASCII):
    raise ValueError(f"--time={time} is not a time limit; give <minutes>, <hours>:<minutes>:<seconds> or "
                     "<days>-<hours>, such as 12:00:00 or 2-00.")
  days, dash, rest = time.rpartition("-")
  parts = [int(part) for part in rest.split(":")]
  # Without days, one number is minutes and two are minutes and seconds; with days, the first is hours.
  hours, minutes, more = (parts + [0, 0])[:3] if dash or len(parts) == 3 else [0, *(parts + [0])[:2]]
  return ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + more


def main(arguments: list[str]) -> None:
  given = flags.FLAGS
  made = script(arguments[1:], nodes=given.nodes, time=given.time, partition=given.partition, gpus=given.gpus,
                cpus=given.cpus, python=given.python, variables=pods.variables())
  pods.check_command(arguments[1:], processes=given.nodes)
  if given.dry_run:
    print(made, end="")
    return
  raise SystemExit(subprocess.run(["sbatch"], input=made, text=True, check=False).returncode)


def define_flags() -> None:
  """Defines the flags of this command, whose names other commands use too."""
  flags.DEFINE_integer("nodes", 1, "the number of nodes", lower_bound=1)
  flags.DEFINE_string("time", "24:00:00", "the time limit of a job, after which it is requeued: <minutes>, "
                      "<hours>:<minutes>:<seconds>, or <days>-<hours>")
  flags.DEFINE_string("partition", None, "the partition; by default that of the cluster")
  flags.DEFINE_integer("gpus", 0, "GPUs per node", lower_bound=0)
  flags.DEFINE_integer("cpus", 0, "CPU cores per node; 0: the cluster's default for a task, often one", lower_bound=0)
  flags.DEFINE_string("python", ".venv/bin/python", "the Python on every node, relative to this folder")
  pods.define_flags("print the script without submitting it")


if __name__ == "__main__":
  define_flags()
  pods.start(main)
