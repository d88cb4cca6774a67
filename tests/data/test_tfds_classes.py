"""Labelled images to tensorflow-datasets and back, without TensorFlow."""

import io
import sys

from PIL import Image
import numpy as np
import pytest
import tensorflow_datasets as tfds

from metajax.data import omniglot, tfds_classes
from metajax.tasks.class_data import from_arrays, take_classes


@pytest.fixture(autouse=True)
def _cache(request, tmp_path, monkeypatch):
  if "data_dir" not in request.fixturenames:
    monkeypatch.setenv("METAJAX_CACHE_DIR", str(tmp_path / "cache"))


def images(classes, per_class=3, channels=3, first=0):
  labels = np.repeat(np.arange(first, first + classes), per_class)
  pixels = np.random.default_rng(first).integers(0, 255, (len(labels), 8, 8, channels), np.uint8)
  return from_arrays(pixels, labels, "made up.", names=[f"class {number}" for number in range(first + classes)])


def same(stored, read):
  np.testing.assert_array_equal(stored.examples, read.examples)
  np.testing.assert_array_equal(stored.counts, read.counts)
  assert stored.names == read.names


@pytest.mark.parametrize("channels", [1, 3])
def test_splits_come_back_as_they_were_stored(tmp_path, channels):
  splits = {"train": images(4, 3, channels), "val": images(2, 2, channels, 4), "test": images(2, 4, channels, 6)}
  folder = tfds_classes.store("tiny", splits, tmp_path)
  assert folder.parent == tmp_path / "tiny" and list(folder.glob("*.array_record*"))
  for split, data in splits.items():
    same(data, tfds_classes.load("tiny", split, image_size=8, data_dir=tmp_path))
  assert "tiny/1.0.0, the val classes." in tfds_classes.load("tiny", "val", image_size=8, data_dir=tmp_path).source
  assert tfds_classes.load("tiny", "val", image_size=5, data_dir=tmp_path).examples.shape == (4, 5, 5, channels)


def test_other_splits_are_put_together_and_shared_by_class(tmp_path):
  data = images(5)
  tfds_classes.store("tiny", {"train": take_classes(data, [0, 1, 4]), "test": take_classes(data, [2, 3])}, tmp_path)
  parts = [tfds_classes.load("tiny", split, image_size=8, data_dir=tmp_path) for split in ("train", "val", "test")]
  assert sorted(name for part in parts for name in part.names) == sorted(data.names)
  for part in parts:
    same(take_classes(data, [data.names.index(name) for name in part.names]), part)
    assert "of a fixed draw" in part.source


def test_order_is_that_of_pixels_however_they_were_written_down(tmp_path):
  data, splits, read = images(5, 8), ("train", "val", "test"), []
  for level in (0, 9):
    folder = tmp_path / str(level)

    def examples():
      for row, image in enumerate(data.examples):
        file = io.BytesIO()
        Image.fromarray(image).save(file, format="png", compress_level=level)
        yield str(row), {"image": file.getvalue(), "label": row // 8}

    tfds_classes.write("plain", {"train": examples}, {
        "image": tfds.features.Image(shape=(8, 8, 3)), "label": np.int64}, "Without ranks.", folder)
    read.append([tfds_classes.load("plain", split, image_size=8, data_dir=folder) for split in splits])
  for one, other in zip(*read):
    same(one, other)
    own = [row for name in one.names for row in range(8 * int(name), 8 * int(name) + 8)]
    assert sorted(image.tobytes() for image in one.examples) == sorted(image.tobytes() for image in data.examples[own])


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_vectors_and_groups_come_back_too(tmp_path, dtype):
  vectors = np.random.default_rng(0).integers(0, 255, (12, 5)).astype(dtype)
  data = from_arrays(vectors, np.repeat(np.arange(4), 3), groups=["money", "money", "travel", "work"])
  splits = {"train": take_classes(data, [0, 1]), "val": take_classes(data, [2]), "test": take_classes(data, [3])}
  tfds_classes.store("texts", splits, tmp_path)
  for split, part in splits.items():
    read = tfds_classes.load("texts", split, data_dir=tmp_path)
    same(part, read)
    assert read.groups == part.groups and read.examples.dtype == dtype


def test_missing_or_invalid_data_is_rejected(tmp_path):
  with pytest.raises(FileNotFoundError, match="Expected the tfds data set nothing in .*prepare.'nothing'."):
    tfds_classes.load("nothing", "train", data_dir=tmp_path)
  with pytest.raises(ValueError, match="is in train and in test"):
    tfds_classes.store("tiny", {"train": images(2), "test": images(2)}, tmp_path)
  with pytest.raises(ValueError, match=r"of one size and type, but got \[\(\(8, 8, 1\), 'uint8'\), \(\(8, 8, 3"):
    tfds_classes.store("tiny", {"train": images(2), "test": images(2, 3, 1, 2)}, tmp_path)
  with pytest.raises(ValueError, match="uint8 images"):
    tfds_classes.store("tiny", {"train": from_arrays(np.zeros((4, 8, 2)), np.arange(4) // 2)}, tmp_path)
  assert not list(tmp_path.glob("tiny"))


def test_tensorflow_is_not_imported(tmp_path, monkeypatch):

  class Refuses:
    """Finds no tensorflow, and records import attempts."""

    @staticmethod
    def find_spec(name, path=None, target=None):
      assert name.partition(".")[0] != "tensorflow", "TensorFlow was imported"

  monkeypatch.setattr(sys, "meta_path", [Refuses, *sys.meta_path])
  with pytest.raises(AssertionError, match="was imported"):
    import tensorflow  # noqa: F401
  tfds_classes.store("tiny", {"train": images(5)}, tmp_path)
  parts = [tfds_classes.load("tiny", split, image_size=8, data_dir=tmp_path) for split in ("train", "val", "test")]
  assert sum(len(part.names) for part in parts) == 5 and "tensorflow" not in sys.modules


def test_omniglot_through_tfds_is_the_native_readers(data_dir, tmp_path, monkeypatch):
  native = omniglot.load("val", data_dir=data_dir)
  tfds_classes.store("omniglot_val", {"val": native}, tmp_path)
  monkeypatch.setenv("METAJAX_CACHE_DIR", str(tmp_path / "cache"))
  parts = [tfds_classes.load("omniglot_val", split, image_size=28, data_dir=tmp_path)
           for split in ("train", "val", "test")]
  for part in parts:
    same(take_classes(native, [native.names.index(name) for name in part.names]), part)
  assert sum(len(part.names) for part in parts) == 172
