"""Every network against every law: initialisation, jit, padding, independence, dtypes, the meta-gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.helpers import compiled_quickly
from tests.networks.table import NETWORKS

pytestmark = pytest.mark.parametrize("name", NETWORKS)


def inputs_of(name, number=5, seed=0, dtype=jnp.float32):
  return jnp.asarray(np.random.default_rng(seed).normal(size=(number, *NETWORKS[name][1])), dtype)


def test_init_depends_on_the_key_and_outputs_are_alive(name):
  network, _ = NETWORKS[name]
  inputs, mask = inputs_of(name), jnp.ones(5, bool)
  params, other = (jax.jit(network.init)(jax.random.key(seed), inputs) for seed in (0, 1))
  assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, other)
  assert any((a != b).any() for a, b in zip(jax.tree.leaves(params), jax.tree.leaves(other)))
  assert float(jnp.std(jax.jit(network.apply)(params, inputs, mask))) > 1e-2


def test_jit_is_eager(name):
  network, _ = NETWORKS[name]
  inputs, mask = inputs_of(name), jnp.asarray([True, True, False, True, True])
  params = jax.jit(network.init)(jax.random.key(0), inputs)
  with jax.disable_jit(), compiled_quickly():
    eager = network.apply(params, inputs, mask)
  np.testing.assert_allclose(jax.jit(network.apply)(params, inputs, mask), eager, rtol=1e-4, atol=1e-5)


def test_an_output_depends_on_other_inputs_unless_the_network_is_independent(name):
  network, _ = NETWORKS[name]
  inputs, mask = inputs_of(name), jnp.ones(5, bool)
  params = jax.jit(network.init)(jax.random.key(0), inputs)
  apply = jax.jit(network.apply)
  alone = apply(params, inputs.at[:-1].multiply(-2), mask)[-1]
  assert np.allclose(alone, apply(params, inputs, mask)[-1], rtol=1e-5, atol=1e-7) == network.independent


def test_padding_changes_nothing(name):
  network, shape = NETWORKS[name]
  inputs, mask = inputs_of(name), jnp.asarray([True, True, False, True, False])
  params = jax.jit(network.init)(jax.random.key(0), inputs)
  apply = jax.jit(network.apply)
  outputs = apply(params, inputs, mask)
  garbage = jnp.where(mask.reshape(-1, *[1] * len(shape)), inputs, inputs_of(name, seed=1) * 100)
  np.testing.assert_array_equal(apply(params, garbage, mask)[mask], outputs[mask])
  np.testing.assert_allclose(apply(params, inputs[mask], jnp.ones(3, bool)), outputs[mask], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", (jnp.bfloat16, jnp.float64))
def test_the_dtype_of_inputs_is_kept(name, dtype, x64):
  network, shape = NETWORKS[name]
  inputs = jax.ShapeDtypeStruct((3, *shape), dtype)
  params = jax.eval_shape(network.init, jax.random.key(0), inputs)
  assert {leaf.dtype for leaf in jax.tree.leaves(params) if leaf.shape} == {jnp.dtype(dtype)}
  assert jax.eval_shape(network.apply, params, inputs, jax.ShapeDtypeStruct((3,), bool)).dtype == dtype


def test_the_gradient_is_the_slope(name, x64):
  network, _ = NETWORKS[name]
  inputs, mask = inputs_of(name, dtype=jnp.float64), jnp.asarray([True, True, False, True, True])
  params = jax.jit(network.init)(jax.random.key(0), inputs)
  random = np.random.default_rng(0)
  direction = jax.tree.map(lambda leaf: jnp.asarray(random.normal(size=leaf.shape), leaf.dtype), params)
  step, move = 1e-6, lambda scale: jax.tree.map(lambda leaf, along: leaf + scale * along, params, direction)
  loss = jax.jit(jax.value_and_grad(lambda params: jnp.sum(jnp.sin(network.apply(params, inputs, mask)[mask]))))
  slope = float(loss(move(step))[0] - loss(move(-step))[0]) / (2 * step)
  gradient = loss(params)[1]
  actual = sum(jax.tree.leaves(jax.tree.map(lambda slope, along: float(jnp.sum(slope * along)), gradient, direction)))
  assert abs(slope) > 1e-3
  assert actual == pytest.approx(slope, rel=1e-5)
