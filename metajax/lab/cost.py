"""What a step costs before it is run: parameters, memory and arithmetic, of the traced and the compiled program."""

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
  """Of one dispatch on one device; bytes and floating-point operations."""
  parameters: int  # numbers that are trained
  state_bytes: int  # parameters and optimizer
  data_bytes: int  # arrays that tasks are made of, or examples read for them
  working_bytes: int  # what the compiled program needs besides, at its peak
  flops: int  # of matrix products and convolutions alone, a multiplication and an addition each counted
  limit_bytes: int | None  # what the device has, if it tells


def measure(step: Callable[..., Any], state: Any, data: PyTree, params: PyTree, compiled: Any, beside: int = 0) -> Cost:
  """Returns the cost of `step(state, data)`, traced, and of what it was compiled to.

  Args:
    step: the function that was compiled.
    state, data: its arguments, or their shapes.
    params: the part of the state that is trained.
    compiled: `jax.jit(step).lower(state, data).compile()`.
    beside: bytes of data that a device holds meanwhile, though the step does not take them.
  """
  closed = jax.make_jaxpr(step)(state, data)
  return Cost(sum(leaf.size for leaf in jax.tree.leaves(params)), size(state), size(data) + beside,
              compiled.memory_analysis().temp_size_in_bytes, flops(closed.jaxpr), _limit())


def flops(jaxpr: Any) -> int:
  """Returns the floating-point operations of the matrix products and convolutions of a traced program.

  A loop counts as often as it turns, which the compiler's own count leaves out; one whose turns are not known counts
  once, and of the branches of a condition the dearest counts.
  """
  return sum(_flops_of(equation) for equation in jaxpr.eqns)


def collectives(compiled: Any) -> dict[str, list[int]]:
  """Returns the bytes that each collective of a compiled program results in on one device, by kind.

  Kinds are XLA's: all-reduce, all-gather, reduce-scatter, collective-permute, all-to-all. One in a loop counts once.
  """
  found: dict[str, list[int]] = {}
  for result, kind in _COLLECTIVE.findall(compiled.as_text()):
    sizes = [math.prod(int(size) for size in shape.split(",") if size) * _bytes_of(dtype)
             for dtype, shape in _SHAPE.findall(result)]
    found.setdefault(kind, []).append(sum(sizes))
  return found


def size(tree: PyTree) -> int:
  """Returns the bytes of arrays, or of their shapes, on one device: where they are shared out, of its part."""
  return sum(math.prod(_on_device(leaf)) * np.dtype(leaf.dtype).itemsize for leaf in jax.tree.leaves(tree))


def words(count: int) -> str:
  """Returns a number of bytes to be read, such as 1.5 MiB."""
  powers = min(3, max(0, count.bit_length() - 1) // 10)
  return f"{count / 1024**powers:.3g} {('bytes', 'KiB', 'MiB', 'GiB')[powers]}"


def sentences(cost: Cost, steps: int, devices: int) -> list[str]:
  """Returns what to print of the cost of a dispatch of `steps` steps on so many devices."""
  limit = f" of {words(cost.limit_bytes)}" if cost.limit_bytes else ""
  needed = cost.state_bytes + cost.data_bytes + cost.working_bytes
  return [f"{cost.parameters:,} parameters are trained.",
          f"Each of {devices} device(s) needs about {words(needed)}{limit}: {words(cost.state_bytes)} of parameters "
          f"and optimizer, {words(cost.data_bytes)} of data, {words(cost.working_bytes)} to work in.",
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
  """Returns the programs within an equation: a loop's body, the branches of a condition, the function of a call."""
  found = []
  for value in equation.params.values():
    for part in value if isinstance(value, (tuple, list)) else [value]:
      part = getattr(part, "jaxpr", part)  # a closed one
      if hasattr(part, "eqns"):
        found.append(part)
  return found


def _on_device(leaf: Any) -> tuple[int, ...]:
  place = getattr(leaf, "sharding", None)
  return place.shard_shape(leaf.shape) if place else leaf.shape


def _bytes_of(dtype: str) -> int:
  bits = re.search("[0-9]+", dtype)
  return max(1, int(bits.group()) // 8) if bits else 1


def _limit() -> int | None:
  if jax.default_backend() == "cpu":  # which has no statistics, and among several processes fails to say so
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else None
  stats = jax.local_devices()[0].memory_stats()
  return stats["bytes_limit"] if stats and "bytes_limit" in stats else None
