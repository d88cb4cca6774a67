"""The parent's end of benchmarks/worker.py: a started worker and its answers."""

import json
import os
import select
import subprocess
import sys
import tempfile
from typing import Any


class Side:
  """A started worker; a context manager that ends it."""

  def __init__(self, side: str, workload: str, threads: int):
    self.name = side if side == "ours" else f"{side}, {threads} thread{'s' if threads > 1 else ''}"
    number = str(threads)
    # Waiting threads must not spin: they would slow the library that is being timed.
    quiet = {"OMP_WAIT_POLICY": "passive", "KMP_BLOCKTIME": "0"}
    # The allocator settings of our command lines (metajax.lab.memory), for every library alike.
    quiet |= {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**62), "MALLOC_ARENA_MAX": "1"}
    limits = {} if side == "ours" else {"OMP_NUM_THREADS": number, "MKL_NUM_THREADS": number}
    self._errors = tempfile.TemporaryFile("w+")
    self._process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.worker", side, workload, number], stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=self._errors, env={**quiet, **os.environ, **limits})

  def __enter__(self):
    return self

  def __exit__(self, *raised):
    self._process.kill()
    self._process.wait()
    for file in (self._process.stdin, self._process.stdout, self._errors):
      file.close()

  def answer(self, limit: float) -> dict[str, Any]:
    """Returns the next answer, or `{"failed": why}` if there is none within `limit` seconds."""
    if not select.select([self._process.stdout], [], [], limit)[0]:
      return {"failed": f"not ready within {limit:g} s"}
    line = self._process.stdout.readline()
    if line:
      return json.loads(line)
    self._errors.seek(0)
    said = [line.strip() for line in self._errors if line.strip()]
    return {"failed": f"ended: {said[-1] if said else 'without output'}"}

  def run(self, seconds: float, limit: float) -> dict[str, Any]:
    """Returns the calls, wall and CPU seconds of a window of about `seconds` seconds."""
    self._process.stdin.write(f"{seconds}\n".encode())
    self._process.stdin.flush()
    return self.answer(limit)
