"""Writes the tables of docs/reliability.md from the stored results of kills, bad inputs and a long run.

  python -m benchmarks.reliability

Run it after `python -m launch.faults`, `python -m benchmarks.bad_inputs` and `python -m benchmarks.long_run`, or any of
them.
"""

import json
from pathlib import Path
from typing import Any, Mapping

from benchmarks import tables

_PAGE = Path("docs/reliability.md")
_LEARNERS = {"sinusoid": "MAML, sinusoids", "quickstart": "ProtoNet, glyphs"}


def main() -> None:
  for name, lines in (("faults", kills), ("bad_inputs", inputs), ("long_run", length)):
    path = Path(f"docs/results/{name}.json")
    if path.exists():
      kept = json.loads(path.read_text(encoding="utf-8"))
      tables.insert(_PAGE, kept["command"], [*lines(kept), "", tables.machine(kept)])
    else:
      print(f"{path} does not exist; its table is unchanged.")


def kills(kept: Mapping[str, Any]) -> list[str]:
  """Returns the lines of the table of kills: a row per recipe and layout, and a total."""
  cases: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
  for one in kept["trials"]:
    cases.setdefault((one["recipe"], one["layout"]), []).append(one)
  lines = ["| recipe | processes | devices per process | runs | SIGKILL | SIGTERM | interrupted a save | runs lost "
           "| runs with a differing bit |", "| --- |" + " --- |" * 8]
  for (recipe, layout), trials in cases.items():
    processes, devices = layout.split("x")
    lines.append(f"| {_LEARNERS[recipe]} | {processes} | {devices} | {_counted(trials)} |")
  return [*lines, f"| all | | | {_counted(kept['trials'])} |"]


def _counted(trials: list[Mapping[str, Any]]) -> str:
  signals = [signal for one in trials for signal in one["signals"]]
  outcomes = [one["outcome"] for one in trials]
  return " | ".join(map(str, (
      len(trials), signals.count("SIGKILL"), signals.count("SIGTERM"), sum(one["torn_saves"] for one in trials),
      *(sum(outcome.startswith(word) for outcome in outcomes) for word in ("lost", "differs")))))


def inputs(kept: Mapping[str, Any]) -> list[str]:
  """Returns the lines of the table of bad inputs: a row per test file, and a total."""
  lines = ["| tests | bad inputs tried | ended in another error | hung | longest test, s |",
           "| --- | --- | --- | --- | --- |"]
  for name, row in kept["rows"].items():
    lines.append(f"| `{name.replace('.', '/')}.py` | {row['tried']} | {row['errors']} | {row['hangs']} "
                 f"| {row['longest_seconds']:.1f} |")
  total = kept["total"]
  return [*lines, f"| all | {total['tried']} | {total['errors']} | {total['hangs']} | |"]


def length(kept: Mapping[str, Any]) -> list[str]:
  """Returns the lines of the table of a long run: its peak usage in the first and in the last quarter."""
  lines = [f"| peak over {kept['steps']:,} steps with {kept['saves']} saves | first quarter "
           "| last quarter | growth |", "| --- | --- | --- | --- |"]
  (first, last), mib = kept["memory_bytes"], 2**20
  lines.append(f"| memory, MiB | {first / mib:.1f} | {last / mib:.1f} | {last / first - 1:.2%} |")
  for name, field in (("open files", "open_files"), ("programs compiled so far", "programs_compiled")):
    first, last = kept[field]
    lines.append(f"| {name} | {first} | {last} | {last - first} |")
  return lines


if __name__ == "__main__":
  main()
