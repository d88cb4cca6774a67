"""Products of a family equal plain products under every transformation, with one product if tasks share weights."""

import dataclasses
import functools
import itertools

import chex
import jax
from jax import lax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec
import numpy as np
import pytest

from metajax.kernels import family, products
from metajax.kernels.convolution import convolve
from metajax.lab.cost import flops

TASKS, PARTS, COUNT = 3, 2, 4


def plain_convolution(images, kernel, stride):
  return lax.conv_general_dilated(images, kernel, (stride, stride), ((1, 1), (1, 1)),
                                  dimension_numbers=("NHWC", "HWIO", "NHWC"))


# A product of the family, its plain form in jax, and the shapes of one task's inputs and weights. The first multiplies
# few examples, and those of all tasks, differently from many.
FORMS = {"matrices": (products.small, jnp.matmul, (COUNT, 5), (5, 2)),
         "many": (products.small, jnp.matmul, (60, 5), (5, 2)),
         "images": (functools.partial(convolve, stride=2), functools.partial(plain_convolution, stride=2),
                    (COUNT, 3, 4, 5), (3, 3, 5, 2))}
# Outer and inner axis of inputs, outer and inner axis of weights; unmapped arrays are shared by tasks or parts.
AXES = [axes for axes in itertools.product([None, 0, 1], [None, 0], [None, 1], [None, 0]) if any(
    axis is not None for axis in axes)]
each_form = pytest.mark.parametrize("form", FORMS)


def draw(shape, seed=0):
  return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def loss(product, inputs, weights):
  return jnp.sum(jnp.sin(product(inputs, weights)))


def close(found, wanted):
  jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=2e-4, atol=2e-4), found, wanted)


def adapted(product, inputs, weights):
  """One step of MAML: a gradient of a gradient."""
  return loss(product, inputs, weights - 0.1 * jax.grad(loss, argnums=2)(product, inputs, weights))


@each_form
@pytest.mark.parametrize("axes", AXES, ids=lambda axes: "-".join(map(str, axes)))
def test_mapped_twice_over_either_operand_value_and_meta_gradient_are_those_of_a_plain_product(form, axes):
  outer_inputs, inner_inputs, outer_weights, inner_weights = axes
  product, plain, of_inputs, of_weights = FORMS[form]

  def operand(shape, outer, inner, seed):
    shape = shape if inner is None else (PARTS, *shape)
    return draw(shape if outer is None else (*shape[:outer], TASKS, *shape[outer:]), seed)

  def over(axes, function):
    return function if axes == (None, None) else jax.vmap(function, in_axes=axes)

  def total(product, inputs, weights):
    parts = over((inner_inputs, inner_weights), functools.partial(adapted, product))
    return jnp.sum(over((outer_inputs, outer_weights), parts)(inputs, weights))

  operands = operand(of_inputs, outer_inputs, inner_inputs, 0), operand(of_weights, outer_weights, inner_weights, 1)
  found, wanted = (jax.jit(jax.value_and_grad(functools.partial(total, each), argnums=(0, 1)))(*operands)
                   for each in (product, plain))
  close(found, wanted)


@each_form
def test_derivatives_of_both_modes_and_of_each_along_the_other(form):
  product, plain, *shapes = FORMS[form]
  operands = tuple(draw(shape, seed) for seed, shape in enumerate(shapes))
  along = tuple(draw(shape, seed + 2) for seed, shape in enumerate(shapes))

  def derivatives(product):
    slope = jax.grad(functools.partial(loss, product), argnums=(0, 1))
    forward = lambda *args: jax.jvp(functools.partial(loss, product), args, along)[1]
    return forward(*operands), jax.grad(forward, argnums=(0, 1))(*operands), jax.jvp(slope, operands, along)

  close(*(jax.jit(functools.partial(derivatives, each))() for each in (product, plain)))


def products_of(jaxpr):
  """Yields the shapes of the results of a family's products in a traced program."""
  for equation in jaxpr.eqns:
    if equation.primitive.name == family.PRODUCT:
      yield equation.params["which"], equation.outvars[0].aval.shape
    for part in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda leaf: hasattr(leaf, "jaxpr")):
      if hasattr(part, "jaxpr"):
        yield from products_of(part.jaxpr)


@each_form
def test_the_gradient_of_weights_that_tasks_share_is_one_product(form):
  product, _, of_inputs, of_weights = FORMS[form]
  inputs, weights = draw((TASKS, PARTS, *of_inputs)), draw(of_weights)

  def mean(weights):
    of_parts = jax.vmap(functools.partial(loss, product), in_axes=(0, None))
    return jnp.mean(jax.vmap(of_parts, in_axes=(0, None))(inputs, weights))

  found = dict(products_of(jax.make_jaxpr(jax.grad(mean))(weights).jaxpr))
  assert found["weights"] == of_weights  # and not one per task, to be summed
  assert found["outputs"][0] == TASKS * PARTS * of_inputs[0]


@pytest.mark.parametrize("count, turned", [(COUNT, True), (200, False)])
def test_only_a_few_examples_of_a_task_are_transposed_separately(count, turned):
  gradient = jax.grad(functools.partial(loss, products.small), argnums=1)
  text = jax.jit(gradient).lower(draw((count, 5)), draw((5, 2))).as_text()
  assert ("optimization_barrier" in text) == turned


def test_operations_are_counted_as_those_of_a_plain_product():
  inputs, weights = draw((TASKS, COUNT, 5)), draw((TASKS, 5, 2))
  count = lambda product: flops(jax.make_jaxpr(jax.vmap(jax.grad(functools.partial(loss, product), argnums=(0, 1))))(
      inputs, weights).jaxpr)
  assert count(products.small) == count(jnp.matmul) == 3 * 2 * TASKS * COUNT * 5 * 2


def test_outside_of_a_program_a_product_is_compiled_once():
  traced = []

  @dataclasses.dataclass(frozen=True)
  class Counted:
    scale: int

    def outputs(self, inputs, weights):
      traced.append(self.scale)
      return self.scale * (inputs @ weights)

    plain = outputs

  for scale in (2, 2, 3):
    close(family.product(Counted(scale), draw((4, 5)), draw((5, 2))), scale * (draw((4, 5)) @ draw((5, 2))))
  assert traced == [2, 2, 3, 3]  # for the shape, and for compilation


def test_two_types_are_promoted_as_those_of_a_matrix_product(x64):
  inputs, weights = draw((4, 5)).astype(np.float32), jnp.asarray(draw((5, 2)), jnp.float64)

  def found(multiply):
    return jax.value_and_grad(lambda *both: jnp.sum(jnp.sin(multiply(*both))), argnums=(0, 1))(inputs, weights)

  with jax.numpy_dtype_promotion("standard"):
    got, want = found(products.small), found(jnp.matmul)
  chex.assert_trees_all_equal_dtypes(got, want)
  chex.assert_trees_all_close(got, want, rtol=1e-6)
  with pytest.raises(ValueError, match="no available implicit dtype promotion path"):  # strict, as in all tests
    products.small(inputs, weights)


@pytest.mark.parametrize("shared", ["weights", "inputs"])
def test_shared_operands_have_summed_gradients_under_check_vma(shared):
  mesh, spec = Mesh(np.array(jax.devices()[:2]), ("devices",)), PartitionSpec("devices")
  inputs, weights = draw((2, COUNT, 5)), draw((2, 5, 2), 1)
  specs = (spec, PartitionSpec()) if shared == "weights" else (PartitionSpec(), spec)
  given = (inputs, weights[0]) if shared == "weights" else (inputs[0], weights)

  def gradient(product, inputs, weights):
    own = (inputs[0], weights) if shared == "weights" else (inputs, weights[0])
    return jax.grad(functools.partial(loss, product), argnums=1 if shared == "weights" else 0)(*own)

  found, wanted = (jax.jit(jax.shard_map(functools.partial(gradient, product), mesh=mesh, in_specs=specs,
                                         out_specs=PartitionSpec(), check_vma=True))(*given)
                   for product in (products.small, jnp.matmul))
  close(found, wanted)


@each_form
@pytest.mark.parametrize("which", ["outputs", "inputs", "weights"])
def test_each_form_for_cpu_is_the_plain_product_or_its_transpose(form, which):
  product, _, of_inputs, of_weights = FORMS[form]
  operands = {"inputs": draw(of_inputs), "weights": draw(of_weights, 1)}
  operands["outputs"] = draw(jax.eval_shape(product, *operands.values()).shape, 2)
  taken = [operands[name] for name in ("outputs", "inputs", "weights") if name != which]
  if which == "weights":
    taken = [operands["inputs"], operands["outputs"]]
  family_of = jax.make_jaxpr(product)(draw(of_inputs), draw(of_weights)).jaxpr.eqns[0].params["family"]
  close(getattr(family_of, which)(*taken), family.plain_form(family_of, which)(*taken))
