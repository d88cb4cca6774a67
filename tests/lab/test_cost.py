"""FLOPs against counts by hand, and memory against the sizes of the arrays."""

import jax
from jax import lax
import jax.numpy as jnp
import pytest

from metajax.lab import cost


def count(function, *shapes):
  return cost.flops(jax.make_jaxpr(function)(*(jnp.zeros(shape) for shape in shapes)).jaxpr)


def test_products_are_counted():
  assert count(jnp.matmul, (3, 4), (4, 5)) == 2 * 3 * 4 * 5
  assert count(jax.vmap(jnp.matmul), (7, 3, 4), (7, 4, 5)) == 7 * 2 * 3 * 4 * 5
  assert count(jax.grad(lambda a, b: jnp.sum(a @ b), argnums=(0, 1)), (3, 4), (4, 5)) in (2 * 120, 3 * 120)


@pytest.mark.parametrize("stride", [1, 2])
def test_convolutions_are_counted(stride):
  convolve = lambda images, kernel: lax.conv_general_dilated(
      images, kernel, (stride, stride), ((1, 1), (1, 1)), dimension_numbers=("NHWC", "HWIO", "NHWC"))
  side = 8 // stride
  assert count(convolve, (2, 8, 8, 3), (3, 3, 3, 5)) == 2 * (2 * side * side * 5) * (3 * 3 * 3)


def test_loops_count_once_per_iteration():
  square = lambda x: lax.scan(lambda x, _: (x @ x, None), x, length=6)[0]
  assert count(square, (4, 4)) == 6 * 2 * 4**3
  assert count(lambda xs: lax.map(jax.checkpoint(lambda x: x @ x), xs), (5, 4, 4)) == 5 * 2 * 4**3
  assert count(jax.jit(jax.jit(square)), (4, 4)) == 6 * 2 * 4**3


def test_the_most_expensive_branch_counts():
  either = lambda x: lax.cond(x[0, 0] > 0, lambda x: x @ x @ x, lambda x: x @ x, x)
  assert count(either, (4, 4)) == 2 * 2 * 4**3


def test_costs_are_measured_and_reported():
  state = {"params": jnp.zeros((100, 10)), "moments": jnp.zeros((100, 10), jnp.bfloat16)}
  data = jnp.zeros((50, 100), jnp.uint8)

  def step(state, data):
    return {**state, "params": state["params"] + data.T.astype(jnp.float32) @ (data.astype(jnp.float32)
                                                                               @ state["params"])}

  compiled = jax.jit(step).lower(state, data).compile()
  found = cost.measure(step, state, data, state["params"], compiled)
  assert (found.parameters, found.state_bytes, found.data_bytes) == (1000, 6000, 5000)
  assert found.flops == 2 * (2 * 50 * 100 * 10)
  assert found.working_bytes > 0 and found.limit_bytes > 2**20
  said = " ".join(cost.sentences(found._replace(working_bytes=3 * 2**20), 4, 8))
  assert "1,000 parameters" in said and "8 device(s)" in said and "3 MiB of working memory" in said and "5e+04" in said
  assert " of 2 GiB:" in cost.sentences(found._replace(limit_bytes=2**31), 1, 1)[1]
  assert "about 10.7 KiB: " in cost.sentences(found._replace(limit_bytes=None, working_bytes=0), 1, 1)[1]
