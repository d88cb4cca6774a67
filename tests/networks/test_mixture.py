"""Mixtures of two inputs: each network mixes them before the given layer only."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metajax.networks import conv4, mlp, normalisation
from metajax.networks.mixture import Mixture

pytestmark = pytest.mark.usefixtures("compiled_quickly")

NETWORKS = {"mlp": (mlp((5, 4), 3), (6,), 3),
            "conv4": (functools.partial(conv4, filters=3)(2, normalise=normalisation.group(1)), (16, 16, 1), 5)}
MASK = jnp.ones(4, bool)


@functools.cache
def outputs(name):
  """Returns the outputs of one, of the other, of their mixture at the input, and of mixtures at each stage."""
  network, shape, stages = NETWORKS[name]
  one, other = jnp.asarray(np.random.default_rng(0).normal(size=(2, 4, *shape)), jnp.float32)
  params = network.init(jax.random.key(0), one)
  apply = jax.jit(lambda inputs: network.apply(params, inputs, MASK))
  mix = lambda weight, stage: apply(Mixture(one, other, jnp.full(4, weight), jnp.full(4, stage, jnp.int32)))
  return apply(one), apply(other), apply(0.3 * one + 0.7 * other), [mix(0.3, stage) for stage in range(stages)], mix


@pytest.mark.parametrize("name", NETWORKS)
def test_at_the_input_it_is_the_mixture_of_the_inputs(name):
  _, _, expected, mixed, _ = outputs(name)
  np.testing.assert_allclose(mixed[0], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_last_stage_mixes_what_a_linear_head_reads(name):
  one, other, _, mixed, mix = outputs(name)
  np.testing.assert_allclose(mixed[-1], 0.3 * one + 0.7 * other, rtol=1e-4, atol=1e-5)
  np.testing.assert_array_equal(mix(0.3, 50), mixed[-1])  # there is no further layer


@pytest.mark.parametrize("name", NETWORKS)
def test_stages_mix_at_different_layers_and_weight_one_mixes_nothing(name):
  one, _, _, mixed, mix = outputs(name)
  for stage, each in enumerate(mixed):
    np.testing.assert_allclose(mix(1.0, stage), one, rtol=1e-5, atol=1e-6)
    assert all(not np.allclose(each, other, rtol=1e-3, atol=1e-5) for other in mixed[:stage])


def test_parameters_do_not_depend_on_it():
  network, shape, _ = NETWORKS["mlp"]
  inputs = jnp.ones((4, *shape))
  plain = network.init(jax.random.key(1), inputs)
  same = network.init(jax.random.key(1), Mixture(inputs, 2 * inputs, jnp.ones(4), jnp.zeros(4, jnp.int32)))
  jax.tree.map(np.testing.assert_array_equal, plain, same)
