"""The first non-finite value is named, wherever it is; a guarded optimizer clips and skips."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from metajax.descent import descend
from metajax.training import faults

_PARAMS = {"a": jnp.ones(3), "b": {"w": jnp.ones((2, 2)), "half": jnp.ones(2, jnp.bfloat16)}}


def _checked(**changes):
  optimizer = optax.adam(0.1)
  checked = faults.Checked({"loss": jnp.float32(1.0), "count": jnp.int32(3)}, _PARAMS, jnp.float32(1.0),
                           optimizer.init(_PARAMS), _PARAMS)
  return checked._replace(**changes)


def test_nothing_wrong():
  assert jax.jit(faults.first_fault)(_checked()) == faults.FINE


def test_large_finite_values_are_no_fault():
  largest = jax.tree.map(lambda leaf: jnp.full_like(leaf, jnp.finfo(leaf.dtype).max), _PARAMS)
  checked = _checked(gradient=largest, params=jax.tree.map(jnp.negative, largest))
  assert jax.jit(faults.first_fault)(checked) == faults.FINE
  outside = [equation.primitive.name for equation in jax.make_jaxpr(faults.first_fault)(checked).eqns]
  assert "cond" in outside and "is_finite" not in outside


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("path", ["metrics/loss", "gradient/a", "gradient/b/w", "gradient/b/half", "norm",
                                  "opt_state/0/mu/b/w", "opt_state/0/nu/a", "params/b/w"])
def test_the_path_is_named(path, bad):
  spoil = lambda place, leaf: (leaf.ravel().at[-1].set(bad).reshape(leaf.shape)
                               if jax.tree_util.keystr(place, simple=True, separator="/") == path else leaf)
  checked = jax.tree_util.tree_map_with_path(spoil, _checked())
  assert faults.path_of(int(faults.first_fault(checked)), checked) == path


def test_the_first_of_several_is_named():
  bad = jax.tree.map(lambda leaf: leaf * jnp.nan, _PARAMS)
  checked = _checked(gradient=bad, params=bad, norm=jnp.float32(jnp.nan))
  assert faults.path_of(int(faults.first_fault(checked)), checked) == "gradient/a"


def test_no_guard_is_the_optimizer_itself():
  optimizer = optax.adam(0.1)
  assert faults.guard(optimizer) is optimizer


def test_clipping_shortens_long_gradients_and_no_others():
  guarded = faults.guard(optax.sgd(1.0), clip=2.0)
  params = {"a": jnp.zeros(2), "b": jnp.zeros(())}
  for gradient, expected in (({"a": jnp.array([3.0, 0.0]), "b": jnp.array(4.0)}, [-1.2, 0.0, -1.6]),
                             ({"a": jnp.array([0.3, 0.0]), "b": jnp.array(0.4)}, [-0.3, 0.0, -0.4])):
    stepped, _ = descend(guarded, gradient, guarded.init(params), params)
    np.testing.assert_allclose(np.concatenate([stepped["a"], stepped["b"][None]]), expected, rtol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_skipping_changes_nothing_and_ends_after_the_maximum(bad):
  guarded = faults.guard(optax.adam(0.1), clip=1.0, skip=2)
  params, state = {"a": jnp.ones(2)}, guarded.init({"a": jnp.ones(2)})
  params, state = descend(guarded, {"a": jnp.ones(2)}, state, params)
  before, inner = params, state.inner_state
  for _ in range(2):
    params, state = descend(guarded, {"a": jnp.array([1.0, bad])}, state, params)
    chex.assert_trees_all_equal((params, state.inner_state), (before, inner))
    assert faults.was_skipped(state)
    checked = faults.Checked({"loss": jnp.float32(bad)}, {"a": jnp.array([1.0, bad])}, jnp.float32(bad), state, params)
    assert faults.first_fault(checked) == faults.FINE
  assert int(state.total_notfinite) == 2
  gradient = {"a": jnp.array([1.0, bad])}
  params, state = descend(guarded, gradient, state, params)
  checked = faults.Checked({"loss": jnp.float32(0.0)}, gradient, jnp.float32(bad), state, params)
  assert faults.path_of(int(faults.first_fault(checked)), checked) == "gradient/a"


def test_an_optimizer_that_never_skips_says_so():
  assert faults.was_skipped(optax.adam(0.1).init(_PARAMS)) is None
