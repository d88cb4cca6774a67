"""Generates docs/results.md: every comparison of plain training with ConML, next to the published results.

  python -m benchmarks.verdict                          rewrites the page from docs/results/verdict_*.json
  python -m benchmarks.verdict --list                   lists the rows and their state
  python -m benchmarks.verdict --only=sinusoid          runs the row of that name, or the missing rows whose names begin
                                                        so, then writes the page; resumes interrupted rows
  python -m benchmarks.verdict --keep=runs/<name>       stores the results of a comparison that was run separately; the
                                                        folder has the name of the row
"""

import argparse
import json
from pathlib import Path
import shlex
import subprocess
import sys
import time

from benchmarks import tables, verdict_page
from benchmarks.verdict_rows import Row, rows
from launch import find
from metajax.lab import compare
from metajax.lab.reports import comparison
from metajax.lab.reports.figures import save

_RESULTS = Path("docs/results")
_PAGE = Path("docs/results.md")
_RUNS = Path("runs/verdict")


def main(arguments: list[str]) -> None:
  parser = argparse.ArgumentParser(prog="python -m benchmarks.verdict", description=__doc__.splitlines()[0])
  parser.add_argument("--only", help="run the row of this name, or the missing rows whose names begin so")
  parser.add_argument("--keep", type=Path, help="store the results of this folder")
  parser.add_argument("--list", action="store_true", help="list the rows")
  chosen = parser.parse_args(arguments)
  if chosen.list:
    for row in rows():
      print(f"{row.name:28}{_state(row):14}python -m launch.compare {row.arguments}")
    return
  if chosen.keep:
    keep(chosen.keep)
  if chosen.only is not None:
    matching = named(chosen.only)
    if not matching:
      parser.error(f"no row begins with {chosen.only!r}; --list shows all rows.")
    missing = [row for row in matching if not _kept(row).exists()]
    for number, row in enumerate(missing, 1):
      print(f"Row {number} of {len(missing)}, {row.name}.", flush=True)
      _run(row)
      keep(_RUNS / row.name)
      write(_PAGE)  # with the rows that are done so far
  write(_PAGE)


def named(only: str) -> list[Row]:
  """Returns the row of that name or, if there is none, the rows whose names begin with it."""
  return [row for row in rows() if row.name == only] or [row for row in rows() if row.name.startswith(only)]


def keep(folder: Path, results: Path = _RESULTS) -> None:
  """Stores the results of a comparison in docs/results, with the machine and the versions, and draws the figures.

  Raises:
    ValueError: if no row has the name of the folder, or its command differs from the row's.
  """
  row = next((row for row in rows() if row.name == folder.name), None)
  if row is None:
    raise ValueError(f"no row is called {folder.name}; the rows are {', '.join(row.name for row in rows())}.")
  found = json.loads((folder / "results.json").read_text(encoding="utf-8"))
  given = _words(found["command"])
  missing = [word for word in _words(row.arguments) if word not in given]
  if missing:
    raise ValueError(f"{folder} is not the comparison of row {row.name}: its command lacks {' '.join(missing)}.")
  results.mkdir(parents=True, exist_ok=True)
  about = tables.about(f"python -m launch.compare {row.arguments}")
  (results / f"verdict_{row.name}.json").write_text(
      json.dumps({**found, **about}, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
  if row.pictures:
    drawn = comparison.pictures(found, {arm: compare.measured(folder, arm) for arm in found["arms"]})
    for name in set(row.pictures) & set(drawn):
      save(drawn[name][0], results / f"verdict_{row.name}_{name}.png")


def write(page: Path, results: Path = _RESULTS) -> None:
  """Writes the page's tables from the committed files."""
  found = {row: json.loads(_kept(row, results).read_text(encoding="utf-8")) for row in rows()
           if _kept(row, results).exists()}
  missing = [row.name for row in rows() if row not in found]
  lines = [verdict_page.in_all(found)]
  for section in dict.fromkeys(row.section for row in rows()):
    inside = {row: kept for row, kept in found.items() if row.section == section}
    pictures = {row: [f"results/verdict_{row.name}_{picture}.png" for picture in row.pictures
                      if (results / f"verdict_{row.name}_{picture}.png").exists()] for row in inside}
    lines += ["", f"## {section}", "", *(verdict_page.section(inside, pictures) if inside
                                         else ["(Not run yet.)"])]
  if missing:
    lines += ["", f"Not run yet: {', '.join(missing)}."]
  tables.insert(page, "python -m benchmarks.verdict", lines)


def _words(command: str) -> list[str]:
  """Returns the words of a command, with an old name of a recipe replaced by its current one."""
  return [f"--config={find.name(word.partition('=')[2])}" if word.startswith("--config=") else word
          for word in shlex.split(command)]


def _run(row: Row) -> None:
  """Runs or resumes a comparison. If it fails, it has printed the reason, and the program ends."""
  command = [sys.executable, "-m", "launch.compare", *shlex.split(row.arguments), f"--workdir={_RUNS / row.name}"]
  print(f"{row.name}: {' '.join(command[1:])}", flush=True)
  began = time.monotonic()
  if code := subprocess.run(command, check=False).returncode:
    raise SystemExit(code)
  print(f"{row.name} took {(time.monotonic() - began) / 60:.1f} minutes now.", flush=True)


def _state(row: Row) -> str:
  """Returns how long a row took, or its progress."""
  if _kept(row).exists():
    return f"{verdict_page.minutes(json.loads(_kept(row).read_text(encoding='utf-8'))):.1f} min"
  arms = len(list((_RUNS / row.name).glob("*/arm.npz")))
  return f"arms done: {arms}" if arms else "begun" if (_RUNS / row.name).exists() else "missing"


def _kept(row: Row, results: Path = _RESULTS) -> Path:
  return results / f"verdict_{row.name}.json"


if __name__ == "__main__":
  main(sys.argv[1:])
