"""D_in and D_out against loops, on one device and on eight."""

import functools

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, PartitionSpec
from jax.test_util import check_grads
import numpy as np
import pytest

from metajax import contrast
from metajax.contrast import distances

DISTANCES = {"cosine": distances.cosine, "squared_euclidean": distances.squared_euclidean,
             "sigmoid_squared": distances.sigmoid_squared}


def loop_distance(name, a, b):
  if name == "cosine":
    return 1 - a @ b / (np.linalg.norm(a) * np.linalg.norm(b))
  square = np.sum((a - b) ** 2)
  return square if name == "squared_euclidean" else 1 / (1 + np.exp(-square))


def loop_in(name, full, views):
  tasks, count = views.shape[:2]
  return sum(loop_distance(name, views[t, k], full[t]) for t in range(tasks) for k in range(count)) / (tasks * count)


def loop_out(name, full):
  pairs = [(s, t) for s in range(len(full)) for t in range(len(full)) if s != t]
  return sum(loop_distance(name, full[s], full[t]) for s, t in pairs) / len(pairs)


def vectors(tasks=8, views=2, size=5, dtype=np.float64):
  random = np.random.default_rng(1)
  full = random.normal(size=(tasks, size)) * np.arange(1, tasks + 1)[:, None]
  return full.astype(dtype), (full[:, None] + 0.3 * random.normal(size=(tasks, views, size))).astype(dtype)


@pytest.mark.parametrize("name", DISTANCES)
@pytest.mark.parametrize("tasks, views", [(2, 1), (3, 4), (8, 2)])
@pytest.mark.usefixtures("compiled_quickly")
def test_against_loops(name, tasks, views, x64):
  full, parts = vectors(tasks, views)
  d_in = contrast.inner_task_distance(full, parts, DISTANCES[name])
  d_out = contrast.inter_task_distance(full, DISTANCES[name])
  np.testing.assert_allclose(d_in, loop_in(name, full, parts), rtol=1e-12)
  np.testing.assert_allclose(d_out, loop_out(name, full), rtol=1e-12)
  np.testing.assert_allclose(contrast.contrastive_loss(full, parts, DISTANCES[name]), d_in - d_out, rtol=1e-12)


@pytest.mark.parametrize("name", ["cosine", "squared_euclidean"])
@pytest.mark.usefixtures("compiled_quickly")
def test_variance_form_equals_pairs(name, x64):
  full, _ = vectors()
  quadratic = DISTANCES[name]
  plain = lambda a, b: quadratic(a, b)  # not a Quadratic: computed over all pairs
  fast = jax.jit(jax.value_and_grad(lambda f: contrast.inter_task_distance(f, quadratic)))(full)
  slow = jax.jit(jax.value_and_grad(lambda f: contrast.inter_task_distance(f, plain)))(full)
  np.testing.assert_allclose(fast[0], slow[0], rtol=1e-12)
  np.testing.assert_allclose(fast[1], slow[1], rtol=1e-9, atol=1e-13)


@pytest.mark.usefixtures("compiled_quickly")
def test_d_out_has_derivatives_of_every_kind(x64):
  random = np.random.default_rng(2)
  full = {"kernel": random.normal(size=(4, 2, 3)), "bias": random.normal(size=(4, 3))}
  d_out = jax.jit(lambda full: contrast.inter_task_distance(full, distances.cosine))
  check_grads(d_out, (full,), order=2, modes=("fwd", "rev"))


def test_nearly_equal_tasks_keep_their_digits():
  random = np.random.default_rng(0)
  base = random.normal(size=2000)
  full = (base * (1 + 1e-6 * random.normal(size=(6, 2000)))).astype(np.float32)
  got = contrast.inter_task_distance(full, distances.cosine)
  wide = full.astype(np.longdouble)
  unit = wide / np.sqrt(np.sum(wide**2, axis=1, keepdims=True))
  want = np.mean([np.sum((unit[s] - unit[t]) ** 2) / 2 for s in range(6) for t in range(6) if s != t])
  np.testing.assert_allclose(got, float(want), rtol=1e-4)


@pytest.mark.parametrize("scales", [(1, 1e-4, 1e-4, 1), (1e18, 1, 1e-18, 1e3), (1e-18,) * 4, (1e18,) * 4])
def test_tasks_of_unlike_norms(scales):
  full, parts = vectors(tasks=4)
  scales = np.array(scales)[:, None] / np.linalg.norm(full, axis=1, keepdims=True)
  full, parts = (np.float32(full * scales), np.float32(parts * scales[:, None]))
  wide = np.float64(full), np.float64(parts)
  d_in, d_out = contrast.inner_task_distance, contrast.inter_task_distance
  got = d_in(full, parts, distances.cosine), d_out(full, distances.cosine)
  np.testing.assert_allclose(got, [loop_in("cosine", *wide), loop_out("cosine", wide[0])], rtol=2e-6)
  gradient = jax.jit(jax.grad(lambda full: contrast.inter_task_distance(full, distances.cosine)))(full)
  with jax.enable_x64(True):
    want = np.asarray(jax.grad(loop_out_of_units)(wide[0]))
  norms = np.linalg.norm(wide[0], axis=1, keepdims=True)
  np.testing.assert_allclose(gradient * norms, want * norms, rtol=1e-4, atol=2e-6)


def loop_out_of_units(full):
  unit = full / jnp.linalg.norm(full, axis=1, keepdims=True)
  return 1 - (jnp.sum(unit @ unit.T) - len(full)) / (len(full) * (len(full) - 1))


@pytest.mark.parametrize("name, far", [("cosine", 1.0), ("squared_euclidean", 100.0)])
def test_a_first_task_far_from_all_others_costs_no_digits(name, far):
  random = np.random.default_rng(3)
  exact = 0.01 * random.normal(size=(16, 40)) + np.eye(40)[0]  # all but the first are close to one another
  exact[0] = far * np.eye(40)[1]
  value, gradient = jax.jit(jax.value_and_grad(lambda full: contrast.inter_task_distance(full, DISTANCES[name])))(
      jnp.asarray(exact, jnp.float32))
  np.testing.assert_allclose(value, loop_out(name, exact), rtol=1e-5)
  for task in (0, 5):
    step = np.zeros_like(exact)
    step[task] = 1e-5
    slope = (loop_out(name, exact + step) - loop_out(name, exact - step)) / 2e-5
    np.testing.assert_allclose(jnp.sum(gradient[task]), slope, rtol=1e-3, atol=1e-5 * np.abs(gradient).max())


# Both computations, by means and by pairs, under every mapping; the second distance of the first kind under one.
@pytest.mark.parametrize("mapping, name", [*((mapping, name) for mapping in ("shard_map", "check_vma", "pmap", "vmap")
                                             for name in ("cosine", "sigmoid_squared")),
                                           ("shard_map", "squared_euclidean")])
@pytest.mark.usefixtures("compiled_quickly")
def test_eight_devices_are_one(name, mapping, x64):
  full, parts = vectors(tasks=16)
  weights = np.random.default_rng(5).normal(size=(5, 5))

  def loss(w, full, parts, axis_name=None):
    full, parts = jnp.tanh(full @ w), jnp.tanh(parts @ w)
    return contrast.contrastive_loss(full, parts, DISTANCES[name], axis_name)

  def share(w, full, parts, mark):
    if mark:
      w = jax.lax.pcast(w, ("tasks",), to="varying")
    value, gradient = jax.value_and_grad(loss)(w, full, parts, "tasks")
    return value[None] if mark else value, jax.lax.pmean(gradient, "tasks")

  want = jax.jit(jax.value_and_grad(loss))(weights, full, parts)
  cut = lambda x: x.reshape(8, 2, *x.shape[1:])
  if mapping in ("shard_map", "check_vma"):
    strict = mapping == "check_vma"
    mesh = jax.make_mesh((8,), ("tasks",), axis_types=(AxisType.Auto,))
    spread, same = PartitionSpec("tasks"), PartitionSpec()
    mapped = jax.shard_map(functools.partial(share, mark=strict), mesh=mesh, in_specs=(same, spread, spread),
                           out_specs=(spread if strict else same, same), check_vma=strict)
    value, gradient = jax.jit(mapped)(weights, full, parts)
  else:
    transform = jax.pmap if mapping == "pmap" else jax.vmap
    mapped = transform(functools.partial(share, mark=False), axis_name="tasks", in_axes=(None, 0, 0))
    value, gradient = (mapped if mapping == "pmap" else jax.jit(mapped))(weights, cut(full), cut(parts))
    gradient = gradient[0]
  np.testing.assert_allclose(value, np.broadcast_to(want[0], np.shape(value)), rtol=1e-12)
  np.testing.assert_allclose(gradient, want[1], rtol=1e-9, atol=1e-13)


def loop_info_nce(name, full, views, temperature):
  total = 0.0
  for t in range(views.shape[0]):
    others = [np.exp(-loop_distance(name, full[t], full[s]) / temperature) for s in range(len(full)) if s != t]
    for view in views[t]:
      own = np.exp(-loop_distance(name, view, full[t]) / temperature)
      total -= np.log(own / (own + sum(others)))
  return total / (views.shape[0] * views.shape[1])


@pytest.mark.parametrize("name", DISTANCES)
@pytest.mark.usefixtures("compiled_quickly")
def test_info_nce_against_loops(name, x64):
  full, parts = vectors(tasks=4, views=3)
  full, parts = full / 4, parts / 4
  got = jax.jit(lambda *both: contrast.info_nce(*both, DISTANCES[name], temperature=0.5))(full, parts)
  np.testing.assert_allclose(got, loop_info_nce(name, full, parts, 0.5), rtol=1e-10)


@pytest.mark.usefixtures("compiled_quickly")
def test_info_nce_over_eight_devices(x64):
  full, parts = vectors(tasks=16)
  loss = lambda full, parts, axis=None: contrast.info_nce(full, parts, distances.cosine, axis)
  want = jax.jit(jax.value_and_grad(loss))(full, parts)
  cut = lambda x: x.reshape(8, 2, *x.shape[1:])
  shares = jax.vmap(lambda f, p: jax.value_and_grad(loss)(f, p, "tasks"), axis_name="tasks")
  value, gradient = jax.jit(shares)(cut(full), cut(parts))
  np.testing.assert_allclose(value, np.full(8, want[0]), rtol=1e-12)
  # Each device differentiates its share, an eighth of the total, with respect to its own tasks and all others.
  np.testing.assert_allclose(gradient.reshape(full.shape) / 8, want[1], rtol=1e-9, atol=1e-12)


def test_info_nce_refuses():
  with pytest.raises(ValueError, match="temperature of InfoNCE must be positive"):
    contrast.info_nce(jnp.ones((2, 3)), jnp.ones((2, 1, 3)), distances.cosine, temperature=0.0)
  with pytest.raises(ValueError, match="only 1"):
    contrast.info_nce(jnp.ones((1, 3)), jnp.ones((1, 1, 3)), distances.cosine)
  with pytest.raises(ValueError, match="K must be at least 1"):
    contrast.info_nce(jnp.ones((2, 3)), jnp.ones((2, 0, 3)), distances.cosine)


def test_one_task_is_refused():
  with pytest.raises(ValueError, match="only 1.*at least 2 tasks"):
    contrast.inter_task_distance(jnp.ones((1, 4)), distances.cosine)


def test_no_view_is_refused():
  with pytest.raises(ValueError, match="K must be at least 1"):
    contrast.inner_task_distance(jnp.ones((3, 4)), jnp.ones((3, 0, 4)), distances.cosine)


def test_views_of_another_shape_are_refused():
  with pytest.raises(ValueError, match=r"views must be \[T, K, ...\]"):
    contrast.inner_task_distance(jnp.ones((3, 4)), jnp.ones((3, 4)), distances.cosine)
  with pytest.raises(ValueError, match="leading axis of tasks"):
    contrast.inter_task_distance({"a": jnp.ones((3, 4)), "b": jnp.ones((2, 4))}, distances.cosine)
