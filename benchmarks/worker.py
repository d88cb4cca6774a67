"""Runs one library on one workload in its own process, for as long as each request asks.

  python -m benchmarks.worker ours W1 2
Answers are lines of JSON. The first gives the loss and the gradient norm of the first step, and the seconds until the
worker was ready. Each line of input is a number of seconds to run; the answer has calls, wall and CPU seconds.
"""

import importlib
import json
import os
import sys
import time
from typing import Any

from benchmarks.peers import PEERS
from benchmarks.workloads import WORKLOADS, Program


def main(side: str, name: str, threads: int) -> None:
  # The libraries' output must not mix with the answers.
  answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
  os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

  def answer(**values: Any) -> None:
    answers.write(json.dumps(values) + "\n")

  start = time.perf_counter()
  try:
    program = _program(side, name, threads)
    loss = program.call()
    gradient_norm = program.gradient_norm()
    after_first = time.perf_counter()
    program.call()
  except Exception as error:  # any error of a library is reported as an answer
    answer(failed=f"{type(error).__name__}: {error}")
    return
  now = time.perf_counter()
  answer(loss=loss, gradient_norm=gradient_norm, ready_seconds=now - start, call_seconds=now - after_first,
         tasks_per_call=program.steps * WORKLOADS[name].tasks)
  for line in sys.stdin:
    answer(**_window(program, float(line)))


def _program(side: str, name: str, threads: int) -> Program:
  if side == "ours" or PEERS[side].jax:
    if hasattr(os, "sched_setaffinity"):  # XLA creates as many threads as there are available cores
      os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-threads:])
    module = importlib.import_module("benchmarks.ours" if side == "ours" else f"benchmarks.peers.{side}")
  else:
    module = importlib.import_module(f"benchmarks.peers.{side}")
    import torch
    torch.set_num_threads(threads)
  return module.program(WORKLOADS[name])


def _window(program: Program, seconds: float) -> dict[str, float]:
  calls, start, cpu = 0, time.perf_counter(), time.process_time()
  while not calls or time.perf_counter() - start < seconds:
    program.call()
    calls += 1
  return {"calls": calls, "wall": time.perf_counter() - start, "cpu": time.process_time() - cpu}


if __name__ == "__main__":
  main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
