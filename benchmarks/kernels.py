"""What each kernel gains on this platform: a whole step with the kernel against one with the plain operation.

  python -m benchmarks.kernels   about five minutes, run nothing else meanwhile; writes
                                 docs/results/kernels.json and the table in docs/decisions/kernels.md
"""

import contextlib
import json
from pathlib import Path
import sys
from typing import Any, Iterator

import jax

from benchmarks import ours, tables
from benchmarks.interleaved import interleaved, ratio
from benchmarks.workloads import WORKLOADS
from metajax.kernels import family
from metajax.lab import memory
import metajax.networks  # noqa: F401, its module is looked up by name

_RESULT, _PAGE = Path("docs/results/kernels.json"), Path("docs/decisions/kernels.md")
_COMMAND = "python -m benchmarks.kernels"
# The kernel, the function that replaces it, and the workload whose step is timed.
_CASES = (("products.small", "products", "W1"), ("products.small", "products", "W1b"),
          ("convolution.convolve", "products", "W2s"), ("examples_last.block", "blocks", "W3_1"),
          ("examples_last.block", "blocks", "W3b_1"))


def main() -> None:
  memory.keep_freed_memory()  # as in the command lines
  rows = [_row(*case) for case in _CASES]
  kept = {**tables.about(_COMMAND), "rows": rows}
  _RESULT.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
  lines = ["| kernel | workload | plain, ms per step | kernel, ms per step | gain |", "| --- | --- | --- | --- | --- |"]
  lines += [f"| `{row['kernel']}` | {row['workload']} | {row['plain_ms']:.3g} | {row['kernel_ms']:.3g} "
            f"| {row['gain']:.2f} |" for row in rows]
  tables.insert(_PAGE, _COMMAND, [*lines, "", tables.machine(kept)])


def _row(kernel: str, plain: str, workload: str) -> dict[str, Any]:
  with_kernel = ours.program(WORKLOADS[workload])
  with_kernel.call()  # compiled before the kernels are replaced
  with plain_forms(plain):
    jax.clear_caches()
    without = ours.program(WORKLOADS[workload])
    without.call()
  times = interleaved({"kernel": with_kernel.call, "plain": without.call}, windows=5)
  kernel_ms, plain_ms = (1e3 * times[name].median / with_kernel.steps for name in ("kernel", "plain"))
  return {"kernel": kernel, "workload": workload, "plain_ms": plain_ms, "kernel_ms": kernel_ms,
          "gain": ratio(times["plain"], times["kernel"])}


@contextlib.contextmanager
def plain_forms(which: str) -> Iterator[None]:
  """A context in which programs are compiled for CPU with plain products, or with blocks of separate operations."""
  conv4 = sys.modules["metajax.networks.conv4"]
  per_platform, cpu = conv4.per_platform, family.lowered(getattr)
  try:
    if which == "products":
      family.mlir.register_lowering(family.product_p, family.lowered(family.plain_form), platform="cpu")
    else:
      conv4.per_platform = lambda plain, *, cpu: plain
    yield
  finally:
    conv4.per_platform = per_platform
    family.mlir.register_lowering(family.product_p, cpu, platform="cpu")


if __name__ == "__main__":
  main()
