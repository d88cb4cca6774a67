"""Speed, efficiency and memory of metajax on every workload of benchmarks/workloads.py.

  python -m benchmarks.speed             all (a few minutes; run nothing else meanwhile), writes
                                         docs/results/speed.json and the table in docs/performance.md
  python -m benchmarks.speed W1 W3_1     only these; the other rows are kept
The machine's limit is a float32 product of two 2048 x 2048 matrices, timed alternately with each workload.
"""

import json
from pathlib import Path
import sys
import time
from typing import Any, Sequence

import jax
import jax.numpy as jnp

from benchmarks import ours, tables
from benchmarks.interleaved import interleaved
from benchmarks.workloads import WORKLOADS
from metajax.lab import memory
from metajax.lab.cost import flops

_RESULT = Path("docs/results/speed.json")
_PAGE = Path("docs/performance.md")
_COMMAND = "python -m benchmarks.speed"
_SIZE = 2048


def main(only: Sequence[str]) -> None:
  memory.keep_freed_memory()  # as in the command lines
  unknown = sorted(set(only) - set(WORKLOADS))
  if unknown:
    raise SystemExit(f"no workload is called {', '.join(unknown)}; choose from {', '.join(WORKLOADS)}.")
  rows = json.loads(_RESULT.read_text(encoding="utf-8"))["rows"] if only and _RESULT.exists() else {}
  for name in only or WORKLOADS:
    rows[name] = measure(name)
    print(f"{name}: {rows[name]['tasks_per_second']:.4g} tasks/s, {rows[name]['gflops']:.3g} of "
          f"{rows[name]['peak_gflops']:.3g} GFLOP/s", flush=True)
    kept = {**tables.about(_COMMAND), "rows": {known: rows[known] for known in WORKLOADS if known in rows}}
    _RESULT.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
    write(kept)


def measure(name: str) -> dict[str, Any]:
  """Measures one workload."""
  built = ours.build(WORKLOADS[name])
  operations = flops(jax.make_jaxpr(built.advance)(built.state, built.episodes).jaxpr)
  start = time.perf_counter()
  compiled = built.advance.lower(built.state, built.episodes).compile()
  seconds = time.perf_counter() - start
  held = [built.state]

  def call():
    held[0], metrics = compiled(held[0], built.episodes)
    return metrics

  matrix = jax.random.normal(jax.random.key(0), (_SIZE, _SIZE))
  product = jax.jit(jnp.matmul)
  times = interleaved({"ours": call, "peak": lambda: product(matrix, matrix)}, windows=7, seconds=1.0)
  step = times["ours"].median / built.steps
  return {"tasks_per_second": WORKLOADS[name].tasks / step, "ms_a_step": 1e3 * step, "compile_seconds": seconds,
          "working_bytes": compiled.memory_analysis().temp_size_in_bytes,
          "gflops": operations / built.steps / step / 1e9, "peak_gflops": 2 * _SIZE**3 / times["peak"].median / 1e9,
          "range": [WORKLOADS[name].tasks * built.steps / pick(times["ours"].wall) for pick in (max, min)]}


def write(kept: dict[str, Any]) -> None:
  """Writes the page's table from the stored results."""
  lines = ["| workload | tasks/s (range) | ms per step | compile, s | working memory, MiB | GFLOP/s "
           "| share of a matrix product |",
           "| --- | --- | --- | --- | --- | --- | --- |"]
  for name, row in kept["rows"].items():
    low, high = row["range"]
    lines.append(f"| {name} | {row['tasks_per_second']:,.4g} ({low:,.4g} to {high:,.4g}) | {row['ms_a_step']:.3g} "
                 f"| {row['compile_seconds']:.1f} | {row['working_bytes'] / 2**20:.1f} | {row['gflops']:.1f} "
                 f"| {row['gflops'] / row['peak_gflops']:.0%} |")
  tables.insert(_PAGE, _COMMAND, [*lines, "", tables.machine(kept)])


if __name__ == "__main__":
  main(sys.argv[1:])
