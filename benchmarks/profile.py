"""Where a meta-step spends its time, by operation of the compiled step.

For prototypical networks, the parts of the network are also timed one by one, next to the whole step.

  python -m benchmarks.profile        a few minutes, run nothing else meanwhile; writes docs/results/profile.json and
                                      the tables in docs/performance.md
A part is compiled by itself on activations of its size. Its backward pass computes only the gradients that the step
needs. The machine's limit is a float32 product of two 2048 x 2048 matrices, timed alternately with the parts.
"""

import functools
import json
from pathlib import Path
from typing import Any, Callable, NamedTuple

import jax
import jax.numpy as jnp

from benchmarks import ours, tables
from benchmarks.interleaved import interleaved
from benchmarks.operations import Operation, operations
from benchmarks.workloads import WORKLOADS, Workload
from metajax.kernels import examples_last
from metajax.lab import memory
from metajax.lab.cost import flops
from metajax.networks import normalisation
from metajax.types import Array

_RESULT = Path("docs/results/profile.json")
_PAGE = Path("docs/performance.md")
_COMMAND = "python -m benchmarks.profile"
_WORKLOADS = ("W1", "W2s_fo", "W2p", "W3_1", "W3b_1", "W4_std")
_SIZE = 2048
_LONGEST = 8  # operations listed in the table
_STEP, _PEAK = "the whole step", "peak"


class Part(NamedTuple):
  """A part of the network, as a function of its arguments."""
  function: Callable[..., Array]
  arguments: tuple[Array, ...]
  differentiated: tuple[int, ...]  # indices of the arguments whose gradients the step needs


def parts(workload: Workload) -> dict[str, Part]:
  """Returns the parts of a workload's network by name, from the images to the features."""
  key = jax.random.key(0)
  count, width = workload.tasks * workload.ways * workload.points, workload.width
  mask, scale, bias = jnp.ones(count, bool), jnp.ones(width), jnp.zeros(width)
  some = lambda *shape: jax.random.normal(key, shape)
  (height, wide, channels), found = workload.shape, {}
  for layer in range(workload.layers):
    x, kernel = some(channels, height, wide, count), some(3, 3, channels, width)
    size = f"{height}x{wide}, {channels} to {width} channels"
    found[f"convolution {layer + 1}, {size}"] = Part(examples_last.convolve, (x, kernel), (0, 1) if layer else (1,))
    after = lambda x, scale, bias: examples_last.pooled(x, mask, scale, bias, normalisation.EPSILON)
    x = some(width, height, wide, count)
    found[f"norm, pooling and ReLU {layer + 1}"] = Part(after, (x, scale, bias), (0, 1, 2))
    height, wide, channels = height // 2, wide // 2, width
  return found


def main() -> None:
  memory.keep_freed_memory()  # as in the command lines
  kept = {**tables.about(_COMMAND), "workloads": {name: profile(WORKLOADS[name]) for name in _WORKLOADS}}
  _RESULT.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
  write(kept)
  print(_PAGE.read_text(encoding="utf-8").split(f"table: {_COMMAND} ")[1].split("<!--")[0])


def profile(workload: Workload) -> dict[str, Any]:
  """Returns the time of a workload's step, in total and by operation, and by part for prototypical networks."""
  built = ours.build(workload)
  compiled = built.advance.lower(built.state, built.episodes).compile()
  held = [built.state]

  def step():
    held[0], metrics = compiled(held[0], built.episodes)
    return metrics

  pieces = parts(workload) if workload.learner == "protonet" else {}
  matrix = jax.random.normal(jax.random.key(0), (_SIZE, _SIZE))
  product = jax.jit(jnp.matmul)
  programs = {_STEP: step, _PEAK: lambda: product(matrix, matrix)}
  for name, part in pieces.items():
    programs[f"{name} forward"], programs[name] = _programs(part)
  times = interleaved(programs, windows=7, seconds=0.3)
  rows = {}
  for name, part in pieces.items():
    arithmetic = flops(jax.make_jaxpr(functools.partial(both, part))(*part.arguments).jaxpr)
    rows[name] = {"forward_ms": 1e3 * times[f"{name} forward"].median, "both_ms": 1e3 * times[name].median,
                  "gflops": arithmetic / times[name].median / 1e9}
  arithmetic = flops(jax.make_jaxpr(built.advance)(built.state, built.episodes).jaxpr)
  found = [operation._replace(milliseconds=operation.milliseconds / built.steps)
           for operation in operations(step, compiled.as_text())]
  return {"rows": rows, "step_ms": 1e3 * times[_STEP].median / built.steps,
          "step_gflops": arithmetic / times[_STEP].median / 1e9,
          "peak_gflops": 2 * _SIZE**3 / times[_PEAK].median / 1e9,
          "operations": [operation._asdict() for operation in found]}


def write(kept: dict[str, Any]) -> None:
  """Writes the page's tables from the stored results."""
  lines = [line for name, found in kept["workloads"].items() for line in [f"**{name}**", "", *_table(name, found), ""]]
  tables.insert(_PAGE, _COMMAND, [*lines, tables.machine(kept)])


def _table(name: str, found: dict[str, Any]) -> list[str]:
  peak = found["peak_gflops"]

  def rate(gflops: float) -> str:
    return f"{gflops:.0f} ({gflops / peak:.0%})" if gflops else ""

  lines = ["| part | forward, ms | forward and backward, ms | GFLOP/s (share of a matrix product) |",
           "| --- | --- | --- | --- |"]
  if rows := found["rows"].values():
    lines += [f"| {part} | {row['forward_ms']:.1f} | {row['both_ms']:.1f} | {rate(row['gflops'])} |"
              for part, row in found["rows"].items()]
    sums = [sum(row[field] for row in rows) for field in ("forward_ms", "both_ms")]
    convolved = sum(row["both_ms"] for row in rows if row["gflops"])
    lines.append(f"| all parts | {sums[0]:.1f} | {sums[1]:.1f}, convolutions {convolved:.1f} | |")
  lines.append(f"| the whole step of {name} | | {_ms(found['step_ms'])} | {rate(found['step_gflops'])} |")
  return [*lines, "", *_longest([Operation(**each) for each in found["operations"]])]


def _longest(found: list[Operation]) -> list[str]:
  lines = ["| operation of the compiled step | instructions | ms (sum over both cores) |", "| --- | --- | --- |"]
  lines += [f"| {operation.name}, {'backward' if operation.backward else 'forward'} | {operation.instructions} "
            f"| {_ms(operation.milliseconds)} |" for operation in found[:_LONGEST]]
  return [*lines, f"| {len(found[_LONGEST:])} others | | "
                  f"{_ms(sum(operation.milliseconds for operation in found[_LONGEST:]))} |"]


def _ms(milliseconds: float) -> str:
  return f"{milliseconds:.1f}" if milliseconds >= 1 else f"{milliseconds:.3f}"


def _programs(part: Part) -> tuple[Callable[[], Any], Callable[[], Any]]:
  """Returns a part's compiled forward pass and its compiled forward and backward pass."""
  forward, backward = jax.jit(part.function), jax.jit(functools.partial(both, part))
  return lambda: forward(*part.arguments), lambda: backward(*part.arguments)


def both(part: Part, *arguments: Array) -> tuple[Array, ...]:
  """Returns a part's output, and the gradients of its sum for the arguments that the step needs."""
  def of_some(*some):
    given = dict(zip(part.differentiated, some))
    return part.function(*(given.get(place, argument) for place, argument in enumerate(arguments)))

  outputs, pull = jax.vjp(of_some, *(arguments[place] for place in part.differentiated))
  return outputs, *pull(jnp.ones_like(outputs))


if __name__ == "__main__":
  main()
