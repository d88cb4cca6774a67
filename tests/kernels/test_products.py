"""Products of small matrices equal plain products, up to the third derivative, for each task."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metajax.kernels import products
from metajax.networks import mlp

TASKS, COUNT = 3, 4
SHAPES = [(5, 2), (1, 3), (3, 1)]  # of weights: one column, or one row, is a separate case


def numbers(shape):
  random = np.random.default_rng(0)
  inputs, outputs = shape
  draw = lambda *shape: jnp.asarray(random.normal(size=shape), jnp.float32)
  return draw(TASKS, COUNT, inputs), draw(TASKS, inputs, outputs), draw(TASKS, COUNT, outputs)


def loss(product, inputs, weights, factors):
  return jnp.sum(jnp.sin(product(inputs, weights)) * factors)


def derivatives(product, order, inputs, weights, factors):
  """Returns the gradients of one task's squared gradient of ... of its loss, with respect to inputs and weights."""
  slope = functools.partial(loss, product)
  for _ in range(order):
    slope = functools.partial(lambda below, *args: sum(jnp.sum(jnp.square(leaf)) for leaf in
                                                      jax.grad(below, argnums=(0, 1))(*args)), slope)
  return jax.grad(slope, argnums=(0, 1))(inputs, weights, factors)


@pytest.mark.parametrize("order", [0, 1, 2])
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "x".join(map(str, shape)))
def test_every_derivative_is_that_of_a_plain_product(shape, order):
  found, wanted = (jax.jit(jax.vmap(functools.partial(derivatives, product, order)))(*numbers(shape))
                   for product in (products.small, jnp.matmul))
  jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=2e-4, atol=1e-3), found, wanted)


def test_weights_that_tasks_share_get_the_gradients_of_all():
  inputs, weights, factors = numbers((5, 2))
  shared = lambda product: jax.grad(lambda weights: jnp.sum(jax.vmap(functools.partial(loss, product), (0, None, 0))(
      inputs, weights, factors)))(weights[0])
  np.testing.assert_allclose(shared(products.small), shared(jnp.matmul), rtol=1e-5, atol=1e-5)


def test_the_transpose_of_many_small_matrices_is_kept_apart_from_their_product():
  step = lambda product: jax.jit(jax.vmap(jax.grad(functools.partial(loss, product), argnums=1)))
  text = lambda product: step(product).lower(*numbers((5, 2))).as_text()
  assert "optimization_barrier" in text(products.small) and "optimization_barrier" not in text(jnp.matmul)


def test_no_barrier_is_there_for_another_platform():
  step = jax.jit(jax.vmap(jax.grad(functools.partial(loss, products.small), argnums=1)))
  lowered = step.trace(*numbers((5, 2))).lower(lowering_platforms=("tpu",)).as_text()
  assert "optimization_barrier" not in lowered and lowered.count("dot_general") == 2


def test_a_network_is_the_same_with_shared_and_per_task_weights():
  inputs, mask = numbers((5, 2))[0][0], jnp.ones(COUNT, bool)
  own, shared = (mlp((6,), 2, weights=weights) for weights in ("per_task", "shared"))
  params = own.init(jax.random.key(0), inputs)
  np.testing.assert_allclose(own.apply(params, inputs, mask), shared.apply(params, inputs, mask), rtol=1e-6)
