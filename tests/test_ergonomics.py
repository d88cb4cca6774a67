"""The library in users' programs: ConML is the same under JAX's checks and under every transformation."""

import functools

import jax
from jax import lax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
import numpy as np
import optax
import pytest

from metajax import objectives
from metajax.training.sharding import TASKS, task_mesh
from tests import one_loss
from tests.learners.table import ROWS, start

SOME = ("maml", "protonet", "in_context")
FEW = ("maml", "protonet")  # more compilation is not worth its cost


@functools.cache
def built(name, axis_name=None):
  """Returns the gradient of a learner's ConML objective, its parameters, and four dissimilar tasks."""
  learner, params, episodes = start(ROWS[name])
  episodes = jax.tree.map(lambda leaf: jnp.concatenate([leaf, _halved(leaf[:1])]), episodes)
  objective = objectives.conml(learner, ROWS[name].loss, weight=0.5, axis_name=axis_name)

  def gradient(params, episodes):
    (loss, metrics), found = jax.value_and_grad(objective, has_aux=True)(params, episodes, jax.random.key(1))
    return loss, metrics["d_out"], found

  return gradient, params, episodes


@functools.cache
def alone(name):
  """Returns this gradient, compiled for one device."""
  return jax.jit(built(name)[0])


def _halved(leaf):
  return 0.5 * leaf if leaf.dtype == jnp.float32 else leaf


def close(got, want):
  # Second-order gradients, in another order of summation.
  for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
    np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-5)


@pytest.mark.parametrize("name", [*SOME, "protonet_cosine", "ridge_regression"])
def test_no_intermediate_nan(name):
  gradient, params, episodes = built(name)
  # A task without examples of one of its classes, and two identical tasks: cases in which norms and distances are
  # zero.
  support = episodes.support
  gone = support.mask.at[0].set(support.mask[0] & (support.targets[0].reshape(support.mask.shape[1], -1)[:, 0] != 0))
  episodes = episodes._replace(support=support._replace(mask=gone))
  episodes = jax.tree.map(lambda leaf: leaf.at[2].set(leaf[1]), episodes)
  with jax.debug_nans(True):
    loss, _, found = jax.jit(gradient)(params, episodes)
  assert np.isfinite(loss) and np.isfinite(optax.tree.norm(found))


@pytest.mark.parametrize("name", SOME)
def test_nothing_leaks(name):
  gradient, params, episodes = built(name)
  with jax.checking_leaks():
    jax.eval_shape(jax.jit(gradient), params, episodes)


@pytest.mark.usefixtures("compiled_quickly")
@pytest.mark.parametrize("name", FEW)
def test_vmap_over_parameters_is_one_after_another(name):
  gradient, params, episodes = built(name)
  other = jax.tree.map(lambda leaf: 0.9 * leaf, params)
  both = jax.tree.map(lambda *leaves: jnp.stack(leaves), params, other)
  found = jax.jit(jax.vmap(gradient, in_axes=(0, None)))(both, episodes)
  for place, theta in enumerate((params, other)):
    close(jax.tree.map(lambda leaf: leaf[place], found), alone(name)(theta, episodes))


@pytest.mark.usefixtures("compiled_quickly")
@pytest.mark.parametrize("mapping", ["pmap", "shard_map"])
@pytest.mark.parametrize("name", FEW)
def test_spread_over_devices_is_the_same(name, mapping):
  _, params, episodes = built(name)
  want = alone(name)(params, episodes)
  local, _, _ = built(name, TASKS)
  share = lambda params, episodes: lax.pmean(local(params, episodes), TASKS)
  if mapping == "pmap":
    split = jax.tree.map(lambda leaf: leaf.reshape(2, 2, *leaf.shape[1:]), episodes)
    got = jax.tree.map(lambda leaf: leaf[0], jax.pmap(share, axis_name=TASKS, in_axes=(None, 0))(params, split))
  else:
    mapped = jax.shard_map(share, mesh=task_mesh(jax.devices()[:2]), in_specs=(PartitionSpec(), PartitionSpec(TASKS)),
                           out_specs=PartitionSpec(), check_vma=False)
    got = jax.jit(mapped)(params, episodes)
  close(got, want)


def test_a_program_that_imports_one_loss():
  value, gradient = one_loss.main()
  assert np.isfinite(value) and optax.tree.norm(gradient) > 0
