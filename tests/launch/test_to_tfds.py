"""A data set written for tensorflow-datasets from the command line, and the tasks that recipes make from it."""

import dataclasses

from absl import flags
from absl.testing import flagsaver
import jax
import numpy as np
import pytest

from experiments import sources
from experiments.few_shot import fsmol
from launch import to_tfds
from metajax.tasks.classes import class_tasks
from tests.data import test_fsmol as molecules
from tests.data import test_text as texts


@pytest.fixture(autouse=True)
def _places(tmp_path, monkeypatch):
  flags.FLAGS.mark_as_parsed()
  monkeypatch.setenv("METAJAX_CACHE_DIR", str(tmp_path / "cache"))
  monkeypatch.setenv("METAJAX_DATA_DIR", str(tmp_path))
  monkeypatch.setattr("tensorflow_datasets.core.constants.DATA_DIR", str(tmp_path / "tfds"))


def write(capsys, **given):
  with flagsaver.flagsaver(**given):
    to_tfds.main([])
  return capsys.readouterr().out


def draw(data):
  tasks = class_tasks(data, ways=2, shots=1, queries=1)
  return jax.jit(tasks.sample)(tasks.data, jax.random.key(0))


def test_images_are_the_same_tasks(tmp_path, capsys):
  random = np.random.default_rng(0)
  np.savez(tmp_path / "a.npz", inputs=random.integers(0, 255, (45, 16, 16, 3), np.uint8), targets=np.arange(45) % 15)
  data = f"npz:{tmp_path / 'a.npz'}"
  assert "--config.data=tfds:mine" in write(capsys, data=data, name="mine")
  for split in ("train", "val", "test"):
    native, stored = (sources.image_reader(*which)(split) for which in ((data,), ("tfds:mine", 16)))
    jax.tree.map(np.testing.assert_array_equal, draw(native), draw(stored))


def test_texts_are_the_same_tasks(tmp_path, capsys):
  texts.write_clinc(tmp_path / "clinc150")
  assert "--config.data=tfds:clinc150." in write(capsys, data="clinc150")
  (native, prepare), (stored, prepare_stored) = map(sources.vector_reader, ("clinc150", "tfds:clinc150"))
  assert prepare is prepare_stored and native("test").groups == stored("test").groups != ()
  jax.tree.map(np.testing.assert_array_equal, draw(native("test")), draw(stored("test")))


def test_assays_are_the_same_tasks(tmp_path, capsys, monkeypatch):
  monkeypatch.setattr(molecules, "TASKS", {part: {f"{part}{number}": [("C", 0), ("CC", 1), ("N", 1), ("CCO", 0)]
                                                  for number in range(2)} for part in molecules.TASKS})
  molecules.write(tmp_path / "fsmol")
  assert "--config.data=tfds:fsmol" in write(capsys, data="fsmol")
  config = dataclasses.replace(fsmol.get_config("protonet"), shots=2, queries=2, hidden=(4,))
  native, stored = (fsmol.build(dataclasses.replace(config, data=data)).test_tasks for data in ("fsmol", "tfds:fsmol"))
  listed = lambda tasks: jax.jit(tasks.listed)(tasks.data, jax.random.key(0), jax.numpy.int32(1))
  jax.tree.map(np.testing.assert_array_equal, listed(native), listed(stored))


def test_what_is_not_known_is_refused(capsys):
  with pytest.raises(ValueError, match="'cifar' is not known"):
    write(capsys, data="cifar")
