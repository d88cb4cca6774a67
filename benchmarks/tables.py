"""Tables in Markdown pages, written by the commands that measure, and what must be said of every measurement."""

import importlib.metadata
from pathlib import Path
import platform
from typing import Any, Mapping, Sequence

_PACKAGES = ("metajax", "jax", "jaxlib", "flax", "optax", "numpy")


def insert(page: Path, command: str, lines: Sequence[str]) -> None:
  """Replaces the lines of a page between `<!-- table: <command> -->` and `<!-- end of table -->`.

  Raises:
    ValueError: if the page has no such place.
  """
  start, end = f"<!-- table: {command} -->", "<!-- end of table -->"
  text = page.read_text(encoding="utf-8")
  if start not in text:
    raise ValueError(f"{page} has no line {start!r}, after which the table would go.")
  before, rest = text.split(start)
  page.write_text(before + start + "\n" + "\n".join(lines) + "\n" + end + rest.split(end, 1)[1], encoding="utf-8")


def about(command: str) -> dict[str, Any]:
  """Returns what is kept with every measurement: the command, the machine and the versions."""
  return {"command": command, "machine": f"{platform.machine()}, {processor()}",
          "versions": {name: importlib.metadata.version(name) for name in _PACKAGES}}


def machine(kept: Mapping[str, Any]) -> str:
  """Returns the line under a table that says where it was measured."""
  versions = ", ".join(f"{name} {kept['versions'][name]}" for name in ("jax", "flax"))
  return f"`{kept['command']}`, on {kept['machine']}, {versions}."


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
