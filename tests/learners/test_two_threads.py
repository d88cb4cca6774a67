"""Learners that solve linear systems finish a step of ConML on a machine of two cores.

XLA:CPU can stop for ever there (`kernels.one_after_another`), so each trains in its own process, with a time limit.
"""

import os
import subprocess
import sys

import pytest

_PROGRAM = """
import jax, optax
from metajax import learners, losses, networks, objectives, tasks, train
from metajax.networks.film_resnet import film_resnet
from metajax.tasks.class_data import from_arrays
import numpy as np
random = np.random.default_rng(0)
shape = {shape}
data = from_arrays(random.normal(size=(240, *shape)).astype(np.float32), np.repeat(np.arange(12), 20))
mlp = lambda *widths: networks.mlp(widths[:-1], widths[-1], weights="shared")
learner = {learner}
train(objectives.conml(learner, losses.softmax_cross_entropy), optax.adam(1e-3),
      tasks.class_tasks(data, ways=5, shots=8, queries=8), steps=60, tasks_per_step=32, progress=False)
print("trained")
"""
_CASES = {
    "ridge": ((8,), "learners.ridge(mlp(64, 64), num_classes=5)"),
    "simple_cnaps": ((8, 8, 1), "learners.simple_cnaps(film_resnet((8, 8)), mlp(8, 4), mlp(8, 64), num_classes=5)"),
}


@pytest.mark.parametrize("name", _CASES)
def test_a_learner_with_linear_systems_does_not_wait_for_ever(name):
  shape, learner = _CASES[name]
  environment = {**os.environ, "NPROC": "2", "XLA_FLAGS": ""}
  done = subprocess.run([sys.executable, "-c", _PROGRAM.format(shape=shape, learner=learner)], env=environment,
                        timeout=200, capture_output=True, text=True, check=False)
  assert done.stdout == "trained\n", done.stderr
