"""The cost of a step before it is run: parameters, memory and FLOPs, from the traced and the compiled program."""

import math
import os
import re
from typing import Any, Callable, NamedTuple

import jax
import numpy as np

from metajax.kernels.family import PRODUCT, traced
from metajax.types import PyTree

_COLLECTIVE = re.compile(r"= (\(?[a-z].*?) (all-reduce|all-gather|reduce-scatter|collective-permute|all-to-all)"
                         r"(?:-start)?\(")
_SHAPE = re.compile(r"([a-z]+[0-9]*)\[([0-9,]*)\]")  # such as f32[64,5]


class Cost(NamedTuple):
  """The cost of one dispatch on one device, in bytes and floating-point operations."""
  parameters: int  # the number of trained parameters
  state_bytes: int  # parameters and optimizer state
  data_bytes: int  # arrays that tasks are sampled from, or prefetched examples
  working_bytes: int  # peak temporary memory of the compiled program
  flops: int  # of matrix products and convolutions only; a multiply-add counts as two
  limit_bytes: int | None  # the memory of the device, if known


def measure(step: Callable[..., Any], state: Any, data: PyTree, params: PyTree, compiled: Any, beside: int = 0) -> Cost:
  """Returns the cost of `step(state, data)`, from its trace and its compiled program.

  Args:
    step: the function that was compiled.
    state, data: its arguments, or their shapes.
    params: the trained part of the state.
    compiled: `jax.jit(step).lower(state, data).compile()`.
    beside: bytes of other data on the device that are not arguments of the step.
  """
  closed = jax.make_jaxpr(step)(state, data)
  return Cost(sum(leaf.size for leaf in jax.tree.leaves(params)), size(state), size(data) + beside,
              compiled.memory_analysis().temp_size_in_bytes, flops(closed.jaxpr), _limit())


def flops(jaxpr: Any) -> int:
  """Returns the floating-point operations of the matrix products and convolutions of a traced program.

  The body of a loop counts once per iteration, unlike in the compiler's own count, or once if the number of iterations
  is unknown. Of the branches of a conditional, the most expensive one counts.
  """
  return sum(_flops_of(equation) for equation in jaxpr.eqns)


def collectives(compiled: Any) -> dict[str, list[int]]:
  """Returns the bytes that each collective of a compiled program produces on one device, by kind.

  Kinds are those of XLA: all-reduce, all-gather, reduce-scatter, collective-permute, all-to-all. A collective in a loop
  counts once.
  """
  found: dict[str, list[int]] = {}
  for result, kind in _COLLECTIVE.findall(compiled.as_text()):
    sizes = [math.prod(int(size) for size in shape.split(",") if size) * _bytes_of(dtype)
             for dtype, shape in _SHAPE.findall(result)]
    found.setdefault(kind, []).append(sum(sizes))
  return found


def size(tree: PyTree) -> int:
  """Returns the bytes of arrays, or of their shapes, on one device; of sharded arrays, only the shard counts."""
  return sum(math.prod(_on_device(leaf)) * np.dtype(leaf.dtype).itemsize for leaf in jax.tree.leaves(tree))


def words(count: int) -> str:
  """Returns a number of bytes in readable form, such as 1.5 MiB."""
  powers = min(3, max(0, count.bit_length() - 1) // 10)
  return f"{count / 1024**powers:.3g} {('bytes', 'KiB', 'MiB', 'GiB')[powers]}"


def sentences(cost: Cost, steps: int, devices: int) -> list[str]:
  """Returns sentences that describe the cost of a dispatch of `steps` steps on `devices` devices."""
  limit = f" of {words(cost.limit_bytes)}" if cost.limit_bytes else ""
  needed = cost.state_bytes + cost.data_bytes + cost.working_bytes
  return [f"{cost.parameters:,} parameters are trained.",
          f"Each of {devices} device(s) needs about {words(needed)}{limit}: {words(cost.state_bytes)} of parameters "
          f"and optimizer, {words(cost.data_bytes)} of data, {words(cost.working_bytes)} of working memory.",
          f"A step takes {cost.flops / steps:.3g} floating-point operations on each device (matrix products and "
          "convolutions)."]


def _flops_of(equation: Any) -> int:
  name = equation.primitive.name
  if name == "dot_general":
    (contracted, _), _ = equation.params["dimension_numbers"]
    inner = math.prod(equation.invars[0].aval.shape[axis] for axis in contracted)
    return 2 * inner * math.prod(equation.outvars[0].aval.shape)
  if name == "conv_general_dilated":
    kernel = equation.invars[1].aval.shape
    outputs = kernel[equation.params["dimension_numbers"].rhs_spec[0]]
    return 2 * math.prod(equation.outvars[0].aval.shape) * math.prod(kernel) // outputs
  if name == PRODUCT:
    return flops(traced(*(operand.aval for operand in equation.invars), **equation.params).jaxpr)
  inner = [flops(part) for part in _parts(equation)]
  if name == "cond":
    return max(inner)
  return sum(inner) * (equation.params["length"] if name == "scan" else 1)


def _parts(equation: Any) -> list[Any]:
  """Returns the sub-programs of an equation: a loop's body, the branches of a conditional, the function of a call."""
  found = []
  for value in equation.params.values():
    for part in value if isinstance(value, (tuple, list)) else [value]:
      part = getattr(part, "jaxpr", part)  # unwraps a closed jaxpr
      if hasattr(part, "eqns"):
        found.append(part)
  return found


def _on_device(leaf: Any) -> tuple[int, ...]:
  sharding = getattr(leaf, "sharding", None)
  return sharding.shard_shape(leaf.shape) if sharding else leaf.shape


def _bytes_of(dtype: str) -> int:
  bits = re.search("[0-9]+", dtype)
  return max(1, int(bits.group()) // 8) if bits else 1


def _limit() -> int | None:
  if jax.default_backend() == "cpu":  # no statistics; with several processes, asking for them raises
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else None
  stats = jax.local_devices()[0].memory_stats()
  return stats["bytes_limit"] if stats and "bytes_limit" in stats else None
