"""Groups of rows to tensorflow-datasets and back, without TensorFlow."""

import jax
import numpy as np
import pytest

from metajax.data import tfds_classes, tfds_groups
from metajax.data.fsmol import Fingerprints
from metajax.tasks.class_data import from_arrays
from metajax.tasks.groups import GroupData


def assays(names, width, seed):
  random, counts = np.random.default_rng(seed), np.arange(3, 3 + len(names)).astype(np.int32)
  rows = int(counts.sum())
  prints = Fingerprints(random.integers(0, 2048, (rows, width)).astype(np.int16),
                        random.integers(0, 9, (rows, width)).astype(np.uint8))
  return GroupData(prints, random.integers(0, 2, rows).astype(np.int32), counts, tuple(names), "made up.")


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
  monkeypatch.setenv("METAJAX_CACHE_DIR", str(tmp_path / "cache"))


def test_groups_come_back_as_they_were_stored(tmp_path):
  splits = {"train": assays(["b", "a"], 6, 0), "test": assays(["c"], 4, 1)}  # the narrower is padded
  tfds_groups.store("assays", splits, tmp_path)
  for split, data in splits.items():
    read = tfds_groups.load("assays", split, data_dir=tmp_path)
    assert read.names == data.names and f"the {split} groups" in read.source
    np.testing.assert_array_equal(read.counts, data.counts)
    np.testing.assert_array_equal(read.targets, data.targets)
    for stored, found in zip(jax.tree.leaves(data.inputs), read.inputs):
      np.testing.assert_array_equal(found[:, :stored.shape[1]], stored)
      assert found.dtype == stored.dtype and found.shape[1] == 6 and not found[:, stored.shape[1]:].any()


def test_invalid_arguments_are_rejected(tmp_path):
  with pytest.raises(ValueError, match="'a' is in train and in test"):
    tfds_groups.store("assays", {"train": assays(["a"], 2, 0), "test": assays(["a"], 2, 1)}, tmp_path)
  with pytest.raises(ValueError, match="one split or more"):
    tfds_groups.store("assays", {}, tmp_path)
  tfds_groups.store("assays", {"train": assays(["a"], 2, 0)}, tmp_path)
  with pytest.raises(ValueError, match="has the splits train, not 'val'"):
    tfds_groups.load("assays", "val", data_dir=tmp_path)
  tfds_classes.store("vectors", {"train": from_arrays(np.zeros((4, 3)), np.arange(4) // 2)}, tmp_path)
  with pytest.raises(ValueError, match="must have been written by metajax.data.tfds_groups.store"):
    tfds_groups.load("vectors", "train", data_dir=tmp_path)
