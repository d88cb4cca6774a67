"""A replayed step has the same episodes, values and fault."""

import functools

import jax
import numpy as np
import pytest

from metajax.lab import run as runs
from metajax.lab.replay import replay
from metajax.training.faults import FINE, NonFinite, first_fault
from tests.small_runs import build_sinusoid

_silent = functools.partial(runs.train, say=lambda _: None)


def _batch(path):
  with np.load(path) as arrays:
    return {name: arrays[name] for name in arrays}


def test_a_diverged_run_can_be_replayed(tmp_path):
  built = build_sinusoid(learning_rate=3e12)
  with pytest.raises(NonFinite) as raised:
    _silent(built, tmp_path)
  fault = raised.value
  assert fault.step > 1
  batch = _batch(tmp_path / f"step_{fault.step}.npz")
  (tmp_path / f"step_{fault.step}.npz").unlink()
  said = []
  checked = replay(built, tmp_path, fault.step, say=said.append)
  assert f"The first non-finite array: {fault.path}." in said
  assert any(sentence.startswith(f"  {fault.path}: ") for sentence in said)
  again = _batch(tmp_path / f"step_{fault.step}.npz")
  assert batch.keys() == again.keys()
  for name in batch:
    np.testing.assert_array_equal(again[name], batch[name], strict=True)
  assert int(first_fault(checked)) != FINE


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
  """A run of 8 steps with a row per step and checkpoints at 4 and 8, and its recipe."""
  folder, built = tmp_path_factory.mktemp("whole"), build_sinusoid(steps_per_row=1, rows_per_checkpoint=4)
  _silent(built, folder)
  return folder, built


@pytest.mark.parametrize("step, start", [(4, 0), (5, 4)])
def test_any_step_of_a_run_can_be_replayed(whole, step, start):
  folder, built = whole
  rows = np.genfromtxt(folder / "metrics.csv", delimiter=",", names=True)
  said = []
  checked = replay(built, folder, step, say=said.append)
  assert int(first_fault(checked)) == FINE
  assert said[0] == f"From step {start} to step {step}." and "All values that it computed are finite." in said
  assert float(checked.metrics["loss"]) == rows["loss"][step - 1]
  assert float(checked.norm) == rows["gradient_norm"][step - 1]
  losses = [sentence for sentence in said if sentence.startswith("The largest loss of a task is")]
  assert len(losses) == 1
  assert _batch(folder / f"step_{step}.npz")["query.inputs"].shape == (8, 3, 1)


@pytest.mark.parametrize("setting", ["pmap", "spread_state"])
def test_a_run_of_another_layout_can_be_replayed(tmp_path, setting):
  built = build_sinusoid(hidden=(64, 64), conml=False, steps=3, steps_per_row=1, rows_per_checkpoint=2,
                         **{setting: True})
  state = _silent(built, tmp_path)
  assert (setting == "pmap") == all(leaf.is_fully_replicated for leaf in jax.tree.leaves(state))
  said = []
  checked = replay(built, tmp_path, 3, say=said.append)
  assert said[0] == "From step 2 to step 3." and int(first_fault(checked)) == FINE
  row = np.genfromtxt(tmp_path / "metrics.csv", delimiter=",", names=True)[-1]
  np.testing.assert_allclose([float(checked.metrics["loss"]), float(checked.norm)],
                             [row["loss"], row["gradient_norm"]], rtol=1e-5)


@pytest.mark.parametrize("step", [0, 9])
def test_an_invalid_step_is_rejected(tmp_path, step):
  with pytest.raises(ValueError, match=f"step {step} is not a step of this run; choose one from 1 to 8"):
    replay(build_sinusoid(), tmp_path, step)
  assert not list(tmp_path.iterdir())
