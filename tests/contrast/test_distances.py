"""Distances: accuracy for almost equal vectors, finite gradients, closed forms."""

import hypothesis
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metajax.contrast import distances

DISTANCES = {"cosine": distances.cosine, "squared_euclidean": distances.squared_euclidean,
             "sigmoid_squared": distances.sigmoid_squared}


def cosine64(a, b):
  a, b = np.asarray(a, np.longdouble), np.asarray(b, np.longdouble)
  a, b = a / np.sqrt(np.sum(a * a)), b / np.sqrt(np.sum(b * b))
  return np.sum((a - b) ** 2) / 2


@pytest.mark.parametrize("gap", [1.0, 1e-2, 1e-4, 1e-6])
@pytest.mark.parametrize("size", [10, 1761, 100_000])
def test_cosine_keeps_five_digits(gap, size):
  random = np.random.default_rng(size)
  a = random.normal(size=size).astype(np.float32)
  b = (a.astype(np.float64) * (1 + gap * random.normal(size=size))).astype(np.float32)
  np.testing.assert_allclose(jax.jit(distances.cosine)(a, b), float(cosine64(a, b)), rtol=1e-5)


@pytest.mark.parametrize("gap", [1e-2, 1e-6])
def test_cosine_gradient_keeps_digits(gap):
  random = np.random.default_rng(3)
  a = random.normal(size=500).astype(np.float32)
  b = (a * (1 + gap * random.normal(size=500))).astype(np.float32)
  got = jax.jit(jax.grad(distances.cosine))(a, b)
  with jax.enable_x64(True):
    want = jax.grad(distances.cosine)(a.astype(np.float64), b.astype(np.float64))
  want = np.asarray(want)
  assert np.linalg.norm(np.asarray(got, np.float64) - want) < 1e-4 * np.linalg.norm(want)


def gradient64(a, b):
  """Returns the gradient of cosine distance with respect to a, by its formula."""
  a, b = np.asarray(a, np.longdouble), np.asarray(b, np.longdouble)
  norm = np.sqrt(np.sum(a * a))
  a, b = a / norm, b / np.sqrt(np.sum(b * b))
  return ((a - b) - (np.sum((a - b) ** 2) / 2) * a) / norm


@hypothesis.settings(deadline=None, max_examples=60, derandomize=True)
@hypothesis.given(seed=st.integers(0, 10_000), first=st.floats(-18, 18), second=st.floats(-18, 18),
                  angle=st.sampled_from([1e-6, 1e-3, 0.3, 1.5, 3.1]))
def test_cosine_at_any_norms(seed, first, second, angle):
  random = np.random.default_rng(seed)
  u, v = np.linalg.qr(random.normal(size=(20, 2)))[0].T
  a, b = np.float32(u * 10**first), np.float32((np.cos(angle) * u + np.sin(angle) * v) * 10**second)
  for one, other in ((a, b), (b, a)):
    # The difference of the unit vectors has an error of 3e-7; its squared norm is twice the distance.
    want = float(cosine64(one, other))
    assert jitted(one, other) == pytest.approx(want, rel=2e-6, abs=3e-7 * np.sqrt(2 * want) + 1e-13)
    norm = np.linalg.norm(np.float64(one))
    want = np.float64(gradient64(one, other) * norm)
    np.testing.assert_allclose(np.float64(slope(one, other)) * norm, want, rtol=0,
                               atol=1e-5 * np.linalg.norm(want) + 3e-7)


jitted, slope = jax.jit(distances.cosine), jax.jit(jax.grad(distances.cosine))


@pytest.mark.parametrize("a, b, expected", [
    ([1e20, 0.0], [0.0, 1e20], 1.0), ([1e-18, 0.0], [0.0, 1e-18], 1.0), ([1e-18, 0.0], [0.0, 1e18], 1.0),
    ([1.0, 0.0], [0.0, 2.0], 1.0), ([1.0, 2.0], [-3.0, -6.0], 2.0), ([1.0, 2.0], [10.0, 20.0], 0.0),
    ([3.0, 4.0], [4.0, 3.0], 1 - 24 / 25), ([0.0, 0.0], [5.0, 0.0], 0.5), ([0.0, 0.0], [0.0, 0.0], 0.0)])
def test_cosine_known_values(a, b, expected):
  assert distances.cosine(jnp.array(a), jnp.array(b)) == pytest.approx(expected, abs=1e-6)
  assert distances.cosine(jnp.array(b), jnp.array(a)) == pytest.approx(expected, abs=1e-6)


def test_known_values_of_the_others():
  a, b = jnp.array([1.0, 2.0]), jnp.array([4.0, 6.0])
  assert distances.squared_euclidean(a, b) == 25
  assert distances.sigmoid_squared(a / 5, b / 5) == pytest.approx(1 / (1 + np.exp(-1)), rel=1e-6)
  assert distances.sigmoid_squared(a, a) == 0.5


@pytest.mark.parametrize("name", DISTANCES)
@pytest.mark.parametrize("a, b", [([1.0, 2.0], [1.0, 2.0]), ([0.0, 0.0], [1.0, 2.0]), ([0.0, 0.0], [0.0, 0.0]),
                                  ([1e-18, 0.0], [0.0, 1e-18]), ([1e15, 0.0], [1e15, 1.0])])
def test_gradients_are_finite(name, a, b):
  gradient = jax.grad(DISTANCES[name], argnums=(0, 1))(jnp.array(a), jnp.array(b))
  second = jax.hessian(DISTANCES[name])(jnp.array(a), jnp.array(b))
  assert np.isfinite(gradient).all() and np.isfinite(second).all()


@pytest.mark.parametrize("name", DISTANCES)
def test_a_pytree_is_one_vector(name):
  a, b = np.random.default_rng(0).normal(size=(2, 7)).astype(np.float32)
  cut = lambda x: {"w": jnp.asarray(x[:6]).reshape(2, 3), "b": jnp.asarray(x[6:])}
  whole = DISTANCES[name](jnp.asarray(a), jnp.asarray(b))
  assert DISTANCES[name](cut(a), cut(b)) == pytest.approx(float(whole), rel=1e-6)


def test_half_precision_is_summed_in_float32():
  a = jnp.ones(70_000, jnp.bfloat16)
  b = a.at[0].set(2)
  value = distances.squared_euclidean(a * 2, b)
  assert value.dtype == jnp.float32
  assert value == 69_999
