"""Counts the bad inputs tried by the tests marked `bad_input`, and their outcomes.

  python -m benchmarks.bad_inputs      a few minutes; writes docs/results/bad_inputs.json

A test passes only if the input gives an error message that says what to do, or the correct result. Each parametrized
case counts as one input, and so does each example that hypothesis tries. A test that takes over a minute counts as a
hang.
"""

import base64
import json
import os
from pathlib import Path
import re
import subprocess
import sys
import tempfile
from typing import Any
from xml.etree import ElementTree

from benchmarks import tables

_RESULT = Path("docs/results/bad_inputs.json")
_COMMAND = "python -m benchmarks.bad_inputs"
_PYTEST = ("pytest", "-m", "bad_input", "-p", "no:xdist", "--timeout=60", "-q")


def main() -> None:
  with tempfile.TemporaryDirectory() as folder:
    report = Path(folder) / "report.xml"
    done = subprocess.run([sys.executable, "-m", *_PYTEST, f"--junitxml={report}", *sys.argv[1:]], check=False,
                          env={**os.environ, "JAX_PLATFORMS": "cpu"})
    rows = count(report.read_text(encoding="utf-8"))
  total = {field: sum(row[field] for row in rows.values()) for field in ("tried", "errors", "hangs")}
  _RESULT.write_text(json.dumps({**tables.about(_COMMAND), "total": total, "rows": rows}, indent=2) + "\n",
                    encoding="utf-8")
  print(f"{total['tried']} bad inputs tried: {total['errors']} ended in another error, {total['hangs']} hung.")
  raise SystemExit(done.returncode)


def count(report: str) -> dict[str, dict[str, Any]]:
  """Returns, for each test file, the inputs tried and their outcomes, from pytest's JUnit XML report."""
  tree = ElementTree.fromstring(report)
  properties = {each.get("name", ""): each.get("value", "") for each in tree.iter("property")}
  rows: dict[str, dict[str, Any]] = {}
  for case in tree.iter("testcase"):
    if case.find("skipped") is not None:
      continue
    row = rows.setdefault(case.get("classname", ""), {"tried": 0, "errors": 0, "hangs": 0, "longest_seconds": 0.0})
    row["tried"] += _examples(properties.get(f"hypothesis-statistics-{_name(case)}", "")) or 1
    faults = [fault.get("message") or "" for kind in ("failure", "error") for fault in case.iter(kind)]
    hung = any("Timeout" in fault for fault in faults)
    row["hangs"] += hung
    row["errors"] += bool(faults) and not hung
    row["longest_seconds"] = max(row["longest_seconds"], float(case.get("time", 0)))
  return rows


def _examples(statistics: str) -> int:
  """Returns how many examples hypothesis tried, from the base64-encoded statistics in a report."""
  said = base64.b64decode(statistics).decode()
  found = re.findall(r"(\d+) passing\D+(\d+) failing", said)
  if said and not found:
    raise ValueError(f"hypothesis reports its examples in an unknown format: {said!r}.")
  return sum(int(number) for numbers in found for number in numbers)


def _name(case: ElementTree.Element) -> str:
  return f"{case.get('classname', '').replace('.', '/')}.py::{case.get('name')}"


if __name__ == "__main__":
  main()
