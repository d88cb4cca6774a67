"""The compiled step on eight devices: no unexpected collectives, and no device does more than its share."""

import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from metajax import learners, losses, networks, objectives
from metajax.lab import cost
from metajax.networks import normalisation
from metajax.tasks.class_data import ClassData
from metajax.tasks.classes import class_tasks
from metajax.training.sharding import TASKS, over_tasks, over_tasks_by_pmap, replicate, spread, task_mesh
from metajax.training.step import init_state, make_advance

_KEY = jax.random.key(0)


def _tasks():
  drawings = np.random.default_rng(0).integers(0, 255, (40, 8, 8, 1), np.uint8)
  source = ClassData(drawings, np.full(10, 4, np.int32), tuple(f"class {i}" for i in range(10)), "noise")
  return class_tasks(source, ways=3, shots=1, queries=1)


def _advance(devices, *, mapped=over_tasks, spread_state=False, optimizer=None, distance=None):
  learner = learners.maml(networks.conv4(3, filters=8, normalise=normalisation.group(2), max_pool=False,
                                           average=True), losses.softmax_cross_entropy,
                          optimizer=optax.sgd(0.1))
  objective = objectives.conml(learner, losses.softmax_cross_entropy, axis_name=TASKS, **(
      {"distance": distance} if distance else {}))
  tasks, mesh = _tasks(), task_mesh(jax.devices()[:devices])
  optimizer = optimizer or optax.adam(1e-2)
  state = replicate(init_state(learner, optimizer, tasks, _KEY), mesh)
  if spread_state:
    state = jax.jit(lambda state: state, out_shardings=spread(state, mesh))(state)
  advance = make_advance(objective, optimizer, tasks, num_tasks=8, num_steps=1, key=_KEY, mesh=mesh, mapped=mapped,
                         spread_state=spread_state)
  return advance, state, replicate(tasks.data, mesh)


def _products(program):
  """Returns the multiplications of all matrix products in a compiled program's text, on one device."""
  shapes = {name: [int(size) for size in shape.split(",") if size]
            for name, shape in re.findall(r"%([\w.-]+) = [a-z0-9]+\[([0-9,]*)\]", program)}
  shapes |= {name: [int(size) for size in shape.split(",") if size]
             for name, shape in re.findall(r"%?([\w.-]+): [a-z0-9]+\[([0-9,]*)\]", program)}
  return sum(math.prod(shapes[result]) * math.prod(shapes[left][int(axis)] for axis in axes.split(","))
             for result, left, axes in re.findall(r"%([\w.-]+) = [^=]* dot\(%([\w.-]+), .*?lhs_contracting_dims="
                                                  r"\{([0-9,]+)\}", program))


@pytest.mark.parametrize("mapped", [over_tasks, over_tasks_by_pmap])
def test_only_the_collectives_that_were_asked_for_and_a_fair_share_of_the_work(mapped):
  compiled = {}
  for devices in (1, 8):
    advance, state, data = _advance(devices, mapped=mapped)
    compiled[devices] = advance.lower(state, data).compile()
  found = cost.collectives(compiled[8])
  assert set(found) == {"all-reduce"}
  # The gradient, the contrast's origin and its mean, each of the size of the parameters; the rest are metrics.
  numbers = sum(leaf.size for leaf in jax.tree.leaves(state.params))
  assert 3 * 4 * numbers <= sum(found["all-reduce"]) <= 3 * 4 * numbers + 4 * 64
  work = {devices: _products(program.as_text()) for devices, program in compiled.items()}
  assert 0 < work[8] <= 1.1 * work[1] / 8


@pytest.mark.parametrize("mapped, spread_state", [(over_tasks_by_pmap, False), (over_tasks, True)])
def test_however_it_is_mapped_and_kept_the_numbers_are_the_same(mapped, spread_state):
  # Clipping by the global norm is a typical error of naively sharded optimizers.
  optimizer = optax.chain(optax.clip_by_global_norm(1e-3), optax.adam(1e-2))
  advance, state, data = _advance(1, optimizer=optimizer)
  other, spread_over, same_data = _advance(8, mapped=mapped, spread_state=spread_state, optimizer=optimizer)
  for _ in range(3):
    (state, metrics), (spread_over, others) = advance(state, data), other(spread_over, same_data)
    for name in metrics:
      np.testing.assert_allclose(others[name], metrics[name], rtol=2e-4, err_msg=name)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(np.asarray(b), np.asarray(a), rtol=1e-3, atol=1e-5),
               state.params, spread_over.params)


def test_big_arrays_are_cut_along_an_axis_that_the_devices_divide():
  mesh = task_mesh()
  tree = {"big": jnp.zeros((3, 64, 128)), "odd": jnp.zeros((3, 5, 1001)), "small": jnp.zeros(8)}
  shardings = spread(tree, mesh)
  assert shardings["big"].shard_shape((3, 64, 128)) == (3, 64, 16)
  assert shardings["odd"].is_fully_replicated and shardings["small"].is_fully_replicated
