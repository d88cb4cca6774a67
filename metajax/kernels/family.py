"""Bilinear products whose derivatives are products of the same family, with a form for each platform.

A product of inputs `[N, ...]` and weights is linear in both. Its derivatives of any order are therefore three products:
inputs by weights, outputs by weights, inputs by outputs. XLA:CPU is fast only with specialised forms of each
(`products`, `convolution`). Other platforms use the plain product and its transposes. The form is chosen when a program
is lowered, so a program that is compiled for a TPU on a CPU machine gets the TPU's form.

A product is a primitive because `vmap` maps a `jax.custom_vjp` rule over tasks unchanged: for weights shared by all
tasks it would compute one gradient per task and add them. Here the examples of all tasks form one batch, and the
gradient of shared weights is one product.
"""

import functools
from typing import Any, Callable, Protocol

from flax.linen.dtypes import promote_dtype
import jax
from jax import export, lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
import jax.numpy as jnp

from metajax.types import Array

PRODUCT = "product_of_a_family"  # the primitive's name in a traced program


class Family(Protocol):
  """A product and its three forms for CPU, which are each other's derivatives. Hashable, as a frozen dataclass is."""

  def plain(self, inputs: Array, weights: Array) -> Array:
    """Returns the outputs `[N, ...]` of inputs `[N, ...]`; the reference definition."""

  def outputs(self, inputs: Array, weights: Array) -> Array:
    """Returns the same, on CPU."""

  def inputs(self, outputs: Array, weights: Array) -> Array:
    """Returns the derivative along outputs `[N, ...]` with respect to the inputs, on CPU."""

  def weights(self, inputs: Array, outputs: Array) -> Array:
    """Returns the derivative along outputs `[N, ...]` with respect to the weights, a sum over the examples, on CPU."""


def product(family: Family, inputs: Array, weights: Array) -> Array:
  """Returns `family.plain(inputs, weights)`; its derivatives, of any order and mode, are the family's products.

  Two types are promoted as those of `inputs @ weights` would be. Under `jax.shard_map(check_vma=True)` an operand that
  devices share becomes varying where the other is, as for any operation of jax: its gradient is summed over them.
  """
  inputs, weights = _alike(*promote_dtype(inputs, weights, inexact=False))
  if any(export.is_symbolic_dim(size) for each in (inputs, weights) for size in each.shape):
    return family.plain(inputs, weights)  # `jax.export` for any number of examples: CPU forms need to know it
  return _bind(family, "outputs", 0, inputs, weights)


def traced(a: Any, b: Any, **params: Any) -> Any:
  """Returns the plain function equivalent to an equation of `PRODUCT`, from its operands' shapes and its parameters."""
  shapes = (jax.ShapeDtypeStruct(each.shape, each.dtype) for each in (a, b))
  return jax.make_jaxpr(_mapped(plain_form, **params))(*shapes)


def _bind(family: Family, which: str, levels: int, a: Array, b: Array) -> Array:
  return product_p.bind(a, b, family=family, which=which, levels=levels)


def _alike(*operands: Array) -> tuple[Array, ...]:
  """Returns the operands, each made varying over all device axes over which any of them varies."""
  over = [_varying(jax.typeof(operand)) for operand in operands]
  every = frozenset().union(*over)
  return tuple(lax.pcast(operand, tuple(sorted(every - own)), to="varying") if every - own else operand
               for operand, own in zip(operands, over))


def _varying(aval: Any) -> frozenset:
  """Returns the device axes over which an array varies; their name depends on the release of jax."""
  return aval.mat.varying if hasattr(aval, "mat") else getattr(aval, "vma", frozenset())


def plain_form(family: Family, which: str) -> Callable[[Array, Array], Array]:
  """Returns one of the three products as the plain product or a transpose of it."""
  if which == "outputs":
    return family.plain
  if which == "inputs":
    def to_inputs(outputs, weights):
      shape = jax.eval_shape(family.inputs, outputs, weights)
      return jax.linear_transpose(lambda inputs: family.plain(inputs, weights), shape)(outputs)[0]
    return to_inputs

  def to_weights(inputs, outputs):
    shape = jax.eval_shape(family.weights, inputs, outputs)
    return jax.linear_transpose(lambda weights: family.plain(inputs, weights), shape)(outputs)[0]

  return to_weights


def _mapped(form: Callable, family: Family, which: str, levels: int) -> Callable[[Array, Array], Array]:
  """Returns a product of operands with leading task axes; `form` is `plain_form` or, for CPU, `getattr`."""
  function = form(family, which)
  for _ in range(levels):
    function = jax.vmap(function)
  return function


def lowered(form: Callable) -> Callable:
  """Returns the lowering rule of a product in a form: `plain_form` or, for CPU, `getattr`."""
  return mlir.lower_fun(lambda a, b, **params: _mapped(form, **params)(a, b), multiple_results=False)


product_p = Primitive(PRODUCT)
mlir.register_lowering(product_p, lowered(getattr), platform="cpu")
mlir.register_lowering(product_p, lowered(plain_form))


@functools.partial(jax.jit, static_argnames=("family", "which", "levels"))
def _compiled(a, b, **params):
  return product_p.bind(a, b, **params)


@product_p.def_impl
def _outside_of_a_program(a, b, **params):
  # Jitted, so that all products of a kind share one program, except under jax.disable_jit.
  compiled = not jax.config.jax_disable_jit  # type: ignore[attr-defined]
  return _compiled(a, b, **params) if compiled else _mapped(plain_form, **params)(a, b)


@product_p.def_abstract_eval
def _shape(a, b, **params):
  result = jax.eval_shape(_mapped(getattr, **params), *(jax.ShapeDtypeStruct(x.shape, x.dtype) for x in (a, b)))
  return a.update(shape=result.shape, dtype=result.dtype, weak_type=False)


def _to_first(c, a, b, family, which, levels):
  """Returns the transpose of a product with respect to its first operand, of the cotangent and the second."""
  del a  # the operand to differentiate
  if which == "weights":
    return _bind(family, "inputs", levels, b, c)
  return _bind(family, "inputs" if which == "outputs" else "outputs", levels, c, b)


def _to_second(c, a, b, family, which, levels):
  """Returns the transpose of a product with respect to its second operand, of the cotangent and the first."""
  del b
  if which == "weights":
    return _bind(family, "outputs", levels, a, c)
  return _bind(family, "weights", levels, *((a, c) if which == "outputs" else (c, a)))


ad.defbilinear(product_p, _to_first, _to_second)


def _over_tasks(operands, axes, *, family, which, levels):
  """Maps a product over one more axis of tasks."""
  (a, b), (axis_a, axis_b) = operands, axes
  if which != "weights" and axis_b is None:  # shared weights: the examples of all tasks form one batch
    a = jnp.moveaxis(a, axis_a, levels)
    leading, batch = a.shape[:levels], a.shape[levels:levels + 2]
    result = _bind(family, which, levels, a.reshape(*leading, -1, *a.shape[levels + 2:]), b)
    return result.reshape(*leading, *batch, *result.shape[levels + 1:]), levels
  size = b.shape[axis_b] if axis_a is None else a.shape[axis_a]
  first = lambda x, axis: jnp.broadcast_to(x[None], (size, *x.shape)) if axis is None else jnp.moveaxis(x, axis, 0)
  return _bind(family, which, levels + 1, first(a, axis_a), first(b, axis_b)), 0


batching.primitive_batchers[product_p] = _over_tasks
