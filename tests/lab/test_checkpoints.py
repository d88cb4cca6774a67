"""Checkpoints are restored bit for bit, or rejected with a fallback to an older one."""

import contextlib
import gc
import json
import logging
from pathlib import Path
import resource
import shutil

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from metajax.lab.checkpoints import Checkpoints, Damaged, Keep, Unsaved, digest
from metajax.training.sharding import replicated, task_mesh
from metajax.training.step import TrainState

# When a read fails, Orbax leaves coroutines behind that warn when they are garbage-collected.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def _collect():
  yield
  gc.collect()  # here, where the warning is ignored, and not in a later test


@pytest.fixture
def folder(tmp_path):
  return tmp_path / "checkpoints"


def make_state(step):
  """Returns a state with every kind of leaf, large enough that its bytes are not inlined into metadata."""
  weights = jax.random.normal(jax.random.key(step), (64, 32))
  params = {"w": weights, "half": weights.astype(jnp.bfloat16), "nested": [jnp.zeros(()), jnp.arange(3)]}
  return {"train": TrainState(jnp.int32(step), params, optax.adam(1e-3).init(params)), "key": jax.random.key(step + 7)}


def save(folder, *steps, keep=5):
  with Checkpoints(folder, keep=Keep(keep)) as checkpoints:
    for step in steps:
      checkpoints.save(step, make_state(step), {"loss": 1.0})


def restore(folder, like=None):
  with Checkpoints(folder) as checkpoints:
    return checkpoints.restore(make_state(0) if like is None else like)


def assert_is_step(restored, step):
  assert restored is not None and restored[0] == step
  chex.assert_trees_all_equal_shapes_and_dtypes(restored[1], make_state(step))
  assert digest(restored[1]) == digest(make_state(step))


def largest_file(folder: Path) -> Path:
  return max((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)


def flip_a_bit(path: Path, place: float = 0.5):
  content = bytearray(path.read_bytes())
  content[int(place * len(content))] ^= 0b100
  path.write_bytes(content)


def test_everything_comes_back(folder):
  save(folder, 3)
  restored = restore(folder)
  assert_is_step(restored, 3)
  params = restored[1]["train"].params
  assert params["half"].dtype == jnp.bfloat16
  np.testing.assert_array_equal(jax.random.normal(restored[1]["key"], (4,)),
                                jax.random.normal(make_state(3)["key"], (4,)))


def test_nothing_saved_is_none(folder):
  assert restore(folder) is None


def test_restores_onto_the_sharding_of_like(folder):
  save(folder, 1)
  sharding = replicated(task_mesh())
  restored = restore(folder, jax.device_put(make_state(0), sharding))
  assert_is_step(restored, 1)
  for leaf in jax.tree.leaves(restored[1]):
    assert leaf.sharding.is_equivalent_to(sharding, leaf.ndim) and len(leaf.devices()) == 8


def test_only_the_newest_are_kept(folder):
  save(folder, 1, 2, 3, 4, keep=2)
  with Checkpoints(folder) as checkpoints:
    assert checkpoints.steps() == [3, 4]
  assert_is_step(restore(folder), 4)


@pytest.mark.parametrize("step", [2, 1])
def test_a_declined_save_is_an_error(folder, step):
  save(folder, 2)
  with Checkpoints(folder) as checkpoints:
    with pytest.raises(ValueError, match=rf"step {step} was not saved: there is a checkpoint of step 2 already"):
      checkpoints.save(step, make_state(step))
  assert_is_step(restore(folder), 2)


def test_a_flipped_bit_falls_back_sets_aside_and_makes_way(folder, caplog):
  save(folder, 1, 2)
  about = json.loads(next((folder / "2").rglob("about/*")).read_text())
  assert about["metrics"] == {"loss": 1.0}
  flip_a_bit(largest_file(folder / "2"))
  with Checkpoints(folder) as checkpoints:
    with caplog.at_level(logging.WARNING):
      assert_is_step(checkpoints.restore(make_state(0)), 1)
    assert any("checkpoint of step 2 is damaged" in record.getMessage() for record in caplog.records)
    aside = folder.with_name("checkpoints-damaged")
    assert [path.name for path in aside.iterdir()] == ["2.0"] and largest_file(aside).stat().st_size > 1000
    assert checkpoints.steps() == [1]
    checkpoints.save(2, make_state(2))
  assert_is_step(restore(folder), 2)

  flip_a_bit(largest_file(folder / "2"))
  assert_is_step(restore(folder), 1)
  assert sorted(path.name for path in aside.iterdir()) == ["2.0", "2.1"]  # the first one is not overwritten


@pytest.mark.bad_input
@pytest.mark.parametrize("place", [0.02, 0.3, 0.7, 0.98])
def test_no_flipped_bit_of_any_file_passes(folder, place):
  save(folder, 1, 2)
  for path in [path for path in sorted((folder / "2").rglob("*")) if path.is_file() and path.stat().st_size]:
    whole = path.read_bytes()
    flip_a_bit(path, place)
    with Checkpoints(folder, read_only=True) as checkpoints:
      restored = checkpoints.restore(make_state(0))
    assert_is_step(restored, restored[0])  # the newest, if the bit is irrelevant; else the older one
    path.write_bytes(whole)
  assert_is_step(restore(folder), 2)


def test_notes_come_back_and_no_bit_of_them_flips(folder):
  with Checkpoints(folder) as checkpoints:
    checkpoints.save(1, make_state(1), notes={"loss": [0.1, float(np.float32(0.3))]})
    checkpoints.save(2, make_state(2), notes={"loss": [0.5]})
  assert restore(folder).notes == {"loss": [0.5]}
  about = next((folder / "2" / "about").iterdir())
  about.write_text(about.read_text().replace("0.5", "0.4"))
  restored = restore(folder)
  assert restored.step == 1 and restored.notes == {"loss": [0.1, float(np.float32(0.3))]}


@pytest.mark.parametrize("keep, kept", [
    (Keep(1), [7]), (Keep(1, every=3), [3, 6, 7]), (Keep(1, best="accuracy"), [2, 7]),
    (Keep(2, best="-accuracy"), [5, 6, 7]), (Keep(2, every=4, best="accuracy"), [2, 4, 6, 7])])
def test_what_is_kept(folder, keep, kept):
  accuracy = {1: 0.2, 2: 0.9, 3: 0.5, 5: 0.1, 6: 0.3, 7: 0.4}  # step 4 has no metrics, as on preemption
  for steps in ((1, 2, 3, 4), (5, 6, 7)):  # resumed in between
    with Checkpoints(folder, keep=keep) as checkpoints:
      for step in steps:
        checkpoints.save(step, make_state(step), {"accuracy": accuracy[step]} if step in accuracy else None)
  with Checkpoints(folder, read_only=True) as checkpoints:
    assert checkpoints.steps() == kept


@pytest.mark.bad_input
@pytest.mark.parametrize("keep", [Keep(0), Keep(1, every=-1)])
def test_invalid_keep_rules_are_rejected(folder, keep):
  with pytest.raises(ValueError, match="at least the newest checkpoint is kept, but got"):
    Checkpoints(folder, keep=keep)
  assert not folder.exists()


def test_an_older_step_can_be_restored(folder):
  save(folder, 1, 3, 5)
  with Checkpoints(folder, read_only=True) as checkpoints:
    assert [checkpoints.restore(make_state(0), at_most=most).step for most in (1, 2, 3, 4, 9)] == [1, 1, 3, 3, 5]
    assert checkpoints.restore(make_state(0), at_most=0) is None


@contextlib.contextmanager
def small_files():
  """A context in which no file may grow beyond 1 MB, to simulate a full disk."""
  limits = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, limits[1]))
  try:
    yield
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("told", ["by the next save", "by waiting", "on leaving"])
def test_a_full_disk_is_reported_and_the_last_checkpoint_is_kept(folder, told):
  save(folder, 1)
  large = {**make_state(2), "large": jax.random.normal(jax.random.key(0), (1024, 1024))}
  with pytest.raises(Unsaved, match=r"the checkpoint of step 2 could not be written \(.+\); earlier ones are"):
    with Checkpoints(folder) as checkpoints, small_files():
      checkpoints.save(2, large)
      if told == "by the next save":
        checkpoints.save(3, make_state(3))
      elif told == "by waiting":
        checkpoints.wait()
      else:
        checkpoints.__exit__(None)
  assert_is_step(restore(folder), 1)
  save(folder, 2)
  assert_is_step(restore(folder), 2)


def test_a_missing_folder_is_reported(folder):
  with pytest.raises(Unsaved, match="step 2 could not be written"):
    with Checkpoints(folder) as checkpoints:
      shutil.rmtree(folder)
      folder.write_text("in the way")
      checkpoints.save(2, make_state(2))


def _truncate(step: Path):
  path = largest_file(step)
  path.write_bytes(path.read_bytes()[:100])


def _empty(step: Path):
  largest_file(step).write_bytes(b"")


def _delete_half(step: Path):
  shutil.rmtree(step / "state")


def _delete_digest(step: Path):
  shutil.rmtree(step / "about")


def _tear_digest(step: Path):
  next((step / "about").iterdir()).write_text("{")


def _other_digest_file(step: Path):
  next((step / "about").iterdir()).write_text("{}")


_DAMAGES = [_truncate, _empty, _delete_half, _delete_digest, _tear_digest, _other_digest_file]


@pytest.mark.bad_input
@pytest.mark.parametrize("damage", _DAMAGES)
def test_damage_falls_back(folder, damage):
  save(folder, 1, 2)
  damage(folder / "2")
  assert_is_step(restore(folder), 1)
  assert (folder.with_name("checkpoints-damaged") / "2.0").is_dir()
  save(folder, 2)
  assert_is_step(restore(folder), 2)


def test_a_stray_empty_folder_is_ignored(folder):
  save(folder, 1)
  (folder / "9").mkdir()
  assert_is_step(restore(folder), 1)
  save(folder, 2)  # which Orbax would decline if there were a step 9
  assert_is_step(restore(folder), 2)


def test_another_structure_is_not_taken_for_it(folder):
  save(folder, 1)
  like = make_state(0)
  like["train"].params["w"] = jnp.zeros((3, 32))
  with pytest.raises(Damaged, match="step 1"):
    restore(folder, like)


def test_all_damaged_names_every_step_and_deletes_nothing(folder):
  save(folder, 1, 2, 3)
  for step, damage in zip((1, 2, 3), (flip_a_bit, _empty, _delete_half)):
    damage(largest_file(folder / str(step)) if damage is flip_a_bit else folder / str(step))
  before = {path: path.stat().st_size for path in sorted(folder.rglob("*")) if path.is_file()}
  with pytest.raises(Damaged) as raised:
    restore(folder)
  message = str(raised.value)
  assert all(f"step {step} (" in message for step in (1, 2, 3)) and "\n" not in message
  assert {path: path.stat().st_size for path in sorted(folder.rglob("*")) if path.is_file()} == before
  assert not folder.with_name("checkpoints-damaged").exists()


def test_a_reader_changes_nothing(folder):
  save(folder, 1, 2)
  flip_a_bit(largest_file(folder / "2"))
  unfinished = folder / "3.orbax-checkpoint-tmp"  # of a training run that is currently saving
  unfinished.mkdir()
  with Checkpoints(folder, read_only=True) as checkpoints:
    assert_is_step(checkpoints.restore(make_state(0)), 1)
  assert unfinished.is_dir() and (folder / "2").is_dir() and not folder.with_name("checkpoints-damaged").exists()


def test_arrays_may_be_donated_at_once(folder):
  spoil = jax.jit(lambda leaves: jax.tree.map(lambda leaf: leaf * 0 - 1, leaves), donate_argnums=0)
  with Checkpoints(folder, keep=Keep(3)) as checkpoints:
    for step in (1, 2, 3):
      state = make_state(step)
      checkpoints.save(step, state)
      jax.block_until_ready(spoil({"w": state["train"].params["w"], "mu": state["train"].opt_state[0].mu["w"]}))
      jax.tree.map(lambda leaf: leaf.delete(), state)  # a donated array is deleted only if nothing holds its buffer
  assert_is_step(restore(folder), 3)
  for step in (2, 1):
    shutil.rmtree(folder / str(step + 1))
    assert_is_step(restore(folder), step)


def test_the_digest_sees_every_bit_name_shape_and_dtype():
  state = {"a": jnp.arange(4.0), "key": jax.random.key(0)}
  others = [{**state, "a": state["a"].at[2].set(np.nextafter(np.float32(2), np.float32(3)))},
            {**state, "a": state["a"].reshape(2, 2)}, {**state, "a": state["a"].view(jnp.int32)},
            {"b": state["a"], "key": state["key"]}, {**state, "key": jax.random.key(1)},
            {**state, "a": -state["a"] * 0 + state["a"].at[0].set(-0.0)}]
  assert len({digest(tree) for tree in [state, *others]}) >= len(others)
  assert digest(state) == digest(jax.device_put(state, replicated(task_mesh())))
  assert all(digest(other) != digest(state) for other in others[:-1])
