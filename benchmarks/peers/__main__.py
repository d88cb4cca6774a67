"""Compares the speed of other libraries with metajax: meta-steps on the same batch and parameters, timed alternately.

  python -m benchmarks.peers                    every workload (about an hour), writes docs/results/peers.json and the
                                                table in docs/performance.md; run nothing else meanwhile
  python -m benchmarks.peers W1 W3_1            only these; the other rows are kept
  python -m benchmarks.peers W1 --windows=0     only checks that loss and gradient agree; writes nothing
Needs the extra `peers`. A library that is not installed or not ready in time is left out; the file says why.
"""

import argparse
from contextlib import ExitStack
import json
from pathlib import Path
from typing import Any

from benchmarks import tables
from benchmarks.peers import PEERS, summary
from benchmarks.peers.side import Side
from benchmarks.workloads import WORKLOADS

_RESULT = Path("docs/results/peers.json")
_PAGE = Path("docs/performance.md")
_COMMAND = "python -m benchmarks.peers"
_THREADS = (1, 2)
# Relative tolerance for the first loss and gradient norm of another library against ours.
_LOSS_TOLERANCE, _GRADIENT_TOLERANCE = 1e-4, 1e-3


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("workloads", nargs="*", metavar="workload", help=", ".join(WORKLOADS))
  parser.add_argument("--windows", type=int, default=7, help="rounds in which every library runs once")
  parser.add_argument("--seconds", type=float, default=2.0, help="seconds per window and library")
  parser.add_argument("--ready_limit", type=float, default=120.0,
                      help="time limit in seconds to build, compile and make two calls")
  arguments = parser.parse_args()
  unknown = [name for name in arguments.workloads if name not in WORKLOADS]
  if unknown:
    parser.error(f"no workload is called {', '.join(unknown)}; choose from {', '.join(WORKLOADS)}.")
  kept = json.loads(_RESULT.read_text(encoding="utf-8")) if _RESULT.exists() else {"results": {}}
  for name in arguments.workloads or WORKLOADS:
    row = measure(name, arguments.windows, arguments.seconds, arguments.ready_limit)
    if arguments.windows:
      about = tables.about(_COMMAND)
      # Kept rows keep their own machine; rows without one were measured on the file's.
      results = {known: {"machine": kept["machine"], **each} for known, each in kept["results"].items()}
      results[name] = {"machine": about["machine"], "windows": arguments.windows, "seconds": arguments.seconds, **row}
      kept = {**about, "peers": summary.versions(),
              "results": {known: results[known] for known in WORKLOADS if known in results}}
      _RESULT.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
      tables.insert(_PAGE, _COMMAND, summary.lines(kept))


def measure(name: str, windows: int, seconds: float, ready_limit: float) -> dict[str, Any]:
  """Returns the answers of all libraries: those that ran, with `windows` times each, and why the others failed."""
  chosen = [("ours", max(_THREADS))]
  chosen += [(peer, threads) for peer, about in PEERS.items() if name in about.workloads for threads in _THREADS]
  ran: dict[str, Any] = {}
  failed: dict[str, str] = {}
  with ExitStack() as stack:
    sides = {}
    for side, threads in chosen:  # one after another, so that none compiles while another is timed
      started = stack.enter_context(Side(side, name, threads))
      first = started.answer(ready_limit)
      if "failed" in first:
        started.__exit__()
        failed[started.name] = first["failed"]
      else:
        sides[started.name] = started
        ran[started.name] = {**first, "peer": side, "threads": threads, "wall": [], "cpu": []}
      _say(name, started.name, first, ran.get("ours"))
    for entry in ran.values():
      entry["agrees"] = "ours" in ran and agrees(entry, ran["ours"])
    for _ in range(windows):
      for side_name in list(sides):
        window = sides[side_name].run(seconds, 10 * seconds + ready_limit)
        if "failed" in window:
          failed[side_name] = window["failed"]
          del sides[side_name], ran[side_name]
          continue
        tasks = window["calls"] * ran[side_name]["tasks_per_call"]
        for clock in ("wall", "cpu"):
          ran[side_name][clock].append(window[clock] / tasks)
  return {"ran": ran, "failed": failed}


def agrees(one: dict[str, Any], other: dict[str, Any]) -> bool:
  """Returns whether the first loss and gradient norm of two libraries agree up to rounding."""
  return all(abs(one[field] - other[field]) <= tolerance * abs(other[field])
             for field, tolerance in (("loss", _LOSS_TOLERANCE), ("gradient_norm", _GRADIENT_TOLERANCE)))


def _say(workload: str, side: str, first: dict[str, Any], ours: dict[str, Any] | None) -> None:
  if "failed" in first:
    words = first["failed"]
  else:
    words = (f"loss {first['loss']:.7g}, gradient {first['gradient_norm']:.6g}, ready after "
             f"{first['ready_seconds']:.1f} s, second call {first['call_seconds']:.3g} s, "
             f"{first['tasks_per_call'] / first['call_seconds']:.3g} tasks/s")
    if ours and not agrees(first, ours):
      words += "; DOES NOT AGREE with ours"
  print(f"{workload}: {side}: {words}", flush=True)


if __name__ == "__main__":
  main()
