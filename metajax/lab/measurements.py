"""What must be said of every measurement: the command, the machine and the versions."""

import importlib.metadata
from pathlib import Path
import platform
from typing import Any

_PACKAGES = ("metajax", "jax", "jaxlib", "flax", "optax", "numpy")


def about(command: str) -> dict[str, Any]:
  """Returns what is kept with every measurement: the command, the machine and the versions."""
  return {"command": command, "machine": f"{platform.machine()}, {processor()}",
          "versions": {name: importlib.metadata.version(name) for name in _PACKAGES}}


def processor() -> str:
  """Returns the cores and their name, as far as the system tells."""
  lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
  fields = [line.partition(":") for line in lines]
  of = lambda field: [value.strip() for name, _, value in fields if name.strip() == field]
  if not of("model name"):
    return platform.processor()
  # A virtual machine may tell no more than the maker's brand, where generations differ threefold in speed.
  family = f" (family {of('cpu family')[0]}, model {of('model')[0]})" if of("cpu family") and of("model") else ""
  return f"{len(of('model name'))} cores {of('model name')[0]}{family}"
