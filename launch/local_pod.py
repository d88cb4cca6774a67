"""Runs a command of ours as a pod of several processes on this machine, each with devices of its own.

  python -m launch.local_pod --processes=2 --devices=4 -- python -m launch.train --config=omniglot_maml

Made for trying out: the devices are pretended, and share the cores. Its exit code is that of the first process that
failed, or 0.
"""

import os
import socket
from typing import Sequence

from absl import app, flags

from launch import command_line, pods


def run(command: Sequence[str], processes: int, devices: int) -> int:
  """Runs the command in so many processes and returns the exit code of the first that fails, or 0.

  Args:
    command: with or without `python -m` before it, such as `["launch.train", "--config=..."]`.
    processes, devices: how many, and of each how many.

  Raises:
    ValueError: if there is no command.
  """
  coordinator = free_address()
  return pods.run_together([pods.python([*pods.as_module(command), f"--hosts={coordinator},{processes},{process}"])
                            for process in range(processes)], _surroundings(devices))


def free_address() -> str:
  """Returns an address of this machine at which nobody listens yet, for processes to meet."""
  with socket.socket() as sock:
    sock.bind(("127.0.0.1", 0))
    return f"127.0.0.1:{sock.getsockname()[1]}"


def _surroundings(devices: int) -> dict[str, str]:
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
  """Defines the flags of this command, which others share the names of."""
  flags.DEFINE_integer("processes", 2, "how many processes", lower_bound=1)
  flags.DEFINE_integer("devices", 4, "how many devices each of them has", lower_bound=1)


if __name__ == "__main__":
  define_flags()
  app.run(main)
