"""Labelled images to tensorflow-datasets and back, without TensorFlow."""

import io
import json
import shutil
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


def written(folder, labels, feature, *, splits=("train",), name="own", size=8):
  """Writes images whose pixels are the number of the example, with the given labels, in each split."""

  def examples():
    for row, label in enumerate(labels):
      file = io.BytesIO()
      Image.new("RGB", (size, size), (row, row, row)).save(file, format="png")
      yield str(row), {"image": file.getvalue(), "label": label}

  return tfds_classes.write(name, {split: examples for split in splits}, {
      "image": tfds.features.Image(shape=(size, size, 3)), "label": feature}, "Ours.", folder)


@pytest.mark.parametrize("labels, feature, classes, missing", [
    ([-1, 0, 1, 2, 3, 4] * 2, np.int64, "01234", 2), (["", "wren", "tit", "owl"] * 3, tfds.features.Text(),
                                                     ("owl", "tit", "wren"), 3),
    ([0, 1, -1, 2] * 2, tfds.features.ClassLabel(names=["p", "q", "r"]), "pqr", 2)])
def test_examples_without_a_label_are_left_out_and_counted(tmp_path, labels, feature, classes, missing):
  written(tmp_path, labels, feature)
  parts = [tfds_classes.load("own", split, image_size=8, data_dir=tmp_path) for split in ("train", "val", "test")]
  assert sorted(name for part in parts for name in part.names) == sorted(classes)
  assert sum(len(part.examples) for part in parts) == len(labels) - missing
  assert all(part.source.endswith(f" {missing} examples without a label are left out.") for part in parts)


def test_a_data_set_of_no_labels_is_refused(tmp_path):
  written(tmp_path, [-1] * 4, np.int64)
  with pytest.raises(ValueError, match="all 4 are without a label"):
    tfds_classes.load("own", "train", image_size=8, data_dir=tmp_path)


@pytest.mark.bad_input
@pytest.mark.parametrize("label, feature", [
    (0.5, np.float32), ([0, 1], tfds.features.Sequence(np.int64)), ([1.0, 0.0], tfds.features.Tensor(
        shape=(2,), dtype=np.float32))])
def test_a_label_that_is_no_class_is_named(tmp_path, label, feature):
  written(tmp_path, [label] * 6, feature)
  with pytest.raises(ValueError, match="the feature label of .* own/1.0.0 must be a class"):
    tfds_classes.load("own", "train", image_size=8, data_dir=tmp_path)


def test_words_and_truths_are_classes(tmp_path):
  written(tmp_path, ["wren", "tit", "owl"] * 2, tfds.features.Text(), name="words")
  written(tmp_path, [True, False] * 2, np.bool_, name="truths")
  parts = [tfds_classes.load("words", split, image_size=8, data_dir=tmp_path) for split in ("train", "val", "test")]
  row = {"wren": 0, "tit": 1, "owl": 2}
  for part in parts:
    assert [sorted(map(int, part.examples[2 * i:2 * i + 2, 0, 0, 0])) for i in range(len(part.names))] == [
        [row[name], row[name] + 3] for name in part.names]
  shares = (0.5, 0.0, 0.5)
  assert tfds_classes.load("truths", "train", image_size=8, data_dir=tmp_path, shares=shares).counts.tolist() == [2]


def _version(folder, version, count):
  made = written(folder / "made", range(count), np.int64)
  to = folder / "own" / version
  shutil.copytree(made, to)
  shutil.rmtree(folder / "made")
  facts = json.loads((to / "dataset_info.json").read_text())
  facts["version"] = version.rpartition("/")[2]
  (to / "dataset_info.json").write_text(json.dumps(facts))


def test_versions_are_numbers_and_can_be_named(tmp_path):
  for count, version in ((3, "2.0.9"), (4, "2.0.10"), (5, "1.11.12")):
    _version(tmp_path, version, count)
  assert tfds_classes.find("own", tmp_path).info.full_name == "own/2.0.10"
  for name in ("own:1.11.12", "own/1.11.12"):
    assert tfds_classes.find(name, tmp_path).info.full_name == "own/1.11.12"
  with pytest.raises(FileNotFoundError, match="there is own/1.11.12, own/2.0.10, own/2.0.9; or run once"):
    tfds_classes.find("own:3.0.0", tmp_path)


def test_of_several_configs_one_is_named(tmp_path):
  for config in ("small", "large"):
    _version(tmp_path, f"{config}/1.0.0", 3)
  with pytest.raises(ValueError, match="own in .* has several configs; name one of own/large, own/small"):
    tfds_classes.find("own", tmp_path)
  for name in ("own/small", "own/small:1.0.0"):
    assert tfds_classes.find(name, tmp_path).data_path.parent.name == "small"
