"""docs/results.md: every comparison of plain training with ConML, beside what was published; nothing typed by hand.

  python -m benchmarks.verdict                          writes the page again from docs/results/verdict_*.json
  python -m benchmarks.verdict --list                   what there is to run, and what has been
  python -m benchmarks.verdict --only=sinusoid          runs those whose names begin so and were not run yet, then
                                                        writes the page; where it was stopped, it goes on
  python -m benchmarks.verdict --keep=runs/<name>       takes the results of a comparison run by hand; its folder's name
                                                        is the name of the row
"""

import argparse
import json
from pathlib import Path
import shlex
import shutil
import subprocess
import sys
from typing import Any, Iterable

from benchmarks import tables
from benchmarks.verdict_rows import Row, Shown, rows
from metajax.reports.comparison import main_measure, verdicts

_RESULTS = Path("docs/results")
_PAGE = Path("docs/results.md")
_RUNS = Path("runs/verdict")
_PICTURES = ("differences", "distances", "sweep_test_shots", "sweep_test_shift", "sweep_test_points")


def main(arguments: list[str]) -> None:
  parser = argparse.ArgumentParser(prog="python -m benchmarks.verdict", description=__doc__.splitlines()[0])
  parser.add_argument("--only", help="run the missing rows whose names begin so")
  parser.add_argument("--keep", type=Path, help="take the results of this folder")
  parser.add_argument("--list", action="store_true", help="say what there is")
  chosen = parser.parse_args(arguments)
  if chosen.list:
    for row in rows():
      print(f"{row.name:28}{'done' if _kept(row).exists() else 'missing':9}python -m launch.compare {row.arguments}")
    return
  if chosen.keep:
    keep(chosen.keep)
  if chosen.only is not None:
    matching = [row for row in rows() if row.name.startswith(chosen.only)]
    if not matching:
      parser.error(f"no row begins with {chosen.only!r}; --list lists them.")
    for row in matching:
      if not _kept(row).exists():
        _run(row)
        keep(_RUNS / row.name)
        write(_PAGE)  # as far as it goes
  write(_PAGE)


def keep(folder: Path, results: Path = _RESULTS) -> None:
  """Copies results and pictures of a comparison to where they are committed, with the machine and the versions.

  Raises:
    ValueError: if no row has the name of the folder, or the comparison was of another recipe.
  """
  row = next((row for row in rows() if row.name == folder.name), None)
  if row is None:
    raise ValueError(f"no row is called {folder.name}; there are {', '.join(row.name for row in rows())}.")
  found = json.loads((folder / "results.json").read_text(encoding="utf-8"))
  missing = [word for word in shlex.split(row.arguments) if word not in shlex.split(found["command"])]
  if missing:
    raise ValueError(f"{folder} is not the comparison of row {row.name}: its command lacks {' '.join(missing)}.")
  results.mkdir(parents=True, exist_ok=True)
  about = tables.about(f"python -m launch.compare {row.arguments}")
  (results / f"verdict_{row.name}.json").write_text(
      json.dumps({**found, **about}, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
  for picture in _PICTURES:
    if (folder / "pictures" / f"{picture}.png").exists():
      shutil.copy(folder / "pictures" / f"{picture}.png", results / f"verdict_{row.name}_{picture}.png")


def write(page: Path, results: Path = _RESULTS) -> None:
  """Writes the tables of the page from the files that are committed."""
  found = {row: json.loads(_kept(row, results).read_text(encoding="utf-8")) for row in rows()
           if _kept(row, results).exists()}
  missing = [row.name for row in rows() if row not in found]
  lines: list[str] = []
  for section in dict.fromkeys(row.section for row in rows()):
    lines += ["", f"## {section}", ""]
    inside = {row: kept for row, kept in found.items() if row.section == section}
    if not inside:
      lines.append("(Nothing has been run yet.)")
      continue
    lines += ["| comparison | tested | arm | published | here, ± over seeds | less the first, in pairs | diverged | "
              "steps, seeds, minutes |", "| --- | --- | --- | --- | --- | --- | --- | --- |"]
    for row, kept in inside.items():
      for shown in row.shown:
        lines += _lines(row, shown, kept)
    for row, kept in inside.items():
      lines += ["", f"**{row.name}**: `{kept['command']}`. {kept['notes']} " + " ".join(verdicts(kept))
                + _remark(row, kept) + f" On {kept['machine']}, jax {kept['versions']['jax']}."]
      lines += [f"\n![{row.name}, {picture}](results/verdict_{row.name}_{picture}.png)" for picture in _PICTURES
                if (results / f"verdict_{row.name}_{picture}.png").exists()]
  if missing:
    lines += ["", f"Not run yet: {', '.join(missing)}."]
  tables.insert(page, "python -m benchmarks.verdict", lines)


def _lines(row: Row, shown: Shown, kept: dict[str, Any]) -> Iterable[str]:
  measure = main_measure(kept)
  scale, unit = (100.0, " %") if measure == "accuracy" else (1.0, "")
  about = f"{kept['steps']:,}, {len(kept['seeds'])}"
  for arm, own in kept["arms"].items():
    first = arm == kept["reference"]
    published = shown.plain if first else shown.conml if arm == "both" else ""
    if shown.gains:
      if not first:
        both = kept["sweeps"][shown.field]["gains"][arm]
        if both is None:
          continue
        yield (f"| {row.name} | {shown.tested}: lowest error relative to plain, examples spared | {arm} "
               f"| {published} | {_mean(both['relative_minimum'])}, {_mean(both['spared'])} | | | |")
      continue
    test = _tested(shown, kept, arm)
    if test is None:
      continue
    value, gap = test[measure], test[measure].get("difference")
    difference = ""
    if gap:
      difference = f"{_mean(gap['over_seeds'], scale)}{unit}" + (
          "" if gap["p_value"] is None else f" (p = {gap['p_value']:.2g})")
    yield (f"| {row.name} | {shown.tested} | {arm} | {published} | {_mean(value['over_seeds'], scale)}{unit} | "
           f"{difference} | {100 * value['diverged']:.2g} % | {about}, {own['all_minutes']:.1f} |")


def _tested(shown: Shown, kept: dict[str, Any], arm: str) -> dict[str, Any] | None:
  """Returns what was found of an arm in the test that is shown, if it was run."""
  if not shown.field:
    return kept["arms"][arm]["test"]
  swept = kept["sweeps"].get(shown.field)
  if swept is None or shown.value not in swept["values"]:
    return None
  return swept["arms"][arm][swept["values"].index(shown.value)]


def _remark(row: Row, kept: dict[str, Any]) -> str:
  said = [row.remark] if row.remark else []
  if kept["steps"] < row.published_steps:
    said.insert(0, f"trained for {kept['steps']:,} steps, shorter than the {row.published_steps:,} published")
  return f" Beside what was published: {'; '.join(said)}." if said else ""


def _mean(value: dict[str, Any], scale: float = 1.0) -> str:
  if value["mean"] is None:
    return "not finite"
  digits = 2 if scale == 100 else 3
  half = "" if value["interval"] is None else f" ± {scale * value['interval']:.{digits}f}"
  return f"{scale * value['mean']:.{digits}f}{half}"


def _run(row: Row) -> None:
  command = [sys.executable, "-m", "launch.compare", *shlex.split(row.arguments), f"--workdir={_RUNS / row.name}"]
  print(f"{row.name}: {' '.join(command[1:])}", flush=True)
  subprocess.run(command, check=True)


def _kept(row: Row, results: Path = _RESULTS) -> Path:
  return results / f"verdict_{row.name}.json"


if __name__ == "__main__":
  main(sys.argv[1:])
