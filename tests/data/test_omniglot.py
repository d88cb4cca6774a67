"""The reader on a miniature pair of zips that the tests write, and on the real data if available."""

import io
import os
from pathlib import Path
import zipfile

from PIL import Image
import numpy as np
import pytest

from metajax.data import omniglot

_BACKGROUND, _EVALUATION = "images_background.zip", "images_evaluation.zip"
# As in the real data, numbers are not in the order of names.
_MINIATURE = {_BACKGROUND: {2: "Latin/character01", 1: "Latin/character02", 3: "Greek/character01"},
              _EVALUATION: {5: "Arcadian/character01", 4: "Tibetan/character01"}}
_COUNTS = {name: len(classes) for name, classes in _MINIATURE.items()}
_HELD_OUT = {"Greek/character01": "val", "Tibetan/character01": "test"}

_DATA_DIR = os.environ.get("METAJAX_DATA_DIR")
_needs_data = pytest.mark.skipif(
    not _DATA_DIR, reason="METAJAX_DATA_DIR is not set: the real Omniglot goes UNTESTED; set it to a folder with "
    "omniglot/python/images_background.zip and images_evaluation.zip.")


def _drawing(number, drawer, size=(105, 105)):
  """A drawing of one square that encodes the character by its position and the drawer by its size."""
  pixels = np.ones((size[1], size[0]), bool)
  pixels[15 * number:15 * number + 10 + drawer, 20:80] = False
  file = io.BytesIO()
  Image.fromarray(pixels).save(file, "PNG")
  return file.getvalue()


def _members(name):
  return {f"{Path(name).stem}/{character}/{number:04d}_{drawer:02d}.png": _drawing(number, drawer)
          for number, character in _MINIATURE[name].items() for drawer in range(1, 21)}


def _write(folder, name, members):
  folder.mkdir(parents=True, exist_ok=True)
  with zipfile.ZipFile(folder / name, "w", zipfile.ZIP_DEFLATED) as archive:
    archive.writestr("__MACOSX/images/Latin/character01/0001_01.png", b"no drawing")
    for member, body in members.items():
      archive.writestr(member, body)
  return folder / name


@pytest.fixture
def miniature(tmp_path, monkeypatch):
  """A folder with the small pair, which the reader then accepts as complete Omniglot."""
  monkeypatch.setenv("METAJAX_CACHE_DIR", str(tmp_path / "cache"))
  monkeypatch.delenv("METAJAX_DATA_DIR", raising=False)
  monkeypatch.setattr(omniglot, "_CLASSES", _COUNTS)
  monkeypatch.setattr(omniglot, "_held_out", lambda names: _HELD_OUT)
  for name in _MINIATURE:
    _write(tmp_path / "zips", name, _members(name))
  return tmp_path / "zips"


@pytest.mark.parametrize("split, numbers, names", [
    ("train", [1, 2, 5], ("Latin/character02", "Latin/character01", "Arcadian/character01")),
    ("val", [3], ("Greek/character01",)),
    ("test", [4], ("Tibetan/character01",)),
])
def test_classes_are_sorted_by_number_and_ink_is_bright(miniature, split, numbers, names):
  data = omniglot.load(split, image_size=105, data_dir=miniature)
  expected = np.zeros((len(numbers), 20, 105, 105, 1), np.uint8)
  for row, number in enumerate(numbers):
    for drawer in range(1, 21):
      expected[row, drawer - 1, 15 * number:15 * number + 10 + drawer, 20:80] = 255
  np.testing.assert_array_equal(data.examples, expected.reshape(-1, 105, 105, 1))
  assert data.examples.dtype == np.uint8
  np.testing.assert_array_equal(data.counts, np.full(len(numbers), 20, np.int32), strict=True)
  assert data.names == names
  # No folder: it is quoted in results that others read.
  assert "re-packed" in data.source and split in data.source and str(miniature) not in data.source


def test_by_alphabet_none_is_in_two_splits(miniature, monkeypatch):
  load = lambda split: omniglot.load(split, data_dir=miniature, by_alphabet=True)
  assert load("train").names == ("Latin/character02", "Latin/character01", "Greek/character01")
  test = load("test")
  assert test.names == ("Tibetan/character01", "Arcadian/character01") and "the test alphabets" in test.source
  names = [f"{chr(65 + number // 2)}/character{number % 2 + 1:02d}" for number in range(26)]  # 13 alphabets of two
  monkeypatch.setattr(omniglot, "_CLASSES", {_BACKGROUND: 24, _EVALUATION: 2})
  split = omniglot._alphabets(names)
  assert split == {"F/character01": "val", "F/character02": "val", "L/character01": "val", "L/character02": "val",
                   "M/character01": "test", "M/character02": "test"}


@pytest.mark.parametrize("image_size", [14, 28, 60])
def test_reduced_drawings_keep_their_ink(miniature, image_size):
  full = omniglot.load("train", image_size=105, data_dir=miniature).examples
  small = omniglot.load("train", image_size=image_size, data_dir=miniature).examples
  assert small.shape == (60, image_size, image_size, 1)
  np.testing.assert_allclose(small.mean(axis=(1, 2, 3)), full.mean(axis=(1, 2, 3)), rtol=0.1)
  assert len(np.unique(small)) > 2  # no nearest-pixel filter, which loses thin strokes


def test_second_load_reads_the_cache(miniature, monkeypatch):
  first = omniglot.load("val", data_dir=miniature)
  monkeypatch.setattr(omniglot, "_decode_all", lambda *_: pytest.fail("decoded again"))
  second = omniglot.load("val", data_dir=miniature)
  np.testing.assert_array_equal(first.examples, second.examples, strict=True)
  assert first.names == second.names
  omniglot.load("test", data_dir=miniature)


def test_changed_zip_is_not_served_from_the_cache(miniature):
  before = omniglot.load("val", data_dir=miniature).examples
  members = _members(_BACKGROUND)
  members["images_background/Greek/character01/0003_07.png"] = _drawing(1, 1)
  _write(miniature, _BACKGROUND, members)
  after = omniglot.load("val", data_dir=miniature).examples
  assert [row for row in range(20) if (before[row] != after[row]).any()] == [6]


@pytest.mark.parametrize("below", ["", "omniglot", "omniglot/python"])
def test_places_below_the_data_folder(miniature, tmp_path, monkeypatch, below):
  root = tmp_path / "root"
  (root / below).parent.mkdir(parents=True, exist_ok=True)
  miniature.rename(root / below)
  monkeypatch.setenv("METAJAX_DATA_DIR", str(root))
  assert omniglot.load("val", download=False).names == ("Greek/character01",)  # no other location exists


def test_cache_serves_when_the_data_folder_lacks_the_zips(miniature, tmp_path, monkeypatch):
  (tmp_path / "cache").mkdir()
  miniature.rename(tmp_path / "cache" / "omniglot")
  monkeypatch.setenv("METAJAX_DATA_DIR", str(tmp_path / "nowhere"))
  assert omniglot.load("val", download=False).names == ("Greek/character01",)
  with pytest.raises(FileNotFoundError, match="nowhere"):
    omniglot.load("val", data_dir=tmp_path / "nowhere")  # named in the call: no other location is tried


def test_download_fetches_what_the_cache_lacks(miniature, tmp_path, monkeypatch):
  fetched = []

  def fake(url, path, *, sha256, size):
    fetched.append((url, sha256[:8], size))
    path.write_bytes((miniature / path.name).read_bytes())

  monkeypatch.setattr(omniglot.download_lib, "download", fake)
  (tmp_path / "cache" / "omniglot").mkdir(parents=True)
  (tmp_path / "cache" / "omniglot" / _BACKGROUND).write_bytes((miniature / _BACKGROUND).read_bytes())
  omniglot.load("val")
  base = "https://raw.githubusercontent.com/brendenlake/omniglot/master/python/"
  assert fetched == [(base + _EVALUATION, "1f61a8f3", 6462886)]


@pytest.mark.parametrize("download", [True, False])
def test_nothing_found_says_where_and_what_to_do(tmp_path, monkeypatch, download):
  def refuse(url, path, *, sha256, size):
    raise omniglot.download_lib.DownloadError("no network here")

  monkeypatch.setattr(omniglot.download_lib, "download", refuse)
  monkeypatch.setenv("METAJAX_CACHE_DIR", str(tmp_path / "cache"))
  monkeypatch.setenv("METAJAX_DATA_DIR", str(tmp_path / "data"))
  with pytest.raises(FileNotFoundError) as caught:
    omniglot.load("train", download=download)
  for part in (str(tmp_path / "data" / "omniglot" / "python"), str(tmp_path / "cache" / "omniglot"),
               "set METAJAX_DATA_DIR", _BACKGROUND, _EVALUATION):
    assert part in str(caught.value)
  assert ("no network here" in str(caught.value)) == download


@pytest.mark.bad_input
@pytest.mark.parametrize("wrong, message", [
    ({"split": "dev"}, "train, val, test"), ({"split": "val", "image_size": 0}, "image_size"),
    ({"split": "val", "image_size": 106}, "image_size"), ({"split": "val", "image_size": 28.0}, "image_size"),
    ({"split": "val", "image_size": True}, "image_size"),
])
def test_bad_arguments(miniature, wrong, message):
  with pytest.raises(ValueError, match=message):
    omniglot.load(**wrong, data_dir=miniature)


_FIRST = "images_background/Latin/character01/0002_01.png"
_BAD_MEMBERS = {
    "not a PNG": ({_FIRST: b"GIF89a"}, _FIRST),
    "PNG cut short": ({_FIRST: _drawing(2, 1)[:-30]}, _FIRST),
    "other size": ({_FIRST: _drawing(2, 1, size=(28, 28))}, "28 x 28 pixels"),
    "bomb of bytes": ({_FIRST: bytes(200_000)}, "declares 200000"),
    "bomb of pixels": ({_FIRST: _drawing(2, 1, size=(9000, 9000))}, "9000 x 9000 pixels"),
    "drawer missing": ({_FIRST: None}, "does not continue"),
    "last drawer missing": ({_FIRST.replace("_01", "_20"): None}, "3 characters and 59 drawings"),
    "drawer too many": ({_FIRST.replace("_01", "_21"): _drawing(2, 1)}, "3 characters and 61 drawings"),
    "drawer moved": ({_FIRST.replace("_01", "_20"): None, "i/Latin/character02/0001_21.png": b""}, "does not continue"),
    "character too many": ({f"i/Latin/character09/0009_{d:02d}.png": b"" for d in range(1, 21)}, "4 characters"),
    "number twice": ({f"i/Other/character01/0002_{d:02d}.png": b"" for d in range(1, 21)}, "does not continue"),
    "drawer of another name": (
        {_FIRST.replace("_01", "_20"): None, "images_background/Other/character01/0002_20.png": b""},
        "does not continue"),
    "number of the other zip": ({_FIRST.replace("0002", "0004")[:-6] + f"{d:02d}.png": _drawing(2, d)
                                 for d in range(1, 21)}
                                | {_FIRST[:-6] + f"{d:02d}.png": None for d in range(1, 21)}, "number 4"),
}


@pytest.mark.bad_input
@pytest.mark.parametrize("changes, message", _BAD_MEMBERS.values(), ids=_BAD_MEMBERS)
def test_zip_with_other_content_is_refused(miniature, tmp_path, changes, message):
  members = {name: body for name, body in (_members(_BACKGROUND) | changes).items() if body is not None}
  path = _write(miniature, _BACKGROUND, members)
  with pytest.raises(ValueError) as caught:
    omniglot.load("val", data_dir=miniature)
  assert message in str(caught.value) and str(path.parent) in str(caught.value) and "download" in str(caught.value)
  assert not (tmp_path / "cache").exists()


@pytest.mark.bad_input
@pytest.mark.parametrize("spoil", [
    lambda body: b"", lambda body: b"<html>", lambda body: body[:-100],
    lambda body: body[:2000] + bytes(99) + body[2099:],
], ids=["empty", "page", "cut", "overwritten"])
def test_broken_zip_is_named(miniature, spoil):
  path = miniature / _EVALUATION
  path.write_bytes(spoil(path.read_bytes()))
  with pytest.raises(ValueError, match="images_evaluation.zip must be a zip of the Omniglot drawings"):
    omniglot.load("val", data_dir=miniature)


def test_zips_without_the_classes_of_the_split_are_refused():
  with pytest.raises(ValueError, match="lack 595 of them, Armenian/character01 first"):
    omniglot._held_out(["Latin/character01"])


@pytest.fixture(scope="module")
def real(tmp_path_factory):
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv("METAJAX_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
    yield {split: omniglot.load(split, download=False) for split in omniglot.SPLITS}


@_needs_data
@pytest.mark.parametrize("split, classes", [("train", 1028), ("val", 172), ("test", 423)])
def test_real_data_has_every_drawing(real, split, classes):
  data = real[split]
  assert len(data.names) == len(set(data.names)) == classes
  np.testing.assert_array_equal(data.counts, np.full(classes, 20, np.int32), strict=True)
  assert data.examples.shape == (20 * classes, 28, 28, 1) and data.examples.dtype == np.uint8
  # Thin strokes on a mostly white background; no drawing is blank.
  assert 15 < data.examples.mean() < 30
  assert (data.examples.max(axis=(1, 2, 3)) > 100).all()


@_needs_data
def test_real_splits_share_no_class(real):
  assert len(set().union(*(data.names for data in real.values()))) == 1623


@_needs_data
@pytest.mark.parametrize("split", omniglot.SPLITS)
def test_real_splits_are_the_published_lists(real, split):
  listed = Path(_DATA_DIR or "", "splits", "omniglot_vinyals", f"{split}.txt")
  if not listed.is_file():
    pytest.skip(f"METAJAX_DATA_DIR lacks {listed.relative_to(_DATA_DIR)}: the split goes UNCHECKED against its source.")
  assert set(real[split].names) == set(listed.read_text("utf-8").split())


@_needs_data
def test_real_cache_gives_the_same_arrays(real, monkeypatch):
  monkeypatch.setattr(omniglot, "_decode_all", lambda *_: pytest.fail("decoded again"))
  for split, data in real.items():
    again = omniglot.load(split, download=False)
    np.testing.assert_array_equal(data.examples, again.examples, strict=True)
    assert data.names == again.names
