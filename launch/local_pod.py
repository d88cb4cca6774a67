"""Runs a command of this library as a pod of several processes on this machine, each with its own devices.

  python -m launch.local_pod --processes=2 --devices=4 -- python -m launch.train --config=omniglot_maml

For testing: the devices are simulated and share the CPU cores. The exit code is that of the first process that failed,
or 0.
"""

import os
import shlex
import socket
from typing import Mapping, Sequence

from absl import flags

from launch import pods

_MOST = 256  # more processes or simulated devices than any machine can serve


def run(command: Sequence[str], processes: int, devices: int, variables: Mapping[str, str] | None = None) -> int:
  """Runs the command in several processes and returns the exit code of the first that fails, or 0.

  Args:
    command: with or without a leading `python -m`, such as `["launch.train", "--config=..."]`.
    processes, devices: the number of processes, and of devices per process.
    variables: environment variables to add to those of this process.

  Raises:
    ValueError: if there is no command, or the variables ask for real devices.
  """
  made = commands(command, processes)
  return pods.run_together(made, {**os.environ, **environment(devices, variables or {})})


def commands(command: Sequence[str], processes: int) -> list[list[str]]:
  """Returns the command of each process.

  Raises:
    ValueError: if there is no command.
  """
  coordinator = free_address()
  return [pods.python([*pods.as_module(command), f"--hosts={coordinator},{processes},{process}"])
          for process in range(processes)]


def environment(devices: int, variables: Mapping[str, str]) -> dict[str, str]:
  """Returns what is added to the environment of every process: simulated devices, and these variables.

  Raises:
    ValueError: if the variables ask for real devices.
  """
  if variables.get("JAX_PLATFORMS", "cpu") != "cpu":
    raise ValueError(f"--env=JAX_PLATFORMS={variables['JAX_PLATFORMS']} asks for devices that the processes would have "
                     "to share; launch.local_pod simulates devices on the CPU, so leave it out.")
  others = [flag for flag in variables.get("XLA_FLAGS", os.environ.get("XLA_FLAGS", "")).split()
            if not flag.startswith("--xla_force_host_platform_device_count")]
  return {**variables, "JAX_PLATFORMS": "cpu", "PYTHONUNBUFFERED": "1",
          "XLA_FLAGS": " ".join([*others, f"--xla_force_host_platform_device_count={devices}"])}


def free_address() -> str:
  """Returns a free address of this machine, for the coordinator."""
  with socket.socket() as sock:
    sock.bind(("127.0.0.1", 0))
    return f"127.0.0.1:{sock.getsockname()[1]}"


def main(arguments: list[str]) -> None:
  given, variables = flags.FLAGS, pods.variables()
  added = environment(given.devices, variables)
  made = commands(arguments[1:], given.processes)
  pods.check_command(arguments[1:], processes=given.processes)
  if given.dry_run:
    print("\n".join(shlex.join(pods.with_environment(added, words)) for words in made))
    return
  raise SystemExit(run(arguments[1:], given.processes, given.devices, variables))


def define_flags() -> None:
  """Defines the flags of this command, whose names other commands use too."""
  flags.DEFINE_integer("processes", 2, "the number of processes", lower_bound=1, upper_bound=_MOST)
  flags.DEFINE_integer("devices", 4, "the number of devices per process", lower_bound=1, upper_bound=_MOST)
  pods.define_flags("print the commands without running them")


if __name__ == "__main__":
  define_flags()
  pods.start(main)
