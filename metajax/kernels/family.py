"""Products whose derivatives are products of one family, and which know the weights that tasks share from their own.

A product of inputs `[N, ...]` and weights is linear in both, so that its derivatives, and theirs, are three products:
inputs by weights, outputs by weights, inputs by outputs. Each can be written as suits a machine (`products`,
`gathered`); jax would derive the other two from the first, and `jax.custom_vjp` can tell it of them, but maps a rule
over tasks as it stands: for weights that all tasks share it would make a gradient for each task and add them up. As a
primitive the tasks' examples are one batch, and the gradient of what they share is one product.
"""

import functools
from typing import Any, Callable, Protocol

from flax.linen.dtypes import promote_dtype
import jax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
import jax.numpy as jnp

from metajax.types import Array

PRODUCT = "product_of_a_family"  # the primitive's name in a traced program


class Family(Protocol):
  """Three products that are one another's derivatives; equal and hashed by what they are, as a frozen dataclass is."""

  def outputs(self, inputs: Array, weights: Array) -> Array:
    """Returns the outputs `[N, ...]` of inputs `[N, ...]`."""

  def inputs(self, outputs: Array, weights: Array) -> Array:
    """Returns the derivative along outputs `[N, ...]` with respect to the inputs."""

  def weights(self, inputs: Array, outputs: Array) -> Array:
    """Returns the derivative along outputs `[N, ...]` with respect to the weights, a sum over the examples."""


def product(family: Family, inputs: Array, weights: Array) -> Array:
  """Returns `family.outputs(inputs, weights)`; its derivatives, of any order and mode, are the family's products.

  Two types are promoted as those of `inputs @ weights` would be.

  Raises:
    ValueError: under `jax.shard_map(check_vma=True)` with weights that devices share: mark them as varying first, or
      leave the check off (`metajax.training.sharding`).
  """
  inputs, weights = promote_dtype(inputs, weights, inexact=False)
  types = jax.typeof(inputs), jax.typeof(weights)
  if _varying(types[0]) != _varying(types[1]):
    # jax sums a gradient over the devices that vary; of a primitive that is not its own it does not know to.
    raise ValueError("under shard_map(check_vma=True) both operands must vary over the same axes, but they vary over "
                     f"{set(_varying(types[0]))} and {set(_varying(types[1]))}; mark the weights with "
                     "lax.pcast(..., to='varying'), or pass check_vma=False.")
  return _bind(family, "outputs", 0, inputs, weights)


def traced(a: Any, b: Any, **params: Any) -> Any:
  """Returns the program that an equation of `PRODUCT` stands for, of its operands' shapes and its parameters."""
  shapes = (jax.ShapeDtypeStruct(each.shape, each.dtype) for each in (a, b))
  return jax.make_jaxpr(_mapped(**params))(*shapes)


def _bind(family: Family, which: str, levels: int, a: Array, b: Array) -> Array:
  return _product.bind(a, b, family=family, which=which, levels=levels)


def _varying(aval: Any) -> frozenset:
  """Returns the axes of devices over which an array varies; releases of jax name them differently."""
  return aval.mat.varying if hasattr(aval, "mat") else getattr(aval, "vma", frozenset())


def _mapped(family: Family, which: str, levels: int) -> Callable[[Array, Array], Array]:
  """Returns a product of operands with so many leading axes of tasks."""
  function = getattr(family, which)
  for _ in range(levels):
    function = jax.vmap(function)
  return function


@functools.partial(jax.jit, static_argnames=("family", "which", "levels"))
def _compiled(a, b, **params):
  return _mapped(**params)(a, b)


_product = Primitive(PRODUCT)
_product.def_impl(_compiled)  # outside of any program: one for all products of a kind
mlir.register_lowering(_product, mlir.lower_fun(
    lambda a, b, **params: _mapped(**params)(a, b), multiple_results=False))


@_product.def_abstract_eval
def _shape(a, b, **params):
  result, = traced(a, b, **params).out_avals
  return a.update(shape=result.shape, dtype=result.dtype, weak_type=False)


def _to_first(c, a, b, family, which, levels):
  """Returns the transpose of a product with respect to its first operand, of the cotangent and the second."""
  del a  # it is what is asked for
  if which == "weights":
    return _bind(family, "inputs", levels, b, c)
  return _bind(family, "inputs" if which == "outputs" else "outputs", levels, c, b)


def _to_second(c, a, b, family, which, levels):
  """Returns the transpose of a product with respect to its second operand, of the cotangent and the first."""
  del b
  if which == "weights":
    return _bind(family, "outputs", levels, a, c)
  return _bind(family, "weights", levels, *((a, c) if which == "outputs" else (c, a)))


ad.defbilinear(_product, _to_first, _to_second)


def _over_tasks(operands, axes, *, family, which, levels):
  """Maps a product over one more axis of tasks."""
  (a, b), (axis_a, axis_b) = operands, axes
  if which != "weights" and axis_b is None:  # weights that are shared: the examples of all tasks are one batch
    a = jnp.moveaxis(a, axis_a, levels)
    leading, batch = a.shape[:levels], a.shape[levels:levels + 2]
    result = _bind(family, which, levels, a.reshape(*leading, -1, *a.shape[levels + 2:]), b)
    return result.reshape(*leading, *batch, *result.shape[levels + 1:]), levels
  size = b.shape[axis_b] if axis_a is None else a.shape[axis_a]
  first = lambda x, axis: jnp.broadcast_to(x[None], (size, *x.shape)) if axis is None else jnp.moveaxis(x, axis, 0)
  return _bind(family, which, levels + 1, first(a, axis_a), first(b, axis_b)), 0


batching.primitive_batchers[_product] = _over_tasks
