"""An official builder of tensorflow-datasets runs without TensorFlow, on a made-up archive."""

from importlib import util
import io
import sys
import tarfile
import types

import numpy as np
import pytest
import tensorflow_datasets as tfds

from metajax.data import tfds_classes, tfds_prepare
from metajax.data.tfds_prepare import prepare

FINE = [f"kind{number:02}" for number in range(100)]


def write(folder, per_class=2):
  """Writes an archive in the layout of CIFAR-100's, and returns the images of each part, sorted by class."""
  folder.mkdir()
  random, parts = np.random.default_rng(0), {}
  with tarfile.open(folder / "cifar-100-binary.tar.gz", "w:gz") as archive:

    def add(name, contents):
      info = tarfile.TarInfo(f"cifar-100-binary/{name}")
      info.size = len(contents)
      archive.addfile(info, io.BytesIO(contents))

    add("fine_label_names.txt", "\n".join(FINE).encode())
    add("coarse_label_names.txt", "\n".join(f"group{number}" for number in range(20)).encode())
    for part in ("train", "test"):
      images = random.integers(0, 255, (100 * per_class, 32, 32, 3), np.uint8)
      rows = [bytes([number // per_class % 20, number // per_class]) + image.transpose(2, 0, 1).tobytes()
              for number, image in enumerate(images)]
      add(f"{part}.bin", b"".join(rows))
      parts[part] = images.reshape(100, per_class, 32, 32, 3)
  return parts


@pytest.fixture
def parts(tmp_path, monkeypatch):
  """The images of an archive in the folder `fetched`."""
  monkeypatch.setenv("METAJAX_CACHE_DIR", str(tmp_path / "cache"))
  builder = tfds.core.load.builder_cls("cifar100")
  monkeypatch.setattr(builder, "url_infos", dict(builder.url_infos))  # the official checksums are of another archive
  return write(tmp_path / "fetched")


@pytest.mark.skipif(util.find_spec("tensorflow") is None, reason="TensorFlow is not installed: data prepared with it "
                    "are NOT COMPARED with data prepared without it")
def test_with_tensorflow_and_without_it_the_data_are_the_same(tmp_path, parts, monkeypatch):
  del parts
  found, read = util, []
  for name in ("without", "with"):  # in this order: once imported, tfds needs it
    monkeypatch.setattr(tfds_prepare, "util", found if name == "with" else types.SimpleNamespace(
        find_spec=lambda module: None))
    prepare("cifar100", data_dir=tmp_path / name, manual_dir=tmp_path / "fetched")
    assert name == "with" or "tensorflow" not in sys.modules
    read.append([tfds_classes.load("cifar100", split, image_size=32, data_dir=tmp_path / name)
                 for split in ("train", "val", "test")])
  for one, other in zip(*read):
    np.testing.assert_array_equal(one.examples, other.examples, strict=True)
    assert one.names == other.names and one.counts.tolist() == other.counts.tolist()


@pytest.mark.skipif(util.find_spec("tensorflow") is not None, reason="TensorFlow is installed and does it itself")
def test_a_builder_prepares_and_its_classes_are_read(tmp_path, parts):
  folder = prepare("cifar100", data_dir=tmp_path / "tfds", manual_dir=tmp_path / "fetched")
  assert list(folder.glob("*.array_record*")) and folder.is_relative_to(tmp_path / "tfds" / "cifar100")
  read = [tfds_classes.load("cifar100", split, image_size=32, data_dir=tmp_path / "tfds")
          for split in ("train", "val", "test")]
  assert sorted(name for part in read for name in part.names) == FINE
  for part in read:
    images = part.examples.reshape(len(part.names), 4, -1)
    for name, found in zip(part.names, images):
      number = FINE.index(name)
      expected = np.concatenate([parts["test"][number], parts["train"][number]]).reshape(4, -1)
      assert {row.tobytes() for row in found} == {row.tobytes() for row in expected}
  assert prepare("cifar100", data_dir=tmp_path / "tfds") == folder  # it exists: nothing is fetched
  with pytest.raises(ImportError):
    tfds.core.utils.lazy_imports_utils.tensorflow.io  # the stand-in is removed


def test_unpreparable_data_gives_one_sentence(tmp_path, monkeypatch):
  with pytest.raises(ValueError, match="no data set 'no_such_set'"):
    prepare("no_such_set", data_dir=tmp_path)
