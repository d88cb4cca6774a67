"""Runs a command of this library as a pod of several processes on this machine, each with its own devices.

  python -m launch.local_pod --processes=2 --devices=4 -- python -m launch.train --config=omniglot_maml

For testing: the devices are simulated and share the CPU cores. The exit code is that of the first process that failed,
or 0.
"""

import os
import socket
from typing import Sequence

from absl import app, flags

from launch import command_line, pods


def run(command: Sequence[str], processes: int, devices: int) -> int:
  """Runs the command in several processes and returns the exit code of the first that fails, or 0.

  Args:
    command: with or without a leading `python -m`, such as `["launch.train", "--config=..."]`.
    processes, devices: the number of processes, and of devices per process.

  Raises:
    ValueError: if there is no command.
  """
  coordinator = free_address()
  return pods.run_together([pods.python([*pods.as_module(command), f"--hosts={coordinator},{processes},{process}"])
                            for process in range(processes)], _environment(devices))


def free_address() -> str:
  """Returns a free address of this machine, for the coordinator."""
  with socket.socket() as sock:
    sock.bind(("127.0.0.1", 0))
    return f"127.0.0.1:{sock.getsockname()[1]}"


def _environment(devices: int) -> dict[str, str]:
  others = [flag for flag in os.environ.get("XLA_FLAGS", "").split()
            if not flag.startswith("--xla_force_host_platform_device_count")]
  return {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONUNBUFFERED": "1",
          "XLA_FLAGS": " ".join([*others, f"--xla_force_host_platform_device_count={devices}"])}


def main(arguments: list[str]) -> None:
  given = flags.FLAGS
  try:
    raise SystemExit(run(arguments[1:], given.processes, given.devices))
  except ValueError as error:
    command_line.fail(str(error))


def define_flags() -> None:
  """Defines the flags of this command, whose names other commands use too."""
  flags.DEFINE_integer("processes", 2, "the number of processes", lower_bound=1)
  flags.DEFINE_integer("devices", 4, "the number of devices per process", lower_bound=1)


if __name__ == "__main__":
  define_flags()
  app.run(main)
