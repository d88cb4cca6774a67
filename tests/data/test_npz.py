"""Files of arrays, which the tests write."""

import numpy as np
import pytest

from metajax.data import npz


def save(path, **arrays):
  np.savez(path, **arrays)
  return path


def test_arrays_become_classes(tmp_path):
  targets = np.tile(np.arange(5), 3)
  path = save(tmp_path / "a.npz", inputs=targets[:, None].astype(np.float64), targets=targets, names=list("pqrst"))
  parts = [npz.load(path, split) for split in ("train", "val", "test")]
  assert sorted(name for part in parts for name in part.names) == list("pqrst")
  for part in parts:
    np.testing.assert_array_equal(part.examples[:, 0], np.repeat(["pqrst".index(name) for name in part.names], 3))


def test_splits_of_ones_own_are_kept(tmp_path):
  words = np.repeat(["train", "val", "test"], 4)
  targets = np.asarray([0, 1, 0, 1, 2, 2, 3, 3, 4, 4, 5, 5])
  path = save(tmp_path / "a.npz", inputs=np.arange(12), targets=targets, split=words)
  part = npz.load(path, "val")
  np.testing.assert_array_equal(part.examples, [4, 5, 6, 7])
  assert part.names == ("2", "3") and "a.npz, the val classes" in part.source
  with pytest.raises(ValueError, match="'0' is in train and in test"):
    npz.load(save(tmp_path / "b.npz", inputs=np.arange(12), targets=targets * (targets < 4), split=words), "train")
  with pytest.raises(ValueError, match="one of the words train, val, test"):
    npz.load(save(tmp_path / "c.npz", inputs=np.arange(12), targets=targets, split=np.repeat(["train"], 3)), "train")


def test_other_files_are_rejected(tmp_path):
  with pytest.raises(FileNotFoundError, match="no file .*nowhere.npz"):
    npz.load(tmp_path / "nowhere.npz", "train")
  with pytest.raises(ValueError, match="inputs and targets, but holds x"):
    npz.load(save(tmp_path / "a.npz", x=np.zeros(3)), "train")
  with pytest.raises(ValueError, match="cannot be read .*allow_pickle"):
    npz.load(save(tmp_path / "b.npz", inputs=np.asarray([{}]), targets=np.zeros(1, int)), "train")
  for contents in (b"<html>", b"PK\x03\x04 cut short", b""):
    (tmp_path / "c.npz").write_bytes(contents)
    with pytest.raises(ValueError, match="c.npz must be an .npz of plain arrays"):
      npz.load(tmp_path / "c.npz", "train")


PIXELS = np.random.default_rng(0).integers(0, 256, (15, 4, 4, 2))


@pytest.mark.parametrize("inputs, expected", [
    (PIXELS, PIXELS.astype(np.uint8)), (PIXELS.astype(np.uint16), PIXELS.astype(np.uint8)),
    (PIXELS * 16, PIXELS * 16 / 4095), (PIXELS.astype(np.uint16) * 257, PIXELS * 257 / 65535),
    (PIXELS % 2, PIXELS % 2), (PIXELS - 100, PIXELS - 100), (PIXELS * 1.0, PIXELS * 1.0),
    (PIXELS / 70 - 2, PIXELS / 70 - 2)])
def test_pixels_of_any_type_are_bytes_or_kept(tmp_path, inputs, expected):
  """Scaled by the largest of the file, not of a split."""
  path = save(tmp_path / "a.npz", inputs=inputs, targets=np.arange(15) % 5)
  for split in ("train", "val", "test"):
    part = npz.load(path, split)
    rows = [row for name in part.names for row in range(int(name), 15, 5)]
    np.testing.assert_allclose(part.examples, expected[rows], rtol=1e-6)
    assert part.examples.dtype == (np.uint8 if expected.dtype == np.uint8 else np.float32)


def test_counts_of_words_are_not_pixels(tmp_path):
  path = save(tmp_path / "a.npz", inputs=PIXELS.reshape(15, -1), targets=np.arange(15) % 5)
  assert npz.load(path, "train").examples.dtype == np.float32
