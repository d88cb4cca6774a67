"""Every Python block of README.md runs, and what it says of itself is true."""

import pathlib
import re

import jax
import numpy as np
import optax
import pytest

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
