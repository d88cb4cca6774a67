"""Letters and digits rendered from fonts: images for few-shot learning that need only pip, no download.

A class is a code point, and its examples are font styles of fourteen designs, so they vary much less than handwriting.
The classes are split by script, so that no letter of a test task was seen in training: Latin and the digits are
`train`, Greek is `val`, Cyrillic is `test`. Letters that look alike across scripts (A, Alpha) count only as the first.
"""

import hashlib
from importlib import metadata, util
from pathlib import Path
from typing import Mapping, NamedTuple, Sequence
import unicodedata

import PIL
from PIL import Image, ImageDraw, ImageFont, features
import numpy as np

from metajax.data import download as download_lib
from metajax.tasks.class_data import ClassData

SPLITS = ("train", "val", "test")
PER_CLASS = 20

_SPLIT_OF_SCRIPT = {"DIGIT": "train", "LATIN": "train", "GREEK": "val", "CYRILLIC": "test"}
_FAMILIES = ("arimo", "eb-garamond", "fira-code", "fira-sans", "ibm-plex-mono", "ibm-plex-sans", "jetbrains-mono",
             "literata", "noto-sans", "open-sans", "roboto", "roboto-slab", "source-sans-3", "source-serif-4")
_WEIGHTS = (300.0, 700.0)  # the two instances taken of each variable font
# One em box for all glyphs: if each were scaled to fill its image, o and O, v and V would look the same.
_EM, _CANVAS, _BASELINE, _SIDE = 48, 84, 56, 28
_FORMAT = 1  # version of the cached arrays; increase it whenever rendering or selection changes


class _Style(NamedTuple):
  path: Path
  axes: tuple[float, ...]  # in the font's own order; () for a static font
  covered: frozenset[int]  # code points


def load(split: str) -> ClassData:
  """The classes of `split` ('train' Latin and digits, 'val' Greek, 'test' Cyrillic), sorted by code point.

  The first call renders for several seconds and stores the result in the user's cache.

  Returns:
    `examples` [20 * classes, 28, 28, 1] uint8 with ink 255 and paper 0, all 20 of a class distinct; `names` such as
    'U+0041 LATIN CAPITAL LETTER A'.

  Raises:
    ValueError: for an unknown split.
    FileNotFoundError: if the fonts, the extra `metajax[glyphs]`, are not installed.
  """
  if split not in SPLITS:
    raise ValueError(f'The split of the glyphs must be one of {", ".join(SPLITS)}, not {split!r}.')
  folders = _folders()
  fonts = ", ".join(f'{family} {metadata.version(f"fontpkg-{family}")}' for family in _FAMILIES)
  # Everything that could change a pixel or a class: outlines, rasteriser and the table of letters.
  key = f'{_FORMAT}; {fonts}; {PIL.__version__}; {features.version("freetype2")}; {unicodedata.unidata_version}'
  arrays = download_lib.cached_arrays(
      download_lib.cache_dir() / f"glyphs-{hashlib.sha256(key.encode()).hexdigest()[:16]}.npz",
      ("images", "code_points"), lambda: _render_all(_styles(folders)))
  code_points = arrays["code_points"].tolist()
  chosen = [row for row, point in enumerate(code_points) if _SPLIT_OF_SCRIPT[_script(point)] == split]
  scripts = ", ".join(name.capitalize() for name, part in _SPLIT_OF_SCRIPT.items() if part == split)
  return ClassData(
      examples=arrays["images"][chosen].reshape(-1, _SIDE, _SIDE, 1),
      counts=np.full(len(chosen), PER_CLASS, np.int32),
      names=tuple(f"U+{code_points[row]:04X} {unicodedata.name(chr(code_points[row]))}" for row in chosen),
      source=f"Glyphs, the {split} scripts ({scripts}), rendered from {len(_FAMILIES)} font families.")


def _folders() -> dict[str, Path]:
  """The folder of font files of each family, found without importing the packages."""
  specs = {f"fontpkg-{family}": util.find_spec(f'fontpkg_{family.replace("-", "_")}') for family in _FAMILIES}
  missing = [name for name, spec in (specs | {"fonttools": util.find_spec("fontTools")}).items() if spec is None]
  if missing:
    raise FileNotFoundError(f"The glyphs are rendered from the fonts of {len(_FAMILIES)} packages, but "
                            f'{", ".join(missing)} cannot be found; run: pip install "metajax[glyphs]".')
  return {name: Path(spec.origin).parent / "files" for name, spec in specs.items() if spec and spec.origin}


def _styles(folders: Mapping[str, Path]) -> list[_Style]:
  """All styles, with the families interleaved, so that the first 20 images of a class show every design."""
  from fontTools.ttLib import TTFont  # an optional dependency, not needed if the result is cached
  by_family = []
  for folder in folders.values():
    styles = []
    for path in sorted(folder.glob("*.ttf")):
      with TTFont(path, lazy=True) as font:
        covered = frozenset(font.getBestCmap())
        axes = font["fvar"].axes if "fvar" in font else ()
        for weight in _WEIGHTS if axes else ():
          styles.append(_Style(path, tuple(float(np.clip(weight, axis.minValue, axis.maxValue))
                                           if axis.axisTag == "wght" else axis.defaultValue for axis in axes), covered))
        if not axes:
          styles.append(_Style(path, (), covered))
    by_family.append(styles)
  # Families start at different styles: otherwise the first round would be all light italics, because files are sorted.
  return [styles[(turn + 3 * first) % len(styles)]
          for turn in range(max(map(len, by_family))) for first, styles in enumerate(by_family) if turn < len(styles)]


def _render_all(styles: Sequence[_Style]) -> dict[str, np.ndarray]:
  """Images [classes, 20, 28, 28] and their code points [classes]."""
  points = [point for point in sorted(set().union(*(style.covered for style in styles)))
            if _script(point) and sum(point in style.covered for style in styles) >= PER_CLASS]
  bitmaps: dict[int, dict[int, bytes]] = {point: {} for point in points}  # by code point, then by style
  for number, style in enumerate(styles):
    font = ImageFont.truetype(str(style.path), _EM, layout_engine=ImageFont.Layout.BASIC)
    if style.axes:
      font.set_variation_by_axes(list(style.axes))
    for point in points:
      if point in style.covered and any(bitmap := _render(font, chr(point))):
        bitmaps[point][number] = bitmap
  merged = _lookalikes(bitmaps)
  distinct = {point: list(dict.fromkeys(bitmaps[point].values())) for point in points if merged[point] == point}
  kept = {point: images[:PER_CLASS] for point, images in distinct.items() if len(images) >= PER_CLASS}
  images = np.frombuffer(b"".join(b"".join(images) for images in kept.values()), np.uint8)
  return {"images": images.reshape(-1, PER_CLASS, _SIDE, _SIDE), "code_points": np.array(list(kept), np.int32)}


def _script(point: int) -> str:
  """The script of a letter or ASCII digit that has no Unicode decomposition, otherwise ''."""
  character = chr(point)
  script = unicodedata.name(character, "").split(" ")[0]
  letter = unicodedata.category(character).startswith("L") or character in "0123456789"
  return script if letter and script in _SPLIT_OF_SCRIPT and not unicodedata.decomposition(character) else ""


def _render(font: ImageFont.FreeTypeFont, character: str) -> bytes:
  canvas = Image.new("L", (_CANVAS, _CANVAS))
  ImageDraw.Draw(canvas).text((_CANVAS // 2, _BASELINE), character, fill=255, font=font, anchor="ms")
  return canvas.resize((_SIDE, _SIDE), Image.Resampling.LANCZOS).tobytes()


def _lookalikes(bitmaps: Mapping[int, Mapping[int, bytes]]) -> dict[int, int]:
  """The lowest lookalike of each code point: one with the same image in at least half of their common styles."""
  same: dict[tuple[int, int], int] = {}
  for number in set().union(*bitmaps.values()):
    points_of: dict[bytes, list[int]] = {}
    for point in sorted(bitmaps):
      if number in bitmaps[point]:
        points_of.setdefault(bitmaps[point][number], []).append(point)
    for group in points_of.values():
      for index, high in enumerate(group):
        for low in group[:index]:
          same[low, high] = same.get((low, high), 0) + 1
  lowest = {point: point for point in bitmaps}
  for (low, high), count in sorted(same.items()):
    if 2 * count >= len(bitmaps[low].keys() & bitmaps[high].keys()):
      old, new = sorted((lowest[low], lowest[high]), reverse=True)
      lowest = {point: new if root == old else root for point, root in lowest.items()}
  return lowest
