"""Compares the same training in several layouts of processes and devices: its results and the cost per device.

  python -m benchmarks.scaling                     measures what is missing, one recipe and layout at a time; writes
                                                   docs/results/scaling.json and the tables in docs/scaling.md
  python -m benchmarks.scaling --only=2x4          only this layout
  python -m benchmarks.scaling --list              lists the layouts and what is measured of each
Measurements are stored in runs/scaling; remove the folder to start over. The devices are simulated and share the cores
of one machine. The times therefore say nothing about a real pod; the operations and bytes do.
"""

import argparse
import json
from pathlib import Path
import sys
from typing import Any, Mapping, NamedTuple

import numpy as np

from benchmarks import tables
from benchmarks.layout import CASES, METRICS, STEPS, TASKS
from launch import local_pod

_RESULT = Path("docs/results/scaling.json")
_PAGE = Path("docs/scaling.md")
_RUNS = Path("runs/scaling")
_COMMAND = "python -m benchmarks.scaling"


class Layout(NamedTuple):
  """A layout of a run over processes and devices."""
  processes: int
  devices: int  # per process
  mapping: str = "shard_map"
  precision: str = "float32"

  @property
  def name(self) -> str:
    """The name on the command line, such as 2x4 or 1x8-pmap."""
    others = [part for part in (self.mapping, self.precision) if part not in ("shard_map", "float32")]
    return "-".join([f"{self.processes}x{self.devices}", *others])

  @property
  def words(self) -> str:
    """The name in the tables."""
    if self.processes > 1:
      return f"{self.processes} processes of {self.devices}"
    return f"{self.devices} devices" + (", pmap" if self.mapping == "pmap" else "") if self.devices > 1 else "1 device"


# Within a precision, all layouts are compared with the first.
_LAYOUTS = (Layout(1, 1), Layout(1, 2), Layout(1, 4), Layout(1, 8), Layout(1, 8, "pmap"), Layout(2, 4), Layout(4, 2),
            Layout(1, 1, precision="float64"), Layout(1, 8, precision="float64"), Layout(2, 4, precision="float64"))


def main(arguments: list[str]) -> None:
  parser = argparse.ArgumentParser(prog=_COMMAND, description=__doc__.splitlines()[0])
  parser.add_argument("--only", choices=[layout.name for layout in _LAYOUTS], help="measure only this layout")
  parser.add_argument("--list", action="store_true", help="list the layouts")
  chosen = parser.parse_args(arguments)
  if chosen.list:
    for layout in _LAYOUTS:
      print(f"{layout.name:14}{', '.join(case for case in CASES if _file(layout, case).exists()) or 'missing'}")
    return
  every = [(layout, case) for case in CASES for layout in _LAYOUTS]
  for layout, case in every:
    if chosen.only in (None, layout.name) and not _file(layout, case).exists():
      _measure(layout, case)
      print(f"{layout.name}, {case}: measured.", flush=True)
  done = [(layout, case) for layout, case in every if _file(layout, case).exists()]
  found = {(layout, case): dict(np.load(_file(layout, case))) for layout, case in done}
  kept = {**tables.about(_COMMAND), "steps": STEPS, "tasks": TASKS, "rows": rows(found)}
  if kept["rows"]:
    _RESULT.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
    write(kept)
  missing = [f"{layout.name} {case}" for layout, case in every if (layout, case) not in done]
  print(f"Missing: {', '.join(missing)}." if missing else "Everything is measured.")


def rows(found: Mapping[tuple[Layout, str], Mapping[str, np.ndarray]]) -> list[dict[str, Any]]:
  """Returns a row per case and measured layout, if the single-device layout was measured too."""
  made = []
  for (layout, case), arrays in found.items():
    alone = found.get((Layout(1, 1, precision=layout.precision), case))
    if alone is not None:
      made.append({"case": case, "layout": layout.words, "precision": layout.precision,
                   **json.loads(str(arrays["about"])), "differences": _differences(arrays, alone)})
  return made


def write(kept: Mapping[str, Any], page: Path = _PAGE) -> None:
  """Writes a page's tables from the stored results."""
  names = list(kept["rows"][0]["differences"])
  same = [f"| recipe | layout | {' | '.join(names)} |", "| --- | --- |" + " --- |" * len(names)]
  cost = ["| recipe | layout | operations per device, 1e6 | bytes of collectives, 1e3 | memory per device, MiB "
          "| ms per step here |",
          "| --- | --- | --- | --- | --- | --- |"]
  for row in kept["rows"]:
    wide = "" if row["precision"] == "float32" else f", {row['precision']}"
    same.append(f"| {row['case']} | {row['layout']}{wide} | "
                + " | ".join(f"{row['differences'][name]:.0e}" for name in names) + " |")
    if wide:
      continue
    talk = ", ".join(f"{kind} {size / 1e3:.1f}" for kind, size in row["collectives"].items()) or "none"
    cost.append(f"| {row['case']} | {row['layout']} | {row['flops'] / 1e6:.1f} | {talk} "
                f"| {row['memory_bytes'] / 2**20:.1f} | {1e3 * row['seconds']:.1f} |")
  tables.insert(page, _COMMAND, [*same, "", *cost, "", tables.machine(kept)])


def _measure(layout: Layout, case: str) -> None:
  """Measures a case in a layout and writes the file atomically."""
  _RUNS.mkdir(parents=True, exist_ok=True)
  begun = _file(layout, case).with_suffix(".begun.npz")
  code = local_pod.run(["benchmarks.layout", str(begun), case, str(layout.processes * layout.devices), layout.mapping,
                        layout.precision], layout.processes, layout.devices)
  if code:
    raise SystemExit(code)
  begun.rename(_file(layout, case))


def _file(layout: Layout, case: str) -> Path:
  return _RUNS / f"{case}_{layout.name}.npz"


def _differences(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> dict[str, float]:
  """Returns relative differences: at the first step, the largest over all steps, and of the last parameters."""
  steps = {name: np.abs(one[name] - other[name]) / np.abs(other[name]) for name in METRICS}
  gradient, parameters = (float(np.linalg.norm(one[name] - other[name]) / np.linalg.norm(other[name]))
                          for name in ("gradient", "parameters"))
  return {**{name: float(values[0]) for name, values in steps.items()}, "gradient": gradient,
          **{f"{name}, {STEPS} steps": float(values.max()) for name, values in steps.items()},
          "parameters": parameters}


if __name__ == "__main__":
  main(sys.argv[1:])
