"""The operations after a convolution, with pooling first, against the usual order in float64, up to second derivatives.

The reference normalises, scales, shifts and applies ReLU to everything, and then selects each block's largest entry.
NumPy finds the index of this entry; it is a constant of the program, so that compilation cannot change it.
"""

import functools

import jax
from jax import lax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
import numpy as np
import pytest

from metajax import networks
from metajax.kernels import examples_last
from metajax.networks import normalisation
from metajax.networks.conv4 import block
from metajax.training.sharding import task_mesh

CHANNELS, EPSILON = 6, normalisation.EPSILON
SHAPES = [(3, 4, 6), (4, 5, 7), (2, 2, 2), (3, 3, 2), (5, 9, 4)]  # examples, height, width
NORMS = {"batch": normalisation.batch_statistics, "group": normalisation.group(2), "none": normalisation.none}
RATE = 0.3


def setting(shape, seed=0):
  """Returns activations with equal entries in some blocks, a mask, scales of all signs, biases, weights of a loss."""
  random = np.random.default_rng(seed)
  x = random.normal(size=(*shape, CHANNELS)) * random.uniform(0.5, 2, CHANNELS) + random.normal(size=CHANNELS)
  x[0, :2, :1] = np.where(np.arange(CHANNELS) % 2, -9, 9)  # two equal maxima, or minima for a negative scale
  mask = np.arange(shape[0]) != 1
  scale = np.where(np.arange(CHANNELS) % 2, -1, 1) * random.uniform(0.5, 2, CHANNELS)
  scale[3] = 0.0
  weights = random.normal(size=(shape[0], shape[1] // 2, shape[2] // 2, CHANNELS)) * mask[:, None, None, None]
  return {"x": x, "mask": mask, "scale": scale.reshape(1, 1, 1, -1), "bias": random.normal(size=(1, 1, 1, CHANNELS)),
          "weights": weights}


def four(y):
  """Returns the entries of each 2x2 block, `[N, H // 2, W // 2, C, 4]`, in column order."""
  height, width = (size // 2 * 2 for size in y.shape[1:3])
  return jnp.stack([y[:, i:height:2, j:width:2] for j in range(2) for i in range(2)], axis=-1)


def slow_block(places, x, mask, norm, scale, bias):
  y = NORMS[norm](x, mask) * (1.0 if norm == "none" else scale) + bias
  return jax.nn.relu(jnp.take_along_axis(four(y), places[..., None], axis=-1)[..., 0])


def places_of(s, norm):
  y = NORMS[norm](jnp.asarray(s["x"]), jnp.asarray(s["mask"])) * (1.0 if norm == "none" else s["scale"])
  # Equal entries stay equal: rounding must not select among them.
  return jnp.asarray(np.argmax(np.round(np.asarray(four(y)), 9), axis=-1))


def fast_block(x, mask, norm, scale, bias):
  return block(x, mask, NORMS[norm], None if norm == "none" else scale, bias, True)


def turned_block(x, mask, norm, scale, bias):
  assert norm == "batch"
  pooled = examples_last.pooled(x.transpose(3, 1, 2, 0), mask, scale.reshape(-1), bias.reshape(-1), EPSILON)
  return pooled.transpose(3, 1, 2, 0)


def meta_loss(apply, norm, x, scale, bias, mask, weights):
  """A loss after one gradient step on another loss, so that its gradient has second derivatives."""
  loss = lambda x, scale, bias: jnp.sum(jnp.sin(apply(x, mask, norm, scale, bias)) * weights)
  slopes = jax.grad(loss, argnums=(1, 2))(x, scale, bias)
  # No scale changes its sign: the indices of the largest entries stay valid.
  return loss(x, scale * (1 - RATE * jnp.tanh(slopes[0])), bias - RATE * slopes[1])


@functools.cache
def expected(shape, norm, seed):
  with jax.enable_x64(True):
    s = jax.tree.map(jnp.asarray, setting(shape, seed))
    slow = functools.partial(slow_block, places_of(s, norm))
    gradient = jax.value_and_grad(functools.partial(meta_loss, slow, norm), argnums=(0, 1, 2))
    return jax.jit(gradient)(*arguments(s))


def arguments(s):
  return s["x"], s["scale"], s["bias"], s["mask"], s["weights"]


def same(actual, wanted):
  for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(wanted)):
    np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


# Every shape, every norm, and every norm with even and odd sides.
@pytest.mark.parametrize("shape, norm, fast", [
    *((shape, "batch", fast) for shape in SHAPES for fast in (fast_block, turned_block)),
    *((SHAPES[place], norm, fast_block) for place, norm in ((0, "group"), (1, "none"), (2, "none"), (4, "group")))])
def test_block_is_the_slow_one_to_the_second_order(shape, norm, fast, x64):
  s = jax.tree.map(jnp.asarray, setting(shape))
  close_to = slow_block(places_of(s, norm), s["x"], s["mask"], norm, s["scale"], s["bias"])
  outputs = jax.jit(fast, static_argnames="norm")(s["x"], s["mask"], norm, s["scale"], s["bias"])
  same(outputs[s["mask"]], close_to[s["mask"]])
  gradient = jax.value_and_grad(functools.partial(meta_loss, fast, norm), argnums=(0, 1, 2))
  found = jax.jit(gradient)(*arguments(s))
  assert all(float(jnp.linalg.norm(part)) > 1e-2 for part in (found[1][0], found[1][2]))
  same(found, expected(shape, norm, 0))


@pytest.mark.parametrize("fast", [fast_block, turned_block])
@pytest.mark.parametrize("mapped", ["vmap", "scan", "shard_map"])
def test_block_under_maps_of_tasks(mapped, fast, x64):
  shape, norm = SHAPES[1], "batch"
  tasks = [arguments(setting(shape, seed)) for seed in range(2)]
  stacked = [jnp.asarray(np.stack(part)) for part in zip(*tasks)]
  gradient = jax.value_and_grad(functools.partial(meta_loss, fast, norm), argnums=(0, 1, 2))
  if mapped == "vmap":
    found = jax.jit(jax.vmap(gradient))(*stacked)
  elif mapped == "scan":
    found = jax.jit(lambda tasks: lax.scan(lambda carry, task: (carry, gradient(*task)), None, tasks)[1])(stacked)
  else:
    mesh = task_mesh(jax.devices()[:2])
    each = jax.shard_map(jax.vmap(gradient), mesh=mesh, in_specs=PartitionSpec(mesh.axis_names),
                         out_specs=PartitionSpec(mesh.axis_names), check_vma=False)
    found = jax.jit(each)(*stacked)
  for task in range(2):
    same(jax.tree.map(lambda leaf: leaf[task], found), expected(shape, norm, task))


def test_fused_blocks_make_the_same_network(x64):
  random = np.random.default_rng(0)
  images, mask = jnp.asarray(random.normal(size=(5, 17, 20, 1)) + 3), jnp.arange(5) != 2
  plain, fused = (networks.conv4(3, filters=4, weights=weights) for weights in ("per_task", "shared"))
  params = jax.tree.map(lambda leaf: leaf + 0.3 * jnp.asarray(random.normal(size=leaf.shape)),
                        plain.init(jax.random.key(0), images))
  assert jax.tree.structure(fused.init(jax.random.key(0), images)) == jax.tree.structure(params)

  def loss(network, params):
    return jnp.sum(jnp.where(mask[:, None], jnp.sin(network.apply(params, images, mask)), 0.0))

  found, wanted = (jax.jit(jax.value_and_grad(functools.partial(loss, network)))(params) for network in (fused, plain))
  same(found, wanted)
  assert all(float(jnp.linalg.norm(leaf)) > 1e-6 for leaf in jax.tree.leaves(wanted[1]))


def test_one_form_is_left_of_a_compiled_network():
  network = networks.conv4(filters=4, weights="shared")
  images, mask = jnp.ones((2, 16, 16, 1)), jnp.ones(2, bool)
  params = network.init(jax.random.key(0), images)
  slope = jax.jit(jax.grad(lambda params: jnp.sum(jnp.sin(network.apply(params, images, mask)))))
  text = slope.lower(params).compile().as_text()
  assert " conditional(" not in text and " convolution(" not in text  # only the form for CPU
  lowered = slope.trace(params).lower(lowering_platforms=("tpu",)).as_text()
  assert "stablehlo.convolution" in lowered


def test_weights_are_of_a_task_or_shared():
  for make in (networks.conv4, functools.partial(networks.mlp, (3,), 2)):
    with pytest.raises(ValueError, match="per_task, shared, but they are 'mine'"):
      make(weights="mine")


def test_fused_blocks_keep_bfloat16_and_count_in_float32():
  """256 examples whose mean is not accurate in bfloat16: a sum of so many stops growing."""
  x = jnp.full((1, 4, 4, 256), 1.0, jnp.bfloat16).at[..., 0].set(2.0)
  outputs = examples_last.pooled(x, jnp.ones(256, bool), jnp.ones(1, jnp.bfloat16), jnp.full(1, 8.0, jnp.bfloat16),
                                 EPSILON)
  assert outputs.dtype == jnp.bfloat16
  np.testing.assert_allclose(outputs[0, 0, 0, 0].astype(jnp.float32), 8 + 255**0.5, rtol=0.02)


def test_fused_blocks_hold_digits_where_the_mean_is_thirty_deviations():
  random = np.random.default_rng(0)
  x, mask = 30 + random.normal(size=(3, 8, 8, 50)), jnp.ones(50, bool)
  scale, bias = jnp.ones(3), jnp.full(3, 5.0)
  found = examples_last.pooled(jnp.asarray(x, jnp.float32), mask, scale, bias, EPSILON)
  pooled = x.reshape(3, 4, 2, 4, 2, 50).max((2, 4))
  mean, deviation = (moment(x, axis=(1, 2, 3), keepdims=True) for moment in (np.mean, np.std))
  np.testing.assert_allclose(found, np.maximum((pooled - mean) / deviation + 5, 0), atol=2e-3)
