"""Every Python block of README.md and of the guide to learners runs, and what it says of itself is true."""

import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from metajax.descent import descend
from tests.helpers import classification_episodes

README = (pathlib.Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
BLOCKS = dict(re.findall(r"^## ([^\n]+)\n(?:(?!^## ).)*?^```python\n(.*?)^```", README, re.M | re.S))


@pytest.fixture
def everyday_jax():
  """The flags of a user who has set none."""
  with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
    yield


def test_importing_one_loss(everyday_jax):
  block = BLOCKS["Import one loss"]
  assert len(block.strip().splitlines()) <= 25
  names = {}
  exec(block, names)
  data = (names["x"][:, :5], names["y"][:, :5]), (names["x"][:, 5:], names["y"][:, 5:])
  start = jax.random.normal(names["keys"][2], (3,))
  assert names["loss"](names["w"], *data) < names["loss"](start, *data)


def test_a_learner_of_ones_own(everyday_jax):
  block = BLOCKS["Write your own learner"]
  assert len(block.strip().splitlines()) <= 30
  names = {}
  exec(block, names)
  assert np.isfinite(names["loss"]) and set(names["metrics"]) >= {"d_in", "d_out"}
  assert optax.tree.norm(names["gradient"]) > 0


def test_the_guide_to_learners(everyday_jax):
  guide = pathlib.Path(__file__).parent.parent / "docs" / "own_learner.md"
  block, = re.findall(r"^```python\n(.*?)^```", guide.read_text(encoding="utf-8"), re.M | re.S)
  assert len([line for line in block.splitlines() if line.strip()]) <= 40
  names = {}
  exec(block, names)
  learner, objective = names["learner"], names["objective"]
  episodes = classification_episodes(num_tasks=8, ways=5, shots=3, padding=1)
  params = learner.init(jax.random.key(0), episodes.support.inputs[0])
  step = jax.jit(jax.value_and_grad(objective, has_aux=True))
  (start, metrics), _ = step(params, episodes, jax.random.key(1))
  optimizer = optax.adam(3e-3)
  state = optimizer.init(params)
  for _ in range(60):
    (loss, _), gradient = step(params, episodes, jax.random.key(1))
    params, state = descend(optimizer, gradient, state, params)
  assert loss < start and {"d_in", "d_out", "accuracy"} <= set(metrics)
  # The first law: what padding holds changes nothing.
  support = episodes.support
  rubbish = episodes._replace(support=support._replace(
      inputs=jnp.where(support.mask[..., None], support.inputs, 77.0)))
  assert step(params, rubbish, jax.random.key(1))[0][0] == step(params, episodes, jax.random.key(1))[0][0]
