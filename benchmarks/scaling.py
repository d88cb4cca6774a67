"""The same training in several layouts of processes and devices: that it is the same, and what each device does.

  python -m benchmarks.scaling       a few minutes; writes docs/results/scaling.json and the tables in docs/scaling.md
The devices are pretended and share the cores of one machine: its times say nothing about a real pod's, its operations
and bytes do.
"""

import json
from pathlib import Path
import tempfile
from typing import Any

import numpy as np

from benchmarks import tables
from benchmarks.layout import CASES, STEPS, TASKS
from launch import local_pod

_RESULT = Path("docs/results/scaling.json")
_PAGE = Path("docs/scaling.md")
_COMMAND = "python -m benchmarks.scaling"
# Processes, devices of each, mapping; the first is what the others are compared with.
_LAYOUTS = ((1, 1, "shard_map"), (1, 2, "shard_map"), (1, 4, "shard_map"), (1, 8, "shard_map"), (1, 8, "pmap"),
            (2, 4, "shard_map"), (4, 2, "shard_map"))
_COMPARED = ("loss", "d_in", "d_out", "gradient", "parameters")


def main() -> None:
  found: dict[str, dict[str, np.ndarray]] = {}
  with tempfile.TemporaryDirectory() as folder:
    for processes, devices, mapping in _LAYOUTS:
      file = Path(folder) / "found.npz"
      code = local_pod.run(["benchmarks.layout", str(file), str(processes * devices), mapping], processes, devices)
      if code:
        raise SystemExit(code)
      with np.load(file) as arrays:
        found[_name(processes, devices, mapping)] = dict(arrays)
      print(f"{_name(processes, devices, mapping)} is done.", flush=True)
  first = next(iter(found.values()))
  rows = [{"case": case, "layout": layout, **json.loads(str(arrays[f"{case}/about"])),
           "differences": {name: _difference(arrays[f"{case}/{name}"], first[f"{case}/{name}"]) for name in _COMPARED}}
          for case in CASES for layout, arrays in found.items()]
  kept = {**tables.about(_COMMAND), "steps": STEPS, "tasks": TASKS, "rows": rows}
  _RESULT.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
  write(kept)


def write(kept: dict[str, Any]) -> None:
  """Writes the tables of the page from what is kept."""
  same = [f"| recipe | layout | {' | '.join(_COMPARED)} |", "| --- | --- |" + " --- |" * len(_COMPARED)]
  cost = ["| recipe | layout | operations a device, 1e6 | bytes of collectives, 1e3 | to work in, MiB "
          "| ms a step here |",
          "| --- | --- | --- | --- | --- | --- |"]
  for row in kept["rows"]:
    same.append(f"| {row['case']} | {row['layout']} | "
                + " | ".join(f"{row['differences'][name]:.0e}" for name in _COMPARED) + " |")
    talk = ", ".join(f"{kind} {size / 1e3:.1f}" for kind, size in row["collectives"].items()) or "none"
    cost.append(f"| {row['case']} | {row['layout']} | {row['flops'] / 1e6:.1f} | {talk} "
                f"| {row['working_bytes'] / 2**20:.1f} | {1e3 * row['seconds']:.1f} |")
  tables.insert(_PAGE, _COMMAND, [*same, "", *cost, "", tables.machine(kept)])


def _difference(one: np.ndarray, other: np.ndarray) -> float:
  """Returns the norm of the difference relative to that of the other."""
  return float(np.linalg.norm(one - other) / np.linalg.norm(other))


def _name(processes: int, devices: int, mapping: str) -> str:
  of = f"{processes} processes of {devices}" if processes > 1 else f"{devices} device{'s' if devices > 1 else ''}"
  return f"{of}, {mapping}" if processes * devices > 1 else of


if __name__ == "__main__":
  main()
