"""A folder of class folders, which the tests write."""

from PIL import Image
import numpy as np
import pytest

from metajax.data import folders, pixels
from metajax.serving import Raw
from metajax.serving.inputs import prepared


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
  monkeypatch.setenv("METAJAX_CACHE_DIR", str(tmp_path / "cache"))


def write(root, classes, per_class=2, size=(8, 6)):
  """Writes uniform images, whose red is the class and green the index of the image."""
  for number, name in enumerate(classes):
    (root / name).mkdir(parents=True)
    for image in range(per_class):
      Image.new("RGB", size, (10 * number, 20 * image, 5)).save(root / name / f"{image}.png")


def test_a_folder_becomes_classes_in_three_splits(tmp_path):
  write(tmp_path / "pictures", "abcde")
  (tmp_path / "pictures" / "a" / "notes.txt").write_text("not an image")
  (tmp_path / "pictures" / ".hidden").mkdir()
  parts = {split: folders.load(tmp_path / "pictures", split, image_size=4) for split in ("train", "val", "test")}
  assert sorted(name for part in parts.values() for name in part.names) == list("abcde")
  for split, part in parts.items():
    assert part.examples.shape == (2 * len(part.names), 4, 4, 3) and part.examples.dtype == np.uint8
    np.testing.assert_array_equal(part.examples[::2, 0, 0, 0], ["abcde".index(name) * 10 for name in part.names])
    np.testing.assert_array_equal(part.examples[1::2, 2, 2, 1], [20] * len(part.names))
    assert f"the {split} classes" in part.source and "pictures" in part.source


def test_splits_of_ones_own_are_kept(tmp_path):
  for split, classes in (("train", "abc"), ("val", "de"), ("test", "f")):
    write(tmp_path / split, classes)
  assert folders.load(tmp_path, "train", image_size=4, grey=True).examples.shape == (6, 4, 4, 1)
  assert folders.load(tmp_path, "val").names == ("d", "e")
  write(tmp_path / "test2", "d")
  (tmp_path / "test2" / "d").rename(tmp_path / "test" / "d")
  with pytest.raises(ValueError, match="'d' is in val and in test"):
    folders.load(tmp_path, "train")
  for image in (tmp_path / "val").rglob("*.png"):
    image.unlink()
  with pytest.raises(ValueError, match="val/d holds none"):
    (tmp_path / "test" / "d").rename(tmp_path / "d")
    folders.load(tmp_path, "val")


def test_an_image_is_read_once_until_it_changes(tmp_path, monkeypatch):
  write(tmp_path / "p", "abcde")
  folders.load(tmp_path / "p", "train", image_size=4)
  monkeypatch.setattr(folders, "decode", None)  # decoding fails the test
  kept = folders.load(tmp_path / "p", "train", image_size=4)
  monkeypatch.undo()
  monkeypatch.setenv("METAJAX_CACHE_DIR", str(tmp_path / "cache"))
  for name in "abcde":
    Image.new("RGB", (8, 6), (200, 0, 0)).save(tmp_path / "p" / name / "0.png")
  changed = folders.load(tmp_path / "p", "train", image_size=4)
  assert (kept.examples[0] != 200).all() and (changed.examples[0, :, :, 0] == 200).all()


def test_an_undecodable_image_is_named(tmp_path, monkeypatch):
  write(tmp_path / "p", "abcde")
  broken = tmp_path / "p" / "b" / "1.png"
  broken.write_bytes(broken.read_bytes()[:40])
  with pytest.raises(ValueError, match="b/1.png must be an image"):
    folders.load(tmp_path / "p", "train")
  broken.write_text("<html>")
  with pytest.raises(ValueError, match="b/1.png must be an image"):
    folders.load(tmp_path / "p", "train")
  monkeypatch.setattr(pixels, "_MAX_PIXELS", 47)
  with pytest.raises(ValueError, match="a/0.png .* 8 x 6 pixels, more than 47"):
    folders.load(tmp_path / "p", "train")


def test_a_folder_that_holds_no_classes_is_refused(tmp_path):
  with pytest.raises(FileNotFoundError, match="no folder .*nowhere"):
    folders.load(tmp_path / "nowhere", "train")
  (tmp_path / "empty").mkdir()
  with pytest.raises(ValueError, match="has no sub-folders"):
    folders.load(tmp_path / "empty", "train")
  (tmp_path / "empty" / "train").mkdir()
  with pytest.raises(ValueError, match="split train but not val and test"):
    folders.load(tmp_path / "empty", "train")
  with pytest.raises(ValueError, match="image_size must be at least 1"):
    folders.load(tmp_path / "empty", "train", image_size=0)


RAMP = np.arange(1, 65).reshape(8, 8)
DEEP = {"16 bits": (RAMP * 1000, "uint16", "png", RAMP * 1000 / 65535), "12 bits": (RAMP * 60, "uint16", "tiff",
                                                                                RAMP * 60 / 4095),
        "big endian": (RAMP * 1000, ">u2", "tiff", RAMP * 1000 / 65535), "31 bits": (RAMP << 24, "int32", "tiff",
                                                                                      (RAMP << 24) / (2 ** 31 - 1)),
        "signed": (RAMP * 100 - 3000, "int32", "tiff", RAMP * 100 - 3000), "reals": (RAMP / 7 - 3, "float32", "tiff",
                                                                                       RAMP / 7 - 3),
        "10 bits": (RAMP * 15, "uint16", "png", RAMP * 15 / 1023)}


@pytest.mark.parametrize("grey", [True, False])
@pytest.mark.parametrize("raw, dtype, suffix, expected", DEEP.values(), ids=DEEP)
def test_images_of_more_than_8_bits_keep_their_levels(tmp_path, raw, dtype, suffix, expected, grey):
  for name in "abcde":
    (tmp_path / "p" / name).mkdir(parents=True)
    image = raw if name == "c" else raw // 2  # one split only has the largest number
    if dtype == ">u2":
      Image.frombytes("I;16B", (8, 8), image.astype(dtype).tobytes()).save(tmp_path / "p" / name / "0.tiff")
    else:
      Image.fromarray(image.astype(dtype)).save(tmp_path / "p" / name / f"0.{suffix}")
  parts = [folders.load(tmp_path / "p", split, image_size=8, grey=grey) for split in ("train", "val", "test")]
  part = next(part for part in parts if "c" in part.names)
  assert all(each.examples.dtype == np.float32 for each in parts)
  for channel in range(1 if grey else 3):
    np.testing.assert_allclose(part.examples[part.names.index("c"), :, :, channel], expected, rtol=1e-5, atol=1e-7)


def test_splits_of_ones_own_are_scaled_alike(tmp_path):
  for name, scale in (("train", 50), ("val", 1000), ("test", 200)):
    (tmp_path / name / name).mkdir(parents=True)
    Image.fromarray((RAMP * scale).astype(np.uint16)).save(tmp_path / name / name / "0.png")
  for name, scale in (("train", 50), ("val", 1000), ("test", 200)):
    part = folders.load(tmp_path, name, image_size=8, grey=True)
    np.testing.assert_allclose(part.examples[0, :, :, 0], RAMP * scale / 65535, rtol=1e-5)


def test_deep_images_among_others_and_broken_ones(tmp_path):
  write(tmp_path / "p", "abcde")
  Image.fromarray((RAMP * 1000).astype(np.uint16)).save(tmp_path / "p" / "a" / "0.png")
  parts = [folders.load(tmp_path / "p", split, image_size=8) for split in ("train", "val", "test")]
  for part in parts:
    for name, image in zip(part.names, part.examples[1::2]):
      np.testing.assert_allclose(image[0, 0], np.asarray([10 * "abcde".index(name), 20, 5]) / 255, rtol=1e-6)
    if "a" in part.names:
      deep = part.examples[2 * part.names.index("a"), :, :, 1]
      np.testing.assert_allclose(deep, RAMP * 1000 / 65535, rtol=1e-5)
  Image.fromarray(np.where(RAMP > 9, RAMP, np.nan).astype(np.float32)).save(tmp_path / "p" / "b" / "0.tiff")
  with pytest.raises(ValueError, match="b/0.tiff .* pixels that are not finite"):
    folders.load(tmp_path / "p", "train", image_size=8)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("given", [(9, 40), (40, 9), (16, 12)])
def test_an_image_is_fitted_alike_in_training_and_in_use(tmp_path, given, channels):
  picture = np.random.default_rng(0).integers(0, 256, (*given, 3), np.uint8)
  Image.fromarray(picture).save(tmp_path / "a.png")
  trained = folders.decode(tmp_path / "a.png", 12, grey=channels == 1)
  used, _ = prepared(Raw(image=(12, 12, channels)), (12, 12, channels), picture)
  np.testing.assert_array_equal(np.float32(trained) / 255, used[0])


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float32])
def test_an_image_is_cropped_at_its_centre_and_turned_upright(tmp_path, dtype):
  """Twice as wide as wanted: only the middle half is kept; stored on its side, with the note of a camera."""
  wide = np.repeat(np.asarray([[7, 50, 60, 9]], dtype), 2, axis=0)
  orientation = Image.Exif()
  orientation[0x0112] = 6  # to be turned by 90 degrees, clockwise
  Image.fromarray(np.rot90(wide).copy()).save(tmp_path / "a.tiff", exif=orientation)
  upright = pixels.decode(tmp_path / "a.tiff", 2, 2, 1)
  whole = pixels.decode(tmp_path / "a.tiff", 2, 4, 3)
  assert upright.dtype == dtype
  np.testing.assert_array_equal(upright[..., 0], [[50, 60], [50, 60]])
  np.testing.assert_array_equal(whole, np.repeat(wide[..., None], 3, 2))
