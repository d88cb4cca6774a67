"""Published lists of classes over folders that the tests write."""

from PIL import Image
import numpy as np
import pytest

from metajax.data import listed


@pytest.mark.parametrize("protocol, sizes, groups", [
    ("miniimagenet", [64, 16, 20], [1, 1, 1]), ("tieredimagenet", [351, 97, 160], [20, 6, 8]),
    ("cub", [100, 50, 50], [1, 1, 1])])
def test_the_lists_are_the_published_ones(protocol, sizes, groups):
  lists = listed.class_list(protocol)
  assert list(lists) == ["train", "val", "test"]
  assert [len(names) for names in lists.values()] == sizes
  assert [len(set(names.values())) for names in lists.values()] == groups


@pytest.mark.parametrize("protocol", listed.PROTOCOLS)
def test_the_classes_of_a_list_are_read_from_a_folder(protocol, tmp_path, monkeypatch):
  monkeypatch.setenv("METAJAX_CACHE_DIR", str(tmp_path / "cache"))
  names = listed.class_list(protocol)["val"]
  for number, name in enumerate([*sorted(names), "n00000000"]):
    (tmp_path / "images" / name).mkdir(parents=True)
    Image.new("RGB", (6, 6), (number, 0, 0)).save(tmp_path / "images" / name / "0.png")
  data = listed.load(tmp_path / "images", "val", protocol=protocol, image_size=4)
  assert data.names == tuple(sorted(names)) and data.groups == (
      tuple(names[name] for name in data.names) if protocol == "tieredimagenet" else ())
  np.testing.assert_array_equal(data.examples[:, 0, 0, 0], np.arange(len(names)))
  assert "the published val classes" in data.source
  with pytest.raises(FileNotFoundError, match=r"expected the \d+ test classes of .* lacks"):
    listed.load(tmp_path / "images", "test", protocol=protocol)


def test_an_unknown_list_is_refused():
  with pytest.raises(ValueError, match="miniimagenet, tieredimagenet, cub, not of 'imagenet'"):
    listed.class_list("imagenet")
