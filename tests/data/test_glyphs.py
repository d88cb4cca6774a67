"""Properties of the rendered glyphs that hold for all versions of fonts and rasteriser; there are no golden pixels."""

import importlib.util
import os
import shutil

import numpy as np
import pytest

from metajax.data import glyphs

_MISSING = [f"fontpkg-{family}" for family in glyphs._FAMILIES
            if importlib.util.find_spec(f'fontpkg_{family.replace("-", "_")}') is None]
_needs_fonts = pytest.mark.skipif(
    bool(_MISSING) or importlib.util.find_spec("fontTools") is None,
    reason=f'The glyphs go UNTESTED: {", ".join(_MISSING) or "fonttools"} missing; run pip install "metajax[glyphs]".')
_SCRIPTS = {"train": {"DIGIT", "LATIN"}, "val": {"GREEK"}, "test": {"CYRILLIC"}}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
  return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def loaded(cache):
  """All splits, rendered once for the whole module."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv("METAJAX_CACHE_DIR", str(cache))
    return {split: glyphs.load(split) for split in glyphs.SPLITS}


@_needs_fonts
@pytest.mark.parametrize("split, classes", [("train", 310), ("val", 57), ("test", 181)])
def test_classes_of_each_split(loaded, split, classes):
  data = loaded[split]
  assert len(data.names) == len(set(data.names)) == len(data.counts)
  assert abs(len(data.names) - classes) <= 0.1 * classes  # a new font version may add or remove a few
  assert {name.split()[1] for name in data.names} == _SCRIPTS[split]
  points = [int(name.split()[0][2:], 16) for name in data.names]
  assert points == sorted(points)
  assert "14 font families" in data.source and split in data.source


@_needs_fonts
@pytest.mark.parametrize("split", glyphs.SPLITS)
def test_twenty_distinct_images_a_class(loaded, split):
  data = loaded[split]
  np.testing.assert_array_equal(data.counts, np.full(len(data.names), 20, np.int32), strict=True)
  assert data.examples.shape == (20 * len(data.names), 28, 28, 1) and data.examples.dtype == np.uint8
  for images in data.examples.reshape(-1, 20, 784):
    assert len(np.unique(images, axis=0)) == 20


@_needs_fonts
@pytest.mark.parametrize("split", glyphs.SPLITS)
def test_ink_is_bright_and_the_paper_dark(loaded, split):
  examples = loaded[split].examples
  assert 8 < examples.mean() < 25
  assert (examples.max(axis=(1, 2, 3)) > 40).all()  # the thinnest strokes are preserved
  assert (examples[:, [0, -1]] < 40).mean() > 0.99  # the em box leaves a margin


@_needs_fonts
def test_case_is_recognised_by_size(loaded):
  data = loaded["train"]
  images = dict(zip(data.names, data.examples.reshape(-1, 20, 28, 28), strict=True))
  ink = {name: (images[name].max(axis=(0, 2)) > 100).sum() for name in images}
  for letter in "OSVXZ":
    assert ink[f"U+{ord(letter):04X} LATIN CAPITAL LETTER {letter}"] > ink[
        f"U+{ord(letter.lower()):04X} LATIN SMALL LETTER {letter}"]


@_needs_fonts
def test_letters_of_one_shape_are_one_class(loaded):
  names = [name.split(maxsplit=1)[1] for data in loaded.values() for name in data.names]
  for capital, twins in [("LATIN CAPITAL LETTER A", ["GREEK CAPITAL LETTER ALPHA", "CYRILLIC CAPITAL LETTER A"]),
                         ("GREEK CAPITAL LETTER GAMMA", ["CYRILLIC CAPITAL LETTER GHE"]),
                         ("LATIN SMALL LETTER O", ["GREEK SMALL LETTER OMICRON", "CYRILLIC SMALL LETTER O"])]:
    assert capital in names
    assert not set(twins) & set(names)


@_needs_fonts
def test_letters_composed_of_others_are_left_out(loaded):
  names = [name for data in loaded.values() for name in data.names]
  assert not [name for name in names if " WITH ACUTE" in name or " WITH DIAERESIS" in name]


@_needs_fonts
def test_second_load_reads_the_cache(loaded, cache, monkeypatch):
  monkeypatch.setenv("METAJAX_CACHE_DIR", str(cache))
  monkeypatch.setattr(glyphs, "_render_all", lambda *_: pytest.fail("rendered again"))
  for split, data in loaded.items():
    again = glyphs.load(split)
    np.testing.assert_array_equal(data.examples, again.examples, strict=True)
    assert (data.names, data.source) == (again.names, again.source)


@_needs_fonts
@pytest.mark.parametrize("name, value", [("_FORMAT", -1), ("PIL.__version__", "0"),
                                         ("metadata.version", lambda package: "0")])
def test_other_versions_have_their_own_cache(cache, loaded, tmp_path, monkeypatch, name, value):
  shutil.copytree(cache, tmp_path, dirs_exist_ok=True)
  monkeypatch.setenv("METAJAX_CACHE_DIR", str(tmp_path))
  monkeypatch.setattr(f"metajax.data.glyphs.{name}", value)
  blank = {"images": np.zeros((1, 20, 28, 28), np.uint8), "code_points": np.array([ord("A")], np.int32)}
  monkeypatch.setattr(glyphs, "_render_all", lambda styles: blank)
  assert glyphs.load("train").names == ("U+0041 LATIN CAPITAL LETTER A",)
  assert len(os.listdir(tmp_path)) == 2


@_needs_fonts
def test_rendering_is_deterministic(monkeypatch):
  monkeypatch.setattr(glyphs, "_script", lambda point: "LATIN" if 65 <= point < 70 else "")
  first, second = (glyphs._render_all(glyphs._styles(glyphs._folders())) for _ in range(2))
  assert first["code_points"].tolist() == [65, 66, 67, 68, 69]
  for key in first:
    np.testing.assert_array_equal(first[key], second[key], strict=True)


@_needs_fonts
def test_same_image_of_two_styles_is_taken_once(monkeypatch):
  monkeypatch.setattr(glyphs, "_script", lambda point: "LATIN" if point == 65 else "")
  styles = glyphs._styles(glyphs._folders())
  twice = glyphs._render_all([style for style in styles for _ in range(2)])["images"]
  np.testing.assert_array_equal(twice, glyphs._render_all(styles)["images"], strict=True)


@_needs_fonts
def test_first_images_show_every_family():
  styles = glyphs._styles(glyphs._folders())
  count = len(glyphs._FAMILIES)
  assert len({style.path.parent for style in styles[:count]}) == count
  italic = sum("Italic" in style.path.name for style in styles[:count])
  assert count // 4 <= italic <= count // 2  # mixed, though the files of most families begin with the italic
  assert len(set(style[:2] for style in styles)) == len(styles) > 70


def test_similar_letters_share_half_of_their_common_styles_transitively():
  bitmaps = {
      1: {0: b"a", 1: b"b", 2: b"c", 3: b"d"},
      2: {0: b"a", 1: b"b", 2: b"-", 3: b"-"},  # like 1 in two of four
      3: {2: b"-", 3: b"+", 4: b"e"},  # like 2 in one of two, like 1 in none
      4: {0: b"a", 1: b"x", 2: b"y", 3: b"z"},  # like 1 in one of four
      5: {7: b"a"},  # no style in common with any
  }
  assert glyphs._lookalikes(bitmaps) == {1: 1, 2: 1, 3: 1, 4: 4, 5: 5}


@pytest.mark.parametrize("split", ["valid", "", None])
def test_unknown_split(split):
  with pytest.raises(ValueError, match="train, val, test"):
    glyphs.load(split)


@pytest.mark.parametrize("absent, named", [("fontpkg_roboto_slab", "fontpkg-roboto-slab"), ("fontTools", "fonttools")])
def test_missing_fonts_say_what_to_install(monkeypatch, absent, named):
  find = importlib.util.find_spec
  monkeypatch.setattr(glyphs.util, "find_spec", lambda name: None if name == absent else find(name))
  with pytest.raises(FileNotFoundError) as caught:
    glyphs.load("train")
  assert named in str(caught.value) and 'pip install "metajax[glyphs]"' in str(caught.value)
