"""Waiting changes neither values nor gradients: it equals its plain twin, which returns the second argument."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metajax.kernels.one_after_another import one_after_another


def trees(bad=0.0):
  random = np.random.default_rng(0)
  draw = lambda *shape: jnp.asarray(random.normal(size=shape), jnp.float32)
  return {"a": draw(3) + bad, "n": jnp.arange(2)}, {"b": draw(2, 2), "mask": jnp.ones(2, bool)}


@pytest.mark.parametrize("bad", (0.0, jnp.nan, jnp.inf))
def test_the_second_is_unchanged(bad):
  first, then = trees(bad)
  jax.tree.map(np.testing.assert_array_equal, jax.jit(one_after_another)(first, then), then)


def test_gradients_are_those_of_the_plain_twin():
  first, then = trees()

  def loss(wait, a, b):
    after = wait({**first, "a": jnp.sin(a)}, {**then, "b": b * b})
    return jnp.sum(jnp.cos(after["b"])) + jnp.sum(jnp.square(a))

  plain = lambda first, then: then
  both = [jax.jit(jax.grad(lambda a, b, wait=wait: loss(wait, a, b), (0, 1)))(first["a"], then["b"])
          for wait in (one_after_another, plain)]
  jax.tree.map(np.testing.assert_array_equal, *both)


def test_the_second_depends_on_the_first_on_cpu():
  first, then = trees()
  program = jax.jit(lambda a: one_after_another({**first, "a": a}, then)["b"]).lower(first["a"]).compile().as_text()
  assert "parameter(0)" in program and "multiply" in program  # the compiler did not fold the wait away
