"""Tables in Markdown pages, written by the commands that measure, and the machine and versions of a measurement."""

from pathlib import Path
from typing import Any, Mapping, Sequence

from metajax.lab.measurements import about as about  # noqa: F401, re-exported for the benchmarks
from metajax.lab.measurements import processor as processor  # noqa: F401


def insert(page: Path, command: str, lines: Sequence[str]) -> None:
  """Replaces the lines of a page between `<!-- table: <command> -->` and `<!-- end of table -->`.

  Raises:
    ValueError: if the page has no such markers.
  """
  start, end = f"<!-- table: {command} -->", "<!-- end of table -->"
  text = page.read_text(encoding="utf-8")
  if start not in text:
    raise ValueError(f"{page} has no line {start!r} to mark the place of the table.")
  before, rest = text.split(start)
  page.write_text(before + start + "\n" + "\n".join(lines) + "\n" + end + rest.split(end, 1)[1], encoding="utf-8")


def machine(kept: Mapping[str, Any]) -> str:
  """Returns the line under a table that names the command, the machine and the versions."""
  versions = ", ".join(f"{name} {kept['versions'][name]}" for name in ("jax", "flax"))
  return f"`{kept['command']}`, on {kept['machine']}, {versions}."
