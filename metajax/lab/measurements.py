"""Information kept with every measurement: the command, the machine and the versions."""

import importlib.metadata
from pathlib import Path
import platform
from typing import Any

_PACKAGES = ("metajax", "jax", "jaxlib", "flax", "optax", "numpy")


def about(command: str) -> dict[str, Any]:
  """Returns the information to keep with a measurement: the command, the machine and the versions."""
  return {"command": command, "machine": f"{platform.machine()}, {processor()}",
          "versions": {name: importlib.metadata.version(name) for name in _PACKAGES}}


def processor() -> str:
  """Returns the number of CPU cores and their model name, as far as the system reports them."""
  lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
  fields = [line.partition(":") for line in lines]
  values = lambda field: [value.strip() for name, _, value in fields if name.strip() == field]
  names, families, models = values("model name"), values("cpu family"), values("model")
  if not names:
    return platform.processor()
  # A virtual machine may report only the brand, whose generations differ threefold in speed.
  family = f" (family {families[0]}, model {models[0]})" if families and models else ""
  return f"{len(names)} cores {names[0]}{family}"
