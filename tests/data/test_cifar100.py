"""The reader on miniature files that the tests write, and on the real data if available."""

import io
import tarfile
import zipfile

from PIL import Image
import numpy as np
import pytest

from metajax.data import cifar100

CLASSES = sorted(name.split("/")[1] for names in cifar100.class_split("cifar-fs").values() for name in names)
PER_CLASS = {"train": 2, "test": 1}


@pytest.fixture(autouse=True)
def _own(request, tmp_path, monkeypatch):
  """A separate cache, and few images per class unless the data is real."""
  if "data_dir" not in request.fixturenames:
    monkeypatch.setenv("METAJAX_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(cifar100, "_PER_CLASS", PER_CLASS)


def pixels(name, part, number):
  """An image that encodes its class, part and number, with different values at each pixel and channel."""
  image = np.arange(32 * 32 * 3, dtype=np.int64).reshape(32, 32, 3) * 7
  return ((image + 31 * CLASSES.index(name) + 101 * (part == "test") + 53 * number) % 256).astype(np.uint8)


def png(array):
  file = io.BytesIO()
  Image.fromarray(array).save(file, format="png")
  return file.getvalue()


def write_zips(folder, changes={}):
  folder.mkdir(exist_ok=True)
  for part, count in PER_CLASS.items():
    with zipfile.ZipFile(folder / f"cifar100_{part}_png.zip", "w") as archive:
      for name in reversed(CLASSES):
        for number in range(count):
          member = f"{part}/{name}/{name}_s_{number:06d}.png"
          contents = changes.get(member, png(pixels(name, part, number)))
          if contents is not None:
            archive.writestr(member, contents)
  return folder


def write_archive(folder, cut=0):
  folder.mkdir(exist_ok=True)
  with tarfile.open(folder / "cifar-100-binary.tar.gz", "w:gz") as archive:

    def add(name, contents):
      info = tarfile.TarInfo(f"cifar-100-binary/{name}")
      info.size = len(contents)
      archive.addfile(info, io.BytesIO(contents))

    add("fine_label_names.txt", "\n".join(CLASSES).encode() + b"\n")
    for part, count in PER_CLASS.items():
      rows = [bytes([0, label]) + pixels(name, part, number).transpose(2, 0, 1).tobytes()
              for number in range(count) for label, name in enumerate(CLASSES)]
      add(f"{part}.bin", b"".join(rows)[:-cut or None])
  return folder


@pytest.mark.parametrize("write", [write_zips, write_archive])
@pytest.mark.parametrize("protocol", cifar100.PROTOCOLS)
def test_classes_and_pixels_are_as_they_were_written(tmp_path, write, protocol):
  data = cifar100.load("val", protocol=protocol, data_dir=write(tmp_path / "data"))
  assert list(data.names) == list(cifar100.class_split(protocol)["val"])
  assert data.groups == tuple(name.split("/")[0] for name in data.names)
  expected = [pixels(name.split("/")[1], part, number) for name in data.names
              for part, count in PER_CLASS.items() for number in range(count)]
  np.testing.assert_array_equal(data.examples, expected)
  np.testing.assert_array_equal(data.counts, [3] * len(data.names))
  assert protocol.split("-")[0].upper() in data.source


def test_the_splits_are_the_published_ones():
  sizes = {protocol: [len(names) for names in cifar100.class_split(protocol).values()]
           for protocol in cifar100.PROTOCOLS}
  assert sizes == {"cifar-fs": [64, 16, 20], "fc100": [60, 20, 20]}
  coarse = {split: {name.split("/")[0] for name in names} for split, names in cifar100.class_split("fc100").items()}
  assert [len(each) for each in coarse.values()] == [12, 4, 4] and not coarse["train"] & coarse["test"]
  assert len(CLASSES) == len(set(CLASSES)) == 100
  with pytest.raises(ValueError, match="cifar-fs or fc100, not as 'cub'"):
    cifar100.class_split("cub")


VICTIM = "train/beaver/beaver_s_000001.png"


@pytest.mark.bad_input
@pytest.mark.parametrize("contents, sentence", [
    (None, "2 images train/beaver/<image>.png, but holds 1"),
    (b"not a png", f"{VICTIM} cannot be read"),
    (png(np.zeros((9, 8, 3), np.uint8)), f"{VICTIM} cannot be read .it has 8 x 9 pixels"),
    (bytes(30_000), f"{VICTIM} declares 30000")])
def test_a_broken_zip_is_refused_and_the_image_named(tmp_path, contents, sentence):
  folder = write_zips(tmp_path / "data", {VICTIM: contents})
  with pytest.raises(ValueError, match=sentence):
    cifar100.load("val", data_dir=folder)
  assert len(cifar100.load("test", data_dir=folder).names) == 20  # of complete classes


def test_a_broken_archive_is_refused(tmp_path):
  with pytest.raises(ValueError, match="official binary archive .* cannot be read"):
    cifar100.load("val", data_dir=write_archive(tmp_path / "data", cut=10))
  (tmp_path / "data" / "cifar-100-binary.tar.gz").write_bytes(b"<html>")
  with pytest.raises(ValueError, match="official binary archive .* cannot be read"):
    cifar100.load("val", data_dir=tmp_path / "data")


def test_missing_data_gives_a_sentence_with_a_remedy(tmp_path, monkeypatch):
  monkeypatch.delenv("METAJAX_DATA_DIR", raising=False)
  with pytest.raises(FileNotFoundError, match="set METAJAX_DATA_DIR"):
    cifar100.load("val", download=False)
  with pytest.raises(FileNotFoundError, match="found neither in .*nothing"):
    cifar100.load("val", data_dir=tmp_path / "nothing")
  with pytest.raises(ValueError, match="not 'dev'"):
    cifar100.load("dev")


def test_the_real_images(data_dir, tmp_path, monkeypatch):
  if not (data_dir / "cifar100").is_dir():
    pytest.skip(f"{data_dir} has no cifar100: tests on real CIFAR-100 images are SKIPPED")
  monkeypatch.setenv("METAJAX_CACHE_DIR", str(tmp_path))
  data = cifar100.load("val", data_dir=data_dir)
  assert data.examples.shape == (9600, 32, 32, 3) and data.counts.tolist() == [600] * 16
  # The mean of all 60,000 is 0.5071, 0.4865, 0.4409 (the train part's, to four digits); 16 classes are near it.
  np.testing.assert_allclose(data.examples.mean((0, 1, 2)) / 255, [0.507, 0.487, 0.441], atol=0.06)
  assert len(np.unique(data.examples.reshape(9600, -1), axis=0)) > 9500
